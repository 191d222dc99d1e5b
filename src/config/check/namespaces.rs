//! `linux.namespaces`, `uidMappings`, `gidMappings` and `timeOffsets`.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxTimeOffset};

use super::{no_nul, section};
use crate::config::{IdMapping, NamespaceKind, NamespaceSource, Namespaces, TimeOffset};
use crate::error::{Error, Result};

/// More lines than this no id map takes (user_namespaces(7)).
const MAX_MAPPINGS: usize = 340;
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

/// The names of the namespaces in config.json, sorted.
pub const NAMES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

fn kind(typ: LinuxNamespaceType) -> NamespaceKind {
    match typ {
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}

pub(super) fn namespaces(list: Option<&Vec<LinuxNamespace>>) -> Result<Namespaces> {
    let mut namespaces = Namespaces::default();
    for (i, entry) in list.into_iter().flatten().enumerate() {
        let source = match entry.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                let at = || format!("linux.namespaces[{i}].path");
                no_nul(path.as_os_str().as_bytes(), at)?;
                if !path.is_absolute() {
                    let problem = format!(
                        "{path:?} is not absolute, give the namespace file's full path such as /run/netns/blue"
                    );
                    return Err(Error::config(at(), problem));
                }
                NamespaceSource::Path(path.clone())
            }
            _ => NamespaceSource::New,
        };
        let kind = kind(entry.typ());
        if namespaces.set(kind, source) != NamespaceSource::Inherited {
            let name = serde_json::to_value(entry.typ()).unwrap_or_default();
            let problem = format!("the namespace {name} is listed twice, keep one entry of each type");
            return Err(Error::config(format!("linux.namespaces[{i}].type"), problem));
        }
    }
    Ok(namespaces)
}

/// The id mappings of the container. With a user namespace joined by path they are only a claim about it (containerd and CRI-O
/// give both); whoever joins must compare them.
pub(super) fn user_mappings(
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    warnings: &mut Vec<String>,
) -> Result<(Vec<IdMapping>, Vec<IdMapping>)> {
    let uids = mappings(section(linux, Linux::uid_mappings), "linux.uidMappings")?;
    let gids = mappings(section(linux, Linux::gid_mappings), "linux.gidMappings")?;
    let given = !uids.is_empty() || !gids.is_empty();
    match namespaces.source(NamespaceKind::User) {
        NamespaceSource::Inherited if given => {
            let at = if uids.is_empty() {
                "linux.gidMappings"
            } else {
                "linux.uidMappings"
            };
            let problem = "mappings need a user namespace, add {\"type\":\"user\"} to linux.namespaces or drop them";
            Err(Error::config(at, problem))
        }
        NamespaceSource::New => {
            needs_root(&uids, "linux.uidMappings")?;
            needs_root(&gids, "linux.gidMappings")?;
            Ok((uids, gids))
        }
        NamespaceSource::Path(_) if given => {
            warnings.push(
                "linux.uidMappings: the user namespace is joined by path, the mappings only describe it".to_owned(),
            );
            Ok((uids, gids))
        }
        _ => Ok((uids, gids)),
    }
}

fn needs_root(mappings: &[IdMapping], at: &str) -> Result<()> {
    if mappings.is_empty() {
        let problem = "is missing, a new user namespace needs a mapping such as {\"containerID\":0,\"hostID\":100000,\"size\":65536}";
        return Err(Error::config(at, problem));
    }
    match mappings.iter().any(|m| m.container == 0) {
        true => Ok(()),
        false => Err(Error::config(
            at,
            "id 0 of the container is not mapped, add a mapping with containerID 0",
        )),
    }
}

/// Reads and checks mappings by the kernel's rules for `/proc/PID/uid_map` (user_namespaces(7)).
pub(super) fn mappings(list: Option<&Vec<LinuxIdMapping>>, at: &str) -> Result<Vec<IdMapping>> {
    let mapping = |entry: &LinuxIdMapping| IdMapping {
        container: entry.container_id(),
        host: entry.host_id(),
        size: entry.size(),
    };
    checked(list.into_iter().flatten().map(mapping).collect(), at)
}

/// The rules of [`mappings`].
pub(super) fn checked(list: Vec<IdMapping>, at: &str) -> Result<Vec<IdMapping>> {
    if list.len() > MAX_MAPPINGS {
        let problem = format!("has {} entries, the kernel takes at most {MAX_MAPPINGS}", list.len());
        return Err(Error::config(at, problem));
    }
    for (i, mapping) in list.iter().enumerate() {
        if mapping.size == 0 {
            return Err(Error::config(
                format!("{at}[{i}].size"),
                "is 0 or missing, map at least one id",
            ));
        }
        let fits = |first: u32| first.checked_add(mapping.size).is_some();
        if !fits(mapping.container) || !fits(mapping.host) {
            let problem = format!(
                "reaches beyond the highest id 4294967294, size {} is too large",
                mapping.size
            );
            return Err(Error::config(format!("{at}[{i}]"), problem));
        }
        if let Some(k) = list[..i].iter().position(|other| overlap(other, mapping)) {
            let problem = format!("overlaps with {at}[{k}], each id may be mapped once on either side");
            return Err(Error::config(format!("{at}[{i}]"), problem));
        }
    }
    Ok(list)
}

fn overlap(a: &IdMapping, b: &IdMapping) -> bool {
    let cross = |x: u32, y: u32| {
        u64::from(x) < u64::from(y) + u64::from(b.size) && u64::from(y) < u64::from(x) + u64::from(a.size)
    };
    cross(a.container, b.container) || cross(a.host, b.host)
}

pub(super) fn time_offsets(
    offsets: Option<&HashMap<String, LinuxTimeOffset>>,
    namespaces: &Namespaces,
) -> Result<Vec<TimeOffset>> {
    let Some(offsets) = offsets.filter(|offsets| !offsets.is_empty()) else {
        return Ok(Vec::new());
    };
    let problem = match namespaces.source(NamespaceKind::Time) {
        NamespaceSource::New => None,
        NamespaceSource::Inherited => {
            Some("need a time namespace, add {\"type\":\"time\"} to linux.namespaces or drop them")
        }
        NamespaceSource::Path(_) => {
            Some("cannot be set in a time namespace that is joined by path, drop one of the two")
        }
    };
    if let Some(problem) = problem {
        return Err(Error::config("linux.timeOffsets", problem));
    }
    if let Some(name) = offsets.keys().filter(|name| !CLOCKS.contains(&name.as_str())).min() {
        let problem = format!("the clock {name:?} has no offset, use monotonic or boottime");
        return Err(Error::config(format!("linux.timeOffsets.{name}"), problem));
    }
    let mut result = Vec::new();
    for clock in CLOCKS {
        let Some(offset) = offsets.get(clock) else { continue };
        let nanosecs = offset.nanosecs().unwrap_or(0);
        if nanosecs >= 1_000_000_000 {
            let at = format!("linux.timeOffsets.{clock}.nanosecs");
            return Err(Error::config(
                at,
                format!("{nanosecs} is a second or more, use secs for whole seconds"),
            ));
        }
        result.push(TimeOffset {
            clock,
            secs: offset.secs().unwrap_or(0),
            nanosecs,
        });
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, u32, u32)]) -> Result<Vec<IdMapping>> {
        let json: Vec<_> = entries
            .iter()
            .map(|(c, h, s)| serde_json::json!({"containerID": c, "hostID": h, "size": s}))
            .collect();
        mappings(Some(&serde_json::from_value(json.into()).unwrap()), "m")
    }

    #[test]
    fn the_full_mapping_is_legal_and_one_more_is_not() {
        assert!(list(&[(0, 0, u32::MAX)]).is_ok());
        assert!(list(&[(1, 0, u32::MAX)]).is_err());
        assert!(list(&[(0, 1, u32::MAX)]).is_err());
    }

    #[test]
    fn overlaps_on_either_side_are_found() {
        assert!(list(&[(0, 1000, 10), (10, 2000, 10)]).is_ok());
        assert!(list(&[(0, 1000, 10), (9, 2000, 10)]).is_err());
        assert!(list(&[(0, 1000, 10), (10, 1009, 10)]).is_err());
        assert!(list(&[(5, 1000, 1), (0, 2000, 10)]).is_err());
    }
}
