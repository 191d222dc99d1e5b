//! The features document (runtime-spec, features.md and features-linux.md): what the tables of this module understand.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{annotated, capabilities, mount_options, namespaces, numa};

/// The newest version of the runtime spec that all of which is known.
pub const SPEC_VERSION: &str = "1.3.0";

/// The oldest one.
const OLDEST_SPEC_VERSION: &str = "1.0.0";

/// The kinds of hooks.
const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

const SECCOMP_ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The architectures of system calls in config-linux.md.
pub const SECCOMP_ARCHS: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// The flags of filters in config-linux.md.
pub const SECCOMP_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// What only the build and the kernel know.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Those of [`SECCOMP_ARCHS`] that the libseccomp in use can filter for.
    pub seccomp_archs: Vec<&'static str>,
    /// Those of [`SECCOMP_FLAGS`] that the kernel knows.
    pub seccomp_flags: Vec<&'static str>,
    /// Facts about the build.
    pub annotations: BTreeMap<&'static str, String>,
}

/// The document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: [&'static str; annotated::UNSAFE.len()],
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: [&'static str; 8],
    capabilities: Vec<&'static str>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Switch,
    selinux: Switch,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Switch,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: [&'static str; 9],
    operators: [&'static str; 7],
    archs: Vec<&'static str>,
    known_flags: [&'static str; 4],
    supported_flags: Vec<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
struct Switch {
    enabled: bool,
}

#[derive(Debug, Clone, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Clone, Serialize)]
struct MemoryPolicy {
    modes: [&'static str; 7],
    flags: [&'static str; 3],
}

#[derive(Debug, Clone, Serialize)]
struct MountExtensions {
    idmap: Switch,
}

/// The features of this build on `host`.
pub fn features(host: Host) -> Features {
    let on = Switch { enabled: true };
    Features {
        oci_version_min: OLDEST_SPEC_VERSION,
        oci_version_max: SPEC_VERSION,
        hooks: HOOKS,
        mount_options: mount_options::names().collect(),
        linux: Linux {
            namespaces: namespaces::NAMES,
            capabilities: capabilities::NAMES.to_vec(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: true,
                systemd_user: true,
                rdma: true,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: SECCOMP_ACTIONS,
                operators: SECCOMP_OPERATORS,
                archs: host.seccomp_archs,
                known_flags: SECCOMP_FLAGS,
                supported_flags: host.seccomp_flags,
            },
            apparmor: on.clone(),
            selinux: on.clone(),
            intel_rdt: IntelRdt {
                enabled: true,
                schemata: true,
                monitoring: true,
            },
            memory_policy: MemoryPolicy {
                modes: numa::MODES,
                flags: numa::FLAGS,
            },
            mount_extensions: MountExtensions { idmap: on.clone() },
            net_devices: on,
        },
        annotations: host.annotations,
        potentially_unsafe_config_annotations: annotated::UNSAFE,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};

    use super::*;

    #[test]
    fn every_name_is_one_that_config_json_may_hold() {
        let parse = |name: &str| serde_json::Value::from(name);
        for name in SECCOMP_ACTIONS {
            assert!(
                serde_json::from_value::<LinuxSeccompAction>(parse(name)).is_ok(),
                "{name}"
            );
        }
        for name in SECCOMP_OPERATORS {
            assert!(
                serde_json::from_value::<LinuxSeccompOperator>(parse(name)).is_ok(),
                "{name}"
            );
        }
        for name in SECCOMP_ARCHS {
            assert!(serde_json::from_value::<Arch>(parse(name)).is_ok(), "{name}");
        }
        for name in SECCOMP_FLAGS {
            assert!(
                serde_json::from_value::<LinuxSeccompFilterFlag>(parse(name)).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_engines_look_for_is_there() {
        let document = serde_json::to_value(features(Host::default())).unwrap();
        assert_eq!(document["ociVersionMin"], "1.0.0");
        let options = document["mountOptions"].as_array().unwrap();
        assert!(options.iter().any(|o| o == "rro") && options.iter().any(|o| o == "idmap"));
        assert_eq!(document["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        let namespaces = document["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.iter().any(|n| n == "user") && namespaces.iter().any(|n| n == "time"));
        assert_eq!(document["linux"]["capabilities"].as_array().unwrap().len(), 41);
    }

    #[test]
    fn the_document_reads_as_the_crates_type() {
        let text = serde_json::to_string(&features(Host::default())).unwrap();
        let read: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
        assert_eq!(read.oci_version_max(), SPEC_VERSION);
        assert_eq!(
            read.linux()
                .as_ref()
                .unwrap()
                .seccomp()
                .as_ref()
                .unwrap()
                .actions()
                .as_ref()
                .unwrap()
                .len(),
            9
        );
    }
}
