//! The configuration to start from that `spec` writes: what `runc spec` writes, in words of our own.

use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use crate::error::{Error, Result};

/// What the document depends on.
#[derive(Debug, Clone, Copy)]
pub struct Starter {
    /// The host has cgroup v2 only: the container gets a cgroup namespace.
    pub unified_cgroup: bool,
    /// `--rootless`: the user and the group that are root in the container.
    pub rootless: Option<(u32, u32)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    oci_version: &'static str,
    process: Process,
    root: Root,
    hostname: &'static str,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: [&'static str; 1],
    env: [&'static str; 2],
    cwd: &'static str,
    capabilities: Capabilities,
    rlimits: [Rlimit; 1],
    no_new_privileges: bool,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Capabilities {
    bounding: [&'static str; 3],
    effective: [&'static str; 3],
    permitted: [&'static str; 3],
}

#[derive(Serialize)]
struct Rlimit {
    r#type: &'static str,
    hard: u64,
    soft: u64,
}

#[derive(Serialize)]
struct Root {
    path: &'static str,
    readonly: bool,
}

#[derive(Serialize)]
struct Mount {
    destination: &'static str,
    r#type: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_mappings: Option<[IdMapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid_mappings: Option<[IdMapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    namespaces: Vec<Namespace>,
    masked_paths: [&'static str; 10],
    readonly_paths: [&'static str; 5],
}

#[derive(Serialize)]
struct IdMapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
    size: u32,
}

#[derive(Serialize)]
struct Resources {
    devices: [DeviceRule; 1],
}

#[derive(Serialize)]
struct DeviceRule {
    allow: bool,
    access: &'static str,
}

#[derive(Serialize)]
struct Namespace {
    r#type: &'static str,
}

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// Kernel interfaces that tell about the host or could harm it.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &[]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    ),
];

impl Starter {
    /// The text of a config.json, indented with tabs.
    ///
    /// # Errors
    /// None that could happen: the document is made of plain data.
    pub fn text(self) -> Result<String> {
        let mut text = Vec::new();
        let mut writer = serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
        let failed = |e: &dyn std::fmt::Display| Error::message(format!("encode the configuration: {e}"));
        self.document().serialize(&mut writer).map_err(|e| failed(&e))?;
        text.push(b'\n');
        String::from_utf8(text).map_err(|e| failed(&e))
    }

    fn document(self) -> Document {
        Document {
            oci_version: "1.3.0",
            process: Process {
                terminal: true,
                user: User { uid: 0, gid: 0 },
                args: ["sh"],
                env: [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "TERM=xterm",
                ],
                cwd: "/",
                capabilities: Capabilities {
                    bounding: CAPABILITIES,
                    effective: CAPABILITIES,
                    permitted: CAPABILITIES,
                },
                rlimits: [Rlimit {
                    r#type: "RLIMIT_NOFILE",
                    hard: 1024,
                    soft: 1024,
                }],
                no_new_privileges: true,
            },
            root: Root {
                path: "rootfs",
                readonly: true,
            },
            hostname: "runw",
            mounts: self.mounts(),
            linux: self.linux(),
        }
    }

    /// Rootless, sysfs cannot be mounted in the host's network namespace, and ids in options would not be mapped.
    fn mounts(self) -> Vec<Mount> {
        let rootless = self.rootless.is_some();
        let is_id = |option: &&str| option.starts_with("uid=") || option.starts_with("gid=");
        let mount = |(destination, r#type, source, options): (_, _, _, &[&'static str])| match destination {
            "/sys" if rootless => Mount {
                destination,
                r#type: "none",
                source: "/sys",
                options: vec!["rbind", "nosuid", "noexec", "nodev", "ro"],
            },
            _ => Mount {
                destination,
                r#type,
                source,
                options: options
                    .iter()
                    .copied()
                    .filter(|option| !rootless || !is_id(option))
                    .collect(),
            },
        };
        MOUNTS.into_iter().map(mount).collect()
    }

    fn linux(self) -> Linux {
        let mut kinds = vec!["pid", "network", "ipc", "uts", "mount"];
        kinds.extend(self.unified_cgroup.then_some("cgroup"));
        if self.rootless.is_some() {
            kinds.retain(|kind| *kind != "network");
            kinds.push("user");
        }
        let mapping = |host| {
            [IdMapping {
                container: 0,
                host,
                size: 1,
            }]
        };
        Linux {
            uid_mappings: self.rootless.map(|(uid, _)| mapping(uid)),
            gid_mappings: self.rootless.map(|(_, gid)| mapping(gid)),
            resources: self.rootless.is_none().then_some(Resources {
                devices: [DeviceRule {
                    allow: false,
                    access: "rwm",
                }],
            }),
            namespaces: kinds.into_iter().map(|r#type| Namespace { r#type }).collect(),
            masked_paths: MASKED,
            readonly_paths: READONLY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_indented_with_tabs_and_begins_with_the_version() {
        let text = Starter {
            unified_cgroup: false,
            rootless: None,
        };
        assert!(
            text.text()
                .unwrap()
                .starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true")
        );
    }

    #[test]
    fn rootless_has_a_user_namespace_and_no_limits() {
        let starter = Starter {
            unified_cgroup: true,
            rootless: Some((1000, 1001)),
        };
        let value: serde_json::Value = serde_json::from_str(&starter.text().unwrap()).unwrap();
        let linux = &value["linux"];
        assert_eq!(linux["gidMappings"][0]["hostID"], 1001);
        assert_eq!(linux["resources"], serde_json::Value::Null);
        let kinds: Vec<_> = linux["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        assert!(!value["mounts"].to_string().contains("gid=5"));
        assert_eq!(value["mounts"][5]["options"][0], "rbind");
    }
}
