//! `mounts` that are added to a container that runs.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;

use super::mounts::{self, Around};
use super::{IdMaps, no_nul};
use crate::config::{Mount, MountSource, Namespaces, SymlinkRule};
use crate::error::{Error, Result};

/// Checks mounts by the rules of config.json, and that a running container can have them: bind mounts and tmpfs. `bundle` is
/// where relative sources begin.
///
/// # Errors
/// The first broken rule, with its JSON path.
pub fn live_mounts(list: &[SpecMount], bundle: &Path, warnings: &mut Vec<String>) -> Result<Vec<Mount>> {
    let around = Around {
        bundle,
        rootfs: None,
        namespaces: &Namespaces::default(),
        ids: IdMaps { uids: &[], gids: &[] },
    };
    let mounts = mounts::mounts(Some(list), around, warnings)?;
    match mounts.iter().find_map(|mount| Some((mount, problem(mount)?))) {
        Some((mount, (field, problem))) => Err(Error::config(format!("mounts[{}].{field}", mount.index), problem)),
        None => Ok(mounts),
    }
}

fn problem(mount: &Mount) -> Option<(&'static str, &'static str)> {
    let is_possible = match &mount.source {
        MountSource::Bind { .. } => true,
        MountSource::Filesystem { fstype, .. } => fstype == "tmpfs",
        MountSource::Cgroup => false,
    };
    [
        (
            !is_possible,
            "type",
            "a running container can get bind mounts and tmpfs only",
        ),
        (
            mount.idmap.is_some(),
            "options",
            "a running container cannot get mounts with mapped ids",
        ),
        (
            mount.remount,
            "options",
            "remount is no new mount, remove the old one and add another",
        ),
        (
            mount.copy_up,
            "options",
            "tmpcopyup is for containers that are being created",
        ),
        (
            mount.symlink == SymlinkRule::Copy,
            "options",
            "copy-symlink is for containers that are being created",
        ),
    ]
    .into_iter()
    .find_map(|(wrong, field, problem)| wrong.then_some((field, problem)))
}

/// The destinations of mounts that are to be removed; nothing else of them is looked at.
///
/// # Errors
/// One that is not absolute.
pub fn live_destinations(list: &[SpecMount]) -> Result<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let check = |(index, mount): (usize, &SpecMount)| {
        let at = || format!("mounts[{index}].destination");
        let destination = mount.destination();
        no_nul(destination.as_os_str().as_bytes(), at)?;
        match destination.is_absolute() {
            true => Ok(destination.clone()),
            false => Err(Error::config(
                at(),
                format!("{destination:?} is not absolute, it must begin with /"),
            )),
        }
    };
    list.iter().enumerate().map(check).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn add(mount: serde_json::Value) -> Result<Vec<Mount>> {
        let list: Vec<SpecMount> = serde_json::from_value(json!([mount])).unwrap();
        live_mounts(&list, Path::new("/b"), &mut Vec::new())
    }

    #[test]
    fn bind_mounts_and_tmpfs_can_be_added() {
        assert!(add(json!({"destination": "/x", "type": "bind", "source": "/y", "options": ["rbind", "ro"]})).is_ok());
        assert!(add(json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs"})).is_ok());
        for (bad, at) in [
            (
                json!({"destination": "/x", "type": "proc", "source": "proc"}),
                "mounts[0].type",
            ),
            (
                json!({"destination": "/x", "type": "cgroup", "source": "cgroup"}),
                "mounts[0].type",
            ),
            (
                json!({"destination": "/x", "source": "/y", "options": ["bind", "copy-symlink"]}),
                "mounts[0].options",
            ),
            (
                json!({"destination": "/x", "source": "/y", "options": ["bind", "remount"]}),
                "mounts[0].options",
            ),
        ] {
            let error = add(bad.clone()).unwrap_err().to_string();
            assert!(error.contains(at), "{bad}: {error}");
        }
    }

    #[test]
    fn destinations_are_absolute() {
        let list = |path: &str| serde_json::from_value::<Vec<SpecMount>>(json!([{"destination": path}])).unwrap();
        assert_eq!(live_destinations(&list("/a/b")).unwrap(), [PathBuf::from("/a/b")]);
        assert!(
            live_destinations(&list("a"))
                .unwrap_err()
                .to_string()
                .contains("mounts[0].destination")
        );
    }
}
