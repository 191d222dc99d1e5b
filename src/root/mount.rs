//! One entry of `mounts`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::attributes::{self, SetClear};
use super::filesystem::Recipe;
use super::target::{self, Target};
use super::tree::{self, Alteration, Tree};
use super::{CgroupView, MountLabel, Room, bind, cgroup, copyup, idmap};
use crate::config::{Mount, MountSource};
use crate::error::{Result, Wrap};
use crate::sys::mount::{Change, Copying, attr};

/// A mount with everything that the host had to open for it.
#[derive(Debug)]
pub struct MountStep {
    /// What config.json asks for; the destination is clean.
    pub(super) mount: Mount,
    /// `linux.mountLabel`.
    pub(super) label: Option<MountLabel>,
    /// The source, opened and id-mapped by the runtime before the clone.
    pub(super) source: Option<OwnedFd>,
    /// The propagation that takes such a source out of the host's peer groups; 0: none.
    pub(super) cut_off: u64,
    /// The user namespace whose mappings the mount has; a bind source has them already, a file system gets them in init.
    pub(super) idmap: Option<Arc<OwnedFd>>,
    /// The container has a user namespace of its own.
    pub(super) in_userns: bool,
    /// The container's control groups.
    pub(super) cgroup: Arc<CgroupView>,
}

impl MountStep {
    /// It mounts the cgroup file systems.
    pub(super) fn is_cgroup(&self) -> bool {
        self.mount.source == MountSource::Cgroup
    }

    pub(super) fn describe(&self) -> String {
        let what = match &self.mount.source {
            MountSource::Bind { path, .. } => format!("{:?}", path.display()),
            MountSource::Filesystem { fstype, .. } => fstype.clone(),
            MountSource::Cgroup => "cgroup".to_owned(),
        };
        let destination = self.mount.destination.display();
        format!("mount {what} to rootfs at {destination} (mounts[{}])", self.mount.index)
    }

    pub(super) fn apply(&self, room: &mut Room) -> Result<()> {
        match &self.mount.source {
            _ if self.mount.remount => self.remount(room),
            MountSource::Bind { .. } => bind::mount(self, room),
            MountSource::Filesystem { fstype, device } => self.mount_filesystem(room, fstype, device),
            MountSource::Cgroup => cgroup::mount(self, room),
        }
    }

    fn mount_filesystem(&self, room: &mut Room, fstype: &str, device: &str) -> Result<()> {
        let target = target::open(room.root()?, &self.mount, None)?;
        let attributes = attributes::of_filesystem(&self.mount);
        let mut recipe = Recipe::of(&self.mount, fstype, device, attributes);
        if takes_label(fstype) {
            recipe = recipe.labelled(self.label.as_ref());
        }
        if fstype == "tmpfs" && target.existed {
            recipe = recipe.take_over_mode(target.fd.as_fd())?;
        }
        let tree = recipe.make()?;
        match (&tree, &self.idmap) {
            (_, None) => {}
            (Tree::Detached(fd), Some(namespace)) => idmap::apply(fd, false, namespace)?,
            (Tree::Classic(_, why), Some(_)) => return Err(why.clone().wrap("make an id-mapped mount")),
        }
        let mount = match self.attach(tree, &target, SetClear::default(), false, room) {
            Err(e) if fstype == "sysfs" && self.in_userns && e.errno() == Some(libc::EPERM) => {
                return self.bind_host_sysfs(&target, room);
            }
            other => other?,
        };
        if fstype == "proc" && attributes & attr::RDONLY == 0 {
            room.trust_procfs(&mount)?;
        }
        if self.mount.copy_up && target.existed {
            copyup::copy(target.fd.as_fd(), mount.as_fd()).wrap(|| "tmpcopyup")?;
        }
        if attributes::waits_for_readonly(&self.mount) {
            room.to_be_readonly.push((self.mount.index, mount));
        }
        Ok(())
    }

    /// Puts a mount in its place, with the attributes `asked` for and what else the options want. `recursive`: it has, or may
    /// have, mounts below it.
    pub(super) fn attach(
        &self,
        tree: Tree,
        target: &Target,
        asked: SetClear,
        recursive: bool,
        room: &mut Room,
    ) -> Result<OwnedFd> {
        let changes = attributes::alterations(&self.mount, asked, recursive);
        tree.attach(target.fd.as_fd(), &changes, room)
    }

    /// `remount`: changes what is mounted there already.
    fn remount(&self, room: &mut Room) -> Result<()> {
        let target = target::open(room.root()?, &self.mount, None)?;
        if let MountSource::Filesystem { fstype, .. } = &self.mount.source {
            Recipe::of(&self.mount, fstype, "none", 0).reconfigure(target.fd.as_fd())?;
        }
        let asked = attributes::of_bind(&self.mount).unwrap_or_default();
        let changes = attributes::alterations(&self.mount, asked, true);
        changes
            .iter()
            .try_for_each(|change| tree::alter(target.fd.as_fd(), *change, room))
    }

    /// A user namespace that does not own the network namespace cannot mount sysfs; it sees the host's, read-only.
    fn bind_host_sysfs(&self, target: &Target, room: &mut Room) -> Result<()> {
        let how = Copying {
            recursive: true,
            no_follow: true,
        };
        let tree = Tree::copy_at(Path::new("/sys"), how)?;
        let read_only = Alteration {
            recursive: true,
            change: Change {
                set: self.mount.attr_set & !attr::ATIME | attr::RDONLY,
                ..Change::default()
            },
        };
        let mut changes = vec![read_only];
        changes.extend(attributes::alterations(&self.mount, SetClear::default(), true));
        tree.attach(target.fd.as_fd(), &changes, room).map(drop)
    }
}

fn takes_label(fstype: &str) -> bool {
    !matches!(fstype, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
}

/// A mount with that destination is there and comes from the host, so that what is in it must not be touched.
pub(super) fn is_bound(mounts: &[Mount], destination: &Path) -> bool {
    mounts.iter().any(|mount| {
        matches!(mount.source, MountSource::Bind { .. }) && super::resolve::clean(&mount.destination) == destination
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::SymlinkRule;

    fn plain(source: MountSource, destination: &str) -> Mount {
        Mount {
            index: 0,
            destination: destination.into(),
            source,
            attr_set: 0,
            attr_clear: 0,
            rec_attr_set: 0,
            rec_attr_clear: 0,
            sb_flags: 0,
            sb_clear: 0,
            propagation: Vec::new(),
            data: Vec::new(),
            copy_up: false,
            idmap: None,
            symlink: SymlinkRule::Follow,
            remount: false,
        }
    }

    /// A bind mount without options.
    pub fn bind(source: &str, destination: &str) -> Mount {
        let source = MountSource::Bind {
            path: source.into(),
            recursive: false,
        };
        plain(source, destination)
    }

    /// A mount of a file system without options.
    pub fn filesystem(fstype: &str, destination: &str) -> Mount {
        let source = MountSource::Filesystem {
            fstype: fstype.into(),
            device: fstype.into(),
        };
        plain(source, destination)
    }

    #[test]
    fn finds_a_bound_dev() {
        let mounts = [filesystem("tmpfs", "/dev"), bind("/dev/x", "/dev/x")];
        assert!(!is_bound(&mounts, Path::new("/dev")));
        assert!(is_bound(&[bind("/dev", "/dev/")], Path::new("/dev")));
    }
}
