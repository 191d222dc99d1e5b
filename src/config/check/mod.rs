//! From `oci_spec`'s types to [`Config`]: one file per section, each rule with the JSON path of what broke it.

mod block_io;
pub mod capabilities;
pub mod cpu_list;
mod devices;
mod hooks;
mod host;
mod idmap;
mod live;
mod memory;
pub mod mount_options;
mod mounts;
pub mod namespaces;
mod network;
pub mod numa;
mod process;
mod rdt;
mod resources;
mod scheduling;
mod seccomp;
mod sysctl;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Spec};

pub use host::check_host;
pub use live::{live_destinations, live_mounts};
pub use process::{IdMaps, process};
pub use resources::resources;

use super::annotated;
use super::{Annotated, Config, NamespaceKind, Namespaces, Process, Propagation, PropagationKind, Resources};
use crate::error::{Error, Result};
use crate::oci::Bundle;

/// Checks a bundle's configuration against every rule of the runtime spec that can be decided from the document alone.
///
/// Not decided here, because the host must be asked: whether the root file system exists and a namespace joined by path is the
/// runtime's own one ([`check_host`]), what cgroup version there is, whether SELinux, AppArmor and resctrl are there.
///
/// # Errors
/// The first broken rule, with its JSON path.
pub fn check(bundle: &Bundle) -> Result<Config> {
    let spec = &bundle.spec;
    let linux = spec.linux().as_ref();
    let mut warnings = bundle.warnings.clone();
    oci_version(spec.version())?;
    let rootfs = root_path(spec, &bundle.dir)?;
    let namespaces = namespaces::namespaces(section(linux, Linux::namespaces))?;
    let (uid_mappings, gid_mappings) = namespaces::user_mappings(linux, &namespaces, &mut warnings)?;
    let ids = IdMaps {
        uids: &uid_mappings,
        gids: &gid_mappings,
    };
    let annotations = annotations(spec);
    let annotated = annotated::read(&annotations, &mut warnings)?;
    let process = init_process(spec, ids, &annotated, &mut warnings)?;
    let resources = match section(linux, Linux::resources) {
        Some(r) => resources::resources(r, "linux.resources", &mut warnings)?,
        None => Resources::default(),
    };
    let around = mounts::Around {
        bundle: &bundle.dir,
        rootfs: Some(&rootfs),
        namespaces: &namespaces,
        ids,
    };
    let mounts = mounts::mounts(spec.mounts().as_deref(), around, &mut warnings)?;
    Ok(Config {
        oci_version: spec.version().clone(),
        rootfs,
        readonly_root: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
        mounts,
        process,
        hostname: uts_name(spec.hostname(), "hostname", &namespaces)?,
        domainname: uts_name(spec.domainname(), "domainname", &namespaces)?,
        hooks: hooks::hooks(spec.hooks().as_ref())?,
        annotations,
        time_offsets: namespaces::time_offsets(section(linux, Linux::time_offsets), &namespaces)?,
        devices: devices::devices(section(linux, Linux::devices).map(Vec::as_slice))?,
        net_devices: network::net_devices(section(linux, Linux::net_devices), &namespaces)?,
        cgroups_path: cgroups_path(section(linux, Linux::cgroups_path))?,
        resources,
        intel_rdt: rdt::intel_rdt(section(linux, Linux::intel_rdt))?,
        sysctl: sysctl::sysctl(section(linux, Linux::sysctl), &namespaces)?,
        seccomp: seccomp::seccomp(section(linux, Linux::seccomp), annotated.seccomp_receiver.as_deref())?,
        annotated,
        rootfs_propagation: rootfs_propagation(section(linux, Linux::rootfs_propagation))?,
        masked_paths: hidden_paths(section(linux, Linux::masked_paths), "linux.maskedPaths", &namespaces)?,
        readonly_paths: readonly_paths(section(linux, Linux::readonly_paths), &namespaces)?,
        mount_label: text(section(linux, Linux::mount_label)),
        namespaces,
        uid_mappings,
        gid_mappings,
        warnings,
    })
}

/// `process`, with what `linux` says about it.
fn init_process(
    spec: &Spec,
    ids: IdMaps<'_>,
    annotated: &Annotated,
    warnings: &mut Vec<String>,
) -> Result<Option<Process>> {
    let linux = spec.linux().as_ref();
    let Some(given) = spec.process() else {
        return Ok(None);
    };
    Ok(Some(Process {
        keep_groups: annotated.keep_groups,
        personality: scheduling::personality(section(linux, Linux::personality))?,
        memory_policy: numa::memory_policy(section(linux, Linux::memory_policy))?,
        ..process::process(given, "process", ids, warnings)?
    }))
}

fn section<'a, T>(linux: Option<&'a Linux>, get: impl Fn(&'a Linux) -> &'a Option<T>) -> Option<&'a T> {
    linux.and_then(|linux| get(linux).as_ref())
}

/// `Some` for a text that is given and not empty: to Go the two are the same.
fn text(value: Option<&String>) -> Option<String> {
    value.filter(|text| !text.is_empty()).cloned()
}

fn no_nul(text: &[u8], at: impl Fn() -> String) -> Result<()> {
    match text.contains(&0) {
        true => Err(Error::config(at(), "holds a NUL byte, which no system call can take")),
        false => Ok(()),
    }
}

/// `path` without `.` components, doubled and trailing slashes; `..` stays, it is resolved inside the root later.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

/// `path` with `..` taken lexically, as inside a root whose parent is itself.
fn flattened(path: &Path) -> PathBuf {
    let mut flat = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => flat.push(name),
            Component::ParentDir => {
                flat.pop();
            }
            _ => {}
        }
    }
    flat
}

/// Semantic version with major 1 (config.md, Specification version).
fn oci_version(version: &str) -> Result<()> {
    let bad = |problem: String| Err(Error::config("ociVersion", problem));
    if version.is_empty() {
        return bad("is missing, write the version of the runtime spec such as \"1.3.0\"".to_owned());
    }
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number =
        |n: &&str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n.len() == 1 || !n.starts_with('0'));
    let suffix = &version[core.len()..];
    let suffix_ok = suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b)) && suffix.len() != 1;
    if numbers.len() != 3 || !numbers.iter().all(is_number) || !suffix_ok {
        return bad(format!("{version:?} is not a semantic version such as \"1.3.0\""));
    }
    if numbers[0] != "1" {
        return bad(format!(
            "version {version} of the runtime spec is not supported, only 1.x is"
        ));
    }
    Ok(())
}

fn root_path(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let Some(root) = spec.root() else {
        return Err(Error::config(
            "root",
            "is missing, name the root file system in root.path",
        ));
    };
    let path = root.path();
    if path.as_os_str().is_empty() {
        return Err(Error::config(
            "root.path",
            "is missing, name the folder of the root file system",
        ));
    }
    no_nul(path.as_os_str().as_bytes(), || "root.path".to_owned())?;
    Ok(tidy(&bundle.join(path)))
}

/// `hostname` or `domainname`: needs an own UTS namespace, and the kernel takes 64 bytes (sethostname(2)).
fn uts_name(name: &Option<String>, at: &str, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = text(name.as_ref()) else {
        return Ok(None);
    };
    no_nul(name.as_bytes(), || at.to_owned())?;
    if !namespaces.is_own(NamespaceKind::Uts) {
        let problem = format!(
            "cannot be set without a private UTS namespace, add {{\"type\":\"uts\"}} to linux.namespaces or drop {at}"
        );
        return Err(Error::config(at, problem));
    }
    if name.len() > 64 {
        return Err(Error::config(
            at,
            format!("is {} bytes long, the kernel takes at most 64", name.len()),
        ));
    }
    Ok(Some(name))
}

fn annotations(spec: &Spec) -> BTreeMap<String, String> {
    let given = spec.annotations().iter().flatten();
    given.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn cgroups_path(path: Option<&PathBuf>) -> Result<Option<String>> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let Some(path) = path.to_str() else {
        return Err(Error::config("linux.cgroupsPath", "is not valid UTF-8"));
    };
    no_nul(path.as_bytes(), || "linux.cgroupsPath".to_owned())?;
    Ok(Some(path.to_owned()))
}

fn rootfs_propagation(name: Option<&String>) -> Result<Propagation> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Propagation {
            kind: PropagationKind::Slave,
            recursive: true,
        });
    };
    mount_options::propagation(name).ok_or_else(|| {
        let problem = format!("{name:?} is unknown, use shared, slave, private or unbindable");
        Error::config("linux.rootfsPropagation", problem)
    })
}

/// `readonlyPaths`: runc and crun take a relative one from the root, the only place where it can be meant, and say nothing.
fn readonly_paths(paths: Option<&Vec<String>>, namespaces: &Namespaces) -> Result<Vec<PathBuf>> {
    let mut rooted = paths.cloned().unwrap_or_default();
    for path in rooted.iter_mut().filter(|path| !path.starts_with('/')) {
        path.insert(0, '/');
    }
    hidden_paths(Some(&rooted), "linux.readonlyPaths", namespaces)
}

/// `maskedPaths` and `readonlyPaths`: absolute, and only in a mount namespace of the container's own.
fn hidden_paths(paths: Option<&Vec<String>>, at: &str, namespaces: &Namespaces) -> Result<Vec<PathBuf>> {
    let paths = paths.map(Vec::as_slice).unwrap_or_default();
    if !paths.is_empty() && !namespaces.is_own(NamespaceKind::Mount) {
        let problem =
            "cannot be applied without a private mount namespace, add {\"type\":\"mount\"} to linux.namespaces";
        return Err(Error::config(at, problem));
    }
    let check = |(i, path): (usize, &String)| {
        no_nul(path.as_bytes(), || format!("{at}[{i}]"))?;
        match path.starts_with('/') {
            true => Ok(tidy(Path::new(OsStr::from_bytes(path.as_bytes())))),
            false => Err(Error::config(
                format!("{at}[{i}]"),
                format!("{path:?} is not absolute, it must begin with /"),
            )),
        }
    };
    paths.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.2.0-rc.1+x", "1.99.0"] {
            assert!(oci_version(good).is_ok(), "{good}");
        }
        for bad in [
            "", "1", "1.0", "1.0.0-", "invalid", "2.0.0", "0.5.0", "1.0.x", "1..0", "1.0.0 ", "01.0.0", "1.00.0",
        ] {
            assert!(oci_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_tidied_and_flattened() {
        assert_eq!(tidy(Path::new("/a//b/./../c/")), Path::new("/a/b/../c"));
        assert_eq!(flattened(Path::new("/a/../..//./")), Path::new("/"));
        assert_eq!(flattened(Path::new("a/b/../c")), Path::new("/a/c"));
    }
}
