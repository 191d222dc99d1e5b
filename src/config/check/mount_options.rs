//! The table of mount options (config.md, Linux mount options; mount(8)). What is not in it goes to the file system.

use crate::config::{Propagation, PropagationKind, SymlinkRule};

/// What an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing: `defaults`.
    Nothing,
    /// Sets (or clears) `MOUNT_ATTR_*` bits, for this mount or for the mounts below, too.
    Attribute {
        /// The bits.
        bits: u64,
        /// Clears instead of sets.
        clear: bool,
        /// Covers the mounts below.
        recursive: bool,
    },
    /// Chooses (or gives up) a way to keep access times.
    AccessTime {
        /// The way.
        way: AccessTime,
        /// `atime`, `norelatime`, `nostrictatime`.
        clear: bool,
        /// Covers the mounts below.
        recursive: bool,
    },
    /// Sets (or clears) a flag of the super block (`MS_*`).
    SuperBlock {
        /// The flag.
        flag: u64,
        /// Clears instead of sets.
        clear: bool,
    },
    /// Changes the propagation.
    Propagation(Propagation),
    /// `bind`, `rbind`.
    Bind {
        /// `rbind`.
        recursive: bool,
    },
    /// `idmap`, `ridmap`.
    IdMap {
        /// `ridmap`.
        recursive: bool,
    },
    /// `tmpcopyup`
    CopyUp,
    /// `remount`
    Remount,
    /// `copy-symlink`, `src-nofollow`, `dest-nofollow`
    Symlink(SymlinkRule),
}

/// The ways to keep access times (`MS_*ATIME`, mount(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessTime {
    /// Never.
    No,
    /// When older than the modification, or a day: what the kernel does unless told otherwise.
    Relative,
    /// Always.
    Strict,
}

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be run.
    pub const NOEXEC: u64 = 0x8;
    /// The field of the three ways to keep access times.
    pub const ATIME_MASK: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// All access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of folders.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// `MS_*` of mount(2) that belong to the super block.
pub mod sb {
    /// `sync`
    pub const SYNCHRONOUS: u64 = 1 << 4;
    /// `mand`
    pub const MANDLOCK: u64 = 1 << 6;
    /// `dirsync`
    pub const DIRSYNC: u64 = 1 << 7;
    /// `silent`
    pub const SILENT: u64 = 1 << 15;
    /// `iversion`
    pub const I_VERSION: u64 = 1 << 23;
    /// `lazytime`
    pub const LAZYTIME: u64 = 1 << 25;
}

use AccessTime::{No, Relative, Strict};

const fn set(bits: u64) -> Meaning {
    Meaning::Attribute {
        bits,
        clear: false,
        recursive: false,
    }
}
const fn clear(bits: u64) -> Meaning {
    Meaning::Attribute {
        bits,
        clear: true,
        recursive: false,
    }
}
const fn set_all(bits: u64) -> Meaning {
    Meaning::Attribute {
        bits,
        clear: false,
        recursive: true,
    }
}
const fn clear_all(bits: u64) -> Meaning {
    Meaning::Attribute {
        bits,
        clear: true,
        recursive: true,
    }
}
const fn time(way: AccessTime, clear: bool) -> Meaning {
    Meaning::AccessTime {
        way,
        clear,
        recursive: false,
    }
}
const fn time_all(way: AccessTime, clear: bool) -> Meaning {
    Meaning::AccessTime {
        way,
        clear,
        recursive: true,
    }
}
const fn sb_set(flag: u64) -> Meaning {
    Meaning::SuperBlock { flag, clear: false }
}
const fn sb_clear(flag: u64) -> Meaning {
    Meaning::SuperBlock { flag, clear: true }
}
const fn spread(kind: PropagationKind, recursive: bool) -> Meaning {
    Meaning::Propagation(Propagation { kind, recursive })
}

/// All options, sorted by name.
const TABLE: [(&str, Meaning); 65] = [
    ("async", sb_clear(sb::SYNCHRONOUS)),
    ("atime", time(No, true)),
    ("bind", Meaning::Bind { recursive: false }),
    ("copy-symlink", Meaning::Symlink(SymlinkRule::Copy)),
    ("defaults", Meaning::Nothing),
    ("dest-nofollow", Meaning::Symlink(SymlinkRule::DestinationNoFollow)),
    ("dev", clear(attr::NODEV)),
    ("diratime", clear(attr::NODIRATIME)),
    ("dirsync", sb_set(sb::DIRSYNC)),
    ("exec", clear(attr::NOEXEC)),
    ("idmap", Meaning::IdMap { recursive: false }),
    ("iversion", sb_set(sb::I_VERSION)),
    ("lazytime", sb_set(sb::LAZYTIME)),
    ("loud", sb_clear(sb::SILENT)),
    ("mand", sb_set(sb::MANDLOCK)),
    ("noatime", time(No, false)),
    ("nodev", set(attr::NODEV)),
    ("nodiratime", set(attr::NODIRATIME)),
    ("noexec", set(attr::NOEXEC)),
    ("noiversion", sb_clear(sb::I_VERSION)),
    ("nolazytime", sb_clear(sb::LAZYTIME)),
    ("nomand", sb_clear(sb::MANDLOCK)),
    ("norelatime", time(Relative, true)),
    ("nostrictatime", time(Strict, true)),
    ("nosuid", set(attr::NOSUID)),
    ("nosymfollow", set(attr::NOSYMFOLLOW)),
    ("private", spread(PropagationKind::Private, false)),
    ("ratime", time_all(No, true)),
    ("rbind", Meaning::Bind { recursive: true }),
    ("rdev", clear_all(attr::NODEV)),
    ("rdiratime", clear_all(attr::NODIRATIME)),
    ("relatime", time(Relative, false)),
    ("remount", Meaning::Remount),
    ("rexec", clear_all(attr::NOEXEC)),
    ("ridmap", Meaning::IdMap { recursive: true }),
    ("rnoatime", time_all(No, false)),
    ("rnodev", set_all(attr::NODEV)),
    ("rnodiratime", set_all(attr::NODIRATIME)),
    ("rnoexec", set_all(attr::NOEXEC)),
    ("rnorelatime", time_all(Relative, true)),
    ("rnostrictatime", time_all(Strict, true)),
    ("rnosuid", set_all(attr::NOSUID)),
    ("rnosymfollow", set_all(attr::NOSYMFOLLOW)),
    ("ro", set(attr::RDONLY)),
    ("rprivate", spread(PropagationKind::Private, true)),
    ("rrelatime", time_all(Relative, false)),
    ("rro", set_all(attr::RDONLY)),
    ("rrw", clear_all(attr::RDONLY)),
    ("rshared", spread(PropagationKind::Shared, true)),
    ("rslave", spread(PropagationKind::Slave, true)),
    ("rstrictatime", time_all(Strict, false)),
    ("rsuid", clear_all(attr::NOSUID)),
    ("rsymfollow", clear_all(attr::NOSYMFOLLOW)),
    ("runbindable", spread(PropagationKind::Unbindable, true)),
    ("rw", clear(attr::RDONLY)),
    ("shared", spread(PropagationKind::Shared, false)),
    ("silent", sb_set(sb::SILENT)),
    ("slave", spread(PropagationKind::Slave, false)),
    ("src-nofollow", Meaning::Symlink(SymlinkRule::SourceNoFollow)),
    ("strictatime", time(Strict, false)),
    ("suid", clear(attr::NOSUID)),
    ("symfollow", clear(attr::NOSYMFOLLOW)),
    ("sync", sb_set(sb::SYNCHRONOUS)),
    ("tmpcopyup", Meaning::CopyUp),
    ("unbindable", spread(PropagationKind::Unbindable, false)),
];

/// What `name` means; `None`: it is for the file system.
pub fn meaning(name: &str) -> Option<Meaning> {
    let index = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(TABLE[index].1)
}

/// The names of all options, sorted, for the features document.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// The propagation called `name`, with or without `r` in front.
pub fn propagation(name: &str) -> Option<Propagation> {
    match meaning(name) {
        Some(Meaning::Propagation(propagation)) => Some(propagation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn every_option_of_the_runtime_spec_is_known() {
        let spec = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
            noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
            relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro \
            rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave \
            strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";
        for name in spec.split_whitespace() {
            assert!(meaning(name).is_some(), "{name}");
        }
        assert_eq!(meaning("size=64k"), None);
    }

    #[test]
    fn propagations() {
        assert_eq!(propagation("rslave").map(|p| p.recursive), Some(true));
        assert_eq!(propagation("ro"), None);
    }
}
