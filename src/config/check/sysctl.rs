//! `linux.sysctl`: only what belongs to a namespace of the container may be set.

use std::collections::{BTreeMap, HashMap};

use crate::config::{NamespaceKind, Namespaces};
use crate::error::{Error, Result};

/// Those of the IPC namespace outside `fs.mqueue` (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn sysctl(
    given: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<Vec<(String, String)>> {
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in given.into_iter().flatten().collect::<BTreeMap<_, _>>() {
        let at = || format!("linux.sysctl.{key}");
        let name = dotted(key);
        if !is_plain(&name) {
            return Err(Error::config(
                at(),
                "is no name of a sysctl, write it like net.core.somaxconn",
            ));
        }
        if let Err(problem) = allowed(&name, namespaces) {
            return Err(Error::config(at(), problem));
        }
        if settings.insert(name, value.clone()).is_some() {
            return Err(Error::config(
                at(),
                "is given twice, once with dots and once with slashes",
            ));
        }
    }
    Ok(settings.into_iter().collect())
}

/// sysctl(8): the first separator decides; in the notation with slashes a dot belongs to a name, which the other one writes `/`.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key.as_bytes()[first] == b'/' => {
            let swap = |c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            };
            key.chars().map(swap).collect()
        }
        _ => key.to_owned(),
    }
}

/// No component that would lead elsewhere when dots become slashes.
fn is_plain(name: &str) -> bool {
    let parts = name.split('.').map(|part| part.replace('/', "."));
    let mut count = 0;
    for part in parts {
        count += 1;
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            return false;
        }
    }
    count > 1
}

fn allowed(name: &str, namespaces: &Namespaces) -> Result<(), String> {
    let kind = owner(name)?;
    if namespaces.is_own(kind) {
        return Ok(());
    }
    let word = serde_json::to_value(kind).unwrap_or_default();
    Err(format!(
        "would change the host, it needs a private {} namespace: add {{\"type\":{word}}} to linux.namespaces",
        word.as_str().unwrap_or_default()
    ))
}

/// The namespace that the sysctl `name` (with dots) belongs to.
pub(super) fn owner(name: &str) -> Result<NamespaceKind, String> {
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return Ok(NamespaceKind::Ipc);
    }
    if name.starts_with("net.") {
        return Ok(NamespaceKind::Network);
    }
    if name.starts_with("user.") {
        return Ok(NamespaceKind::User);
    }
    match name {
        "kernel.domainname" => Ok(NamespaceKind::Uts),
        "kernel.hostname" => Err("is set by the property hostname, use that".to_owned()),
        _ => Err("is not in a namespace, a container may not change it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamespaceSource;

    fn check(key: &str) -> Result<Vec<(String, String)>> {
        let mut namespaces = Namespaces::default();
        for kind in [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts] {
            namespaces.set(kind, NamespaceSource::New);
        }
        sysctl(Some(&HashMap::from([(key.to_owned(), "1".to_owned())])), &namespaces)
    }

    #[test]
    fn both_notations() {
        for (key, name) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
            ("net/ipv4/conf/eno2.100.rp_filter", "net.ipv4.conf.eno2/100/rp_filter"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("fs/mqueue/msg_max", "fs.mqueue.msg_max"),
            ("kernel.domainname", "kernel.domainname"),
        ] {
            assert_eq!(check(key).unwrap(), [(name.to_owned(), "1".to_owned())], "{key}");
        }
    }

    #[test]
    fn nothing_escapes_its_namespace() {
        for key in [
            "kernel.core_pattern",
            "vm.swappiness",
            "user.max_user_namespaces",
            "kernel.hostname",
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net./.x",
            "net..x",
            "net.",
            "net",
            "",
            "kernel.shmmax.x",
            "fs.mqueue",
            "net.x\0",
        ] {
            assert!(check(key).is_err(), "{key:?}");
        }
    }
}
