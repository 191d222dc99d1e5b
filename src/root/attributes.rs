//! From mount options to mount attributes; pure.

use super::tree::Alteration;
use crate::config::{Mount, MountSource, Propagation, PropagationKind};
use crate::sys::mount::{Change, attr};

/// The attributes that a bind mount either has because it was asked for, or does not have.
const BINARY: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
/// The attributes that the kernel locks on mounts inherited by a user namespace (mount_namespaces(7)).
const LOCKABLE: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::ATIME | attr::NODIRATIME;

/// What to set and what to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SetClear {
    pub set: u64,
    pub clear: u64,
}

/// The attributes of a mount whose options name any: exactly those, as `mount --bind -o` is meant to work. Access times stay as
/// they are unless an option names them.
pub(super) fn of_bind(mount: &Mount) -> Option<SetClear> {
    if mount.attr_set | mount.attr_clear == 0 {
        return None;
    }
    Some(SetClear {
        set: mount.attr_set,
        clear: (BINARY & !mount.attr_set) | mount.attr_clear,
    })
}

/// The attributes of a bind mount whose source has locked ones, `existing`: what there is stays, what is asked for is added.
/// Clearing a locked one by name is refused with the names.
pub(super) fn of_locked_bind(mount: &Mount, existing: u64) -> Result<SetClear, String> {
    let refused = existing & mount.attr_clear & !mount.attr_set & LOCKABLE & !attr::ATIME;
    if refused != 0 {
        return Err(format!(
            "cannot clear locked flags {}: operation not permitted",
            names(refused)
        ));
    }
    let asks_atime = (mount.attr_set | mount.attr_clear) & (attr::ATIME | attr::NODIRATIME) != 0;
    let asked = mount.attr_set & (attr::ATIME | attr::NODIRATIME);
    if asks_atime && asked != existing & (attr::ATIME | attr::NODIRATIME) {
        return Err(format!(
            "cannot change locked atime flags {}: operation not permitted",
            names(existing & !BINARY)
        ));
    }
    Ok(SetClear {
        set: mount.attr_set & !attr::ATIME,
        // The one that is never locked.
        clear: attr::NOSYMFOLLOW & !mount.attr_set,
    })
}

/// The attributes of a new mount of a file system, without `ro` if that has to wait.
pub(super) fn of_filesystem(mount: &Mount) -> u64 {
    if waits_for_readonly(mount) {
        mount.attr_set & !attr::RDONLY
    } else {
        mount.attr_set
    }
}

/// A read-only tmpfs, or `/dev`, is writable until everything in it has been made.
pub(super) fn waits_for_readonly(mount: &Mount) -> bool {
    let MountSource::Filesystem { fstype, .. } = &mount.source else {
        return false;
    };
    mount.attr_set & attr::RDONLY != 0 && (fstype == "tmpfs" || mount.destination.as_os_str() == "/dev")
}

/// The `MS_*` flag of a type of propagation (mount(2)).
pub(super) fn propagation_flag(kind: PropagationKind) -> u64 {
    match kind {
        PropagationKind::Unbindable => 1 << 17,
        PropagationKind::Private => 1 << 18,
        PropagationKind::Slave => 1 << 19,
        PropagationKind::Shared => 1 << 20,
    }
}

/// After `propagation` is set on `/`, no mount sends anything to the host, wherever it is.
pub(super) fn cuts_off_host(propagation: Propagation) -> bool {
    propagation.recursive && propagation.kind != PropagationKind::Shared
}

/// After `propagation` is set on `/`, the root file system can be copied, and what is mounted in it does not reach the host.
pub(super) fn allows_own_root(propagation: Propagation) -> bool {
    cuts_off_host(propagation) && propagation.kind != PropagationKind::Unbindable
}

/// The attributes that statvfs(3) tells of, as `MOUNT_ATTR_*`.
pub(super) fn from_statvfs(flags: u64) -> u64 {
    const NOATIME: u64 = 0x400;
    const NODIRATIME: u64 = 0x800;
    const RELATIME: u64 = 0x1000;
    const NOSYMFOLLOW: u64 = 0x2000;
    let mut out = flags & (attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC);
    if flags & NOATIME != 0 {
        out |= attr::NOATIME;
    } else if flags & RELATIME == 0 {
        out |= attr::STRICTATIME;
    }
    if flags & NODIRATIME != 0 {
        out |= attr::NODIRATIME;
    }
    if flags & NOSYMFOLLOW != 0 {
        out |= attr::NOSYMFOLLOW;
    }
    out
}

/// The flags of mount(2) for these attributes.
pub(super) fn to_mount_flags(attributes: u64) -> u64 {
    const PAIRS: [(u64, u64); 7] = [
        (attr::RDONLY, 1),
        (attr::NOSUID, 1 << 1),
        (attr::NODEV, 1 << 2),
        (attr::NOEXEC, 1 << 3),
        (attr::NOSYMFOLLOW, 1 << 8),
        (attr::NOATIME, 1 << 10),
        (attr::NODIRATIME, 1 << 11),
    ];
    let atime = match attributes & attr::ATIME {
        attr::STRICTATIME => 1 << 24,
        attr::NOATIME => 0,
        _ => 1 << 21,
    };
    let set = PAIRS.iter().filter(|(bit, _)| attributes & bit != 0);
    set.fold(atime, |flags, (_, flag)| flags | flag)
}

/// The changes that the options of `mount` ask for, in order; `asked` are those of the mount itself. `recursive`: there may be
/// mounts below it, so that recursive and plain changes are different ones.
pub(super) fn alterations(mount: &Mount, asked: SetClear, recursive: bool) -> Vec<Alteration> {
    let mut out = vec![Alteration {
        recursive: false,
        change: Change {
            set: asked.set,
            clear: asked.clear,
            ..Change::default()
        },
    }];
    if mount.rec_attr_set | mount.rec_attr_clear != 0 {
        out.push(Alteration {
            recursive: true,
            change: Change {
                set: mount.rec_attr_set,
                clear: mount.rec_attr_clear,
                ..Change::default()
            },
        });
    }
    for (index, step) in mount.propagation.iter().enumerate() {
        let flag = propagation_flag(step.kind);
        // The first one goes with the attributes if both are about the same mounts. Unbindable mounts cannot be placed.
        if index == 0 && !(step.recursive && recursive) && step.kind != PropagationKind::Unbindable {
            out[0].change.propagation = flag;
            continue;
        }
        out.push(Alteration {
            recursive: step.recursive,
            change: Change {
                propagation: flag,
                ..Change::default()
            },
        });
    }
    if out[0].change.is_empty() {
        out.remove(0);
    }
    out
}

/// The options that stand for `attributes`, for messages.
fn names(attributes: u64) -> String {
    let atime = match attributes & attr::ATIME {
        attr::NOATIME => "noatime",
        attr::STRICTATIME => "strictatime",
        _ => "relatime",
    };
    let mut out: Vec<&str> = [
        (attr::RDONLY, "ro"),
        (attr::NOSUID, "nosuid"),
        (attr::NODEV, "nodev"),
        (attr::NOEXEC, "noexec"),
        (attr::NODIRATIME, "nodiratime"),
    ]
    .into_iter()
    .filter(|(bit, _)| attributes & bit != 0)
    .map(|(_, name)| name)
    .collect();
    if attributes & BINARY == 0 {
        out.push(atime);
    }
    out.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::mount::tests::{bind, filesystem};
    use super::*;

    #[test]
    fn a_bind_without_flags_is_left_alone() {
        assert_eq!(of_bind(&bind("/a", "/b")), None);
    }

    #[test]
    fn a_bind_with_flags_has_exactly_those() {
        let mut mount = bind("/a", "/b");
        mount.attr_set = attr::RDONLY | attr::NOATIME;
        let change = of_bind(&mount).unwrap();
        assert_eq!(change.set, attr::RDONLY | attr::NOATIME);
        assert_eq!(
            change.clear,
            attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW
        );
        // `rw` alone clears all of them, too.
        mount.attr_set = 0;
        mount.attr_clear = attr::RDONLY;
        assert_eq!(of_bind(&mount).unwrap().clear, BINARY);
    }

    #[test]
    fn locked_flags_are_inherited_but_not_cleared() {
        let mut mount = bind("/a", "/b");
        mount.attr_set = attr::NODEV;
        let existing = attr::NOSUID | attr::RDONLY;
        assert_eq!(
            of_locked_bind(&mount, existing),
            Ok(SetClear {
                set: attr::NODEV,
                clear: attr::NOSYMFOLLOW
            })
        );
        mount.attr_clear = attr::NOSUID;
        assert_eq!(
            of_locked_bind(&mount, existing),
            Err("cannot clear locked flags nosuid: operation not permitted".to_owned())
        );
    }

    #[test]
    fn a_locked_access_time_must_match() {
        let mut mount = bind("/a", "/b");
        mount.attr_set = attr::NOATIME;
        assert!(of_locked_bind(&mount, attr::NOATIME).is_ok());
        assert_eq!(
            of_locked_bind(&mount, attr::STRICTATIME | attr::NOSUID),
            Err("cannot change locked atime flags strictatime: operation not permitted".to_owned())
        );
        // `relatime` is the value 0 and shows in what is cleared.
        mount.attr_set = 0;
        mount.attr_clear = attr::ATIME;
        assert!(of_locked_bind(&mount, 0).is_ok());
        assert!(of_locked_bind(&mount, attr::NOATIME).is_err());
    }

    #[test]
    fn read_only_waits_where_files_are_still_made() {
        let mut mount = filesystem("tmpfs", "/run");
        mount.attr_set = attr::RDONLY | attr::NOSUID;
        assert_eq!(of_filesystem(&mount), attr::NOSUID);
        assert!(waits_for_readonly(&mount));
        let mut mount = filesystem("sysfs", "/sys");
        mount.attr_set = attr::RDONLY;
        assert_eq!(of_filesystem(&mount), attr::RDONLY);
    }

    #[test]
    fn propagation_rides_along_where_it_can() {
        let step = |kind, recursive| Propagation { kind, recursive };
        let mut mount = bind("/a", "/b");
        mount.propagation = vec![step(PropagationKind::Private, true)];
        let asked = SetClear { set: 1, clear: 0 };
        assert_eq!(alterations(&mount, asked, false).len(), 1);
        let apart = alterations(&mount, asked, true);
        assert_eq!(
            (apart.len(), apart[0].change.propagation, apart[1].recursive),
            (2, 0, true)
        );
        assert_eq!(alterations(&mount, SetClear::default(), true).len(), 1);
        mount.propagation = vec![step(PropagationKind::Unbindable, false)];
        mount.rec_attr_set = attr::RDONLY;
        let order = alterations(&mount, SetClear::default(), false);
        assert_eq!(
            (order[0].change.set, order[1].change.propagation),
            (attr::RDONLY, 1 << 17)
        );
    }

    #[test]
    fn attributes_as_mount_flags() {
        assert_eq!(to_mount_flags(attr::RDONLY | attr::NOEXEC), 1 | 8 | 1 << 21);
        assert_eq!(to_mount_flags(attr::STRICTATIME | attr::NODIRATIME), 1 << 24 | 1 << 11);
    }

    #[test]
    fn statvfs_has_no_bit_for_strictatime() {
        assert_eq!(from_statvfs(0x2), attr::NOSUID | attr::STRICTATIME);
        assert_eq!(from_statvfs(0x1000 | 0x1), attr::RDONLY);
        assert_eq!(from_statvfs(0x400 | 0x800), attr::NOATIME | attr::NODIRATIME);
    }
}
