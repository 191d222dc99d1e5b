//! One entry of `mounts`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use super::target::{self, Target};
use super::{CgroupView, Room, attributes, bind, cgroup, copyup, filesystem, idmap};
use crate::config::{Mount, MountSource, Propagation, PropagationKind};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::{self, Change, Copying, FsContext, attr};

/// A mount with everything that the host had to open for it.
#[derive(Debug)]
pub struct MountStep {
    /// What config.json asks for; the destination is clean.
    pub(super) mount: Mount,
    /// `linux.mountLabel`.
    pub(super) label: Option<Arc<str>>,
    /// The source, opened and id-mapped by the runtime before the clone.
    pub(super) source: Option<OwnedFd>,
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
        let label = self.label.as_deref().filter(|_| takes_label(fstype));
        let mut parameters = filesystem::parameters(&self.mount, fstype, device, label);
        if fstype == "tmpfs" && target.existed {
            filesystem::take_over_mode(&mut parameters, &target.fd)?;
        }
        let attributes = attributes::of_filesystem(&self.mount);
        let tree = match filesystem::make(fstype, &parameters, attributes) {
            Err(e) if fstype == "sysfs" && self.in_userns && e.errno() == Some(libc::EPERM) => {
                return self.bind_host_sysfs(&target);
            }
            other => other?,
        };
        if fstype == "proc" && attributes & attr::RDONLY == 0 {
            room.trust_procfs(&tree)?;
        }
        if let Some(namespace) = &self.idmap {
            idmap::apply(&tree, false, namespace)?;
        }
        if self.mount.copy_up && target.existed {
            copyup::copy(target.fd.as_fd(), tree.as_fd()).wrap(|| "tmpcopyup")?;
        }
        self.attach(tree.as_fd(), &target, Change::default(), false)?;
        if attributes::waits_for_readonly(&self.mount) {
            room.to_be_readonly.push((self.mount.index, tree));
        }
        Ok(())
    }

    /// Gives a detached mount its attributes, puts it in its place and gives it its propagation. `recursive`: it has, or may
    /// have, mounts below it.
    pub(super) fn attach(
        &self,
        tree: BorrowedFd<'_>,
        target: &Target,
        mut change: Change<'_>,
        recursive: bool,
    ) -> Result<()> {
        let mut propagation = self.mount.propagation.as_slice();
        if let [first, rest @ ..] = propagation
            && fits_into_first_call(*first, recursive)
        {
            change.propagation = attributes::propagation_flag(first.kind);
            propagation = rest;
        }
        if !change.is_empty() {
            mount::change(tree, false, &change).call(|| "mount_setattr()")?;
        }
        let below = Change {
            set: self.mount.rec_attr_set,
            clear: self.mount.rec_attr_clear,
            ..Change::default()
        };
        if !below.is_empty() {
            mount::change(tree, true, &below).call(|| "mount_setattr(AT_RECURSIVE)")?;
        }
        let destination = &self.mount.destination;
        mount::attach(tree, target.fd.as_fd()).call(|| format!("move_mount({:?})", destination.display()))?;
        for step in propagation {
            propagate(tree, *step)?;
        }
        Ok(())
    }

    /// `remount`: changes what is mounted there already.
    fn remount(&self, room: &mut Room) -> Result<()> {
        let target = target::open(room.root()?, &self.mount, None)?;
        if let MountSource::Filesystem { fstype, .. } = &self.mount.source {
            let fs = FsContext::pick(target.fd.as_fd()).call(|| "fspick()")?;
            for parameter in filesystem::parameters(&self.mount, fstype, "none", None) {
                match &parameter {
                    filesystem::Parameter::Flag(key) => fs.flag(key),
                    filesystem::Parameter::Text(key, value) => fs.text(key, value),
                }
                .call(|| format!("fsconfig({parameter:?})"))?;
            }
            fs.reconfigure().call(|| format!("fsconfig({fstype}, reconfigure)"))?;
        }
        let asked = attributes::of_bind(&self.mount).unwrap_or_default();
        let change = Change {
            set: asked.set,
            clear: asked.clear,
            ..Change::default()
        };
        mount::change(target.fd.as_fd(), false, &change).call(|| "mount_setattr()")?;
        self.mount
            .propagation
            .iter()
            .try_for_each(|step| propagate(target.fd.as_fd(), *step))
    }

    /// A user namespace that does not own the network namespace cannot mount sysfs; it sees the host's, read-only.
    fn bind_host_sysfs(&self, target: &Target) -> Result<()> {
        let how = Copying {
            recursive: true,
            no_follow: true,
        };
        let tree = mount::copy_at(rustix::fs::CWD, Path::new("/sys"), how).call(|| "open_tree(\"/sys\")")?;
        let change = Change {
            set: self.mount.attr_set & !attr::ATIME | attr::RDONLY,
            ..Change::default()
        };
        mount::change(tree.as_fd(), true, &change).call(|| "mount_setattr(\"/sys\")")?;
        self.attach(tree.as_fd(), target, Change::default(), true)
    }
}

fn takes_label(fstype: &str) -> bool {
    !matches!(fstype, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
}

/// The first change of propagation can go with the attributes if both are about the same mounts. An unbindable tree cannot be
/// put in place, so that has to come after.
fn fits_into_first_call(first: Propagation, recursive: bool) -> bool {
    first.kind != PropagationKind::Unbindable && !(first.recursive && recursive)
}

fn propagate(tree: BorrowedFd<'_>, propagation: Propagation) -> Result<()> {
    let change = Change {
        propagation: attributes::propagation_flag(propagation.kind),
        ..Change::default()
    };
    mount::change(tree, propagation.recursive, &change).call(|| format!("mount_setattr({:?})", propagation.kind))
}

/// A mount with that destination is there and comes from the host, so that what is in it must not be touched.
pub(super) fn is_bound(mounts: &[Mount], destination: &Path) -> bool {
    mounts.iter().any(|mount| {
        matches!(mount.source, MountSource::Bind { .. }) && super::resolve::clean(&mount.destination) == destination
    })
}

/// Without a mount namespace of its own a container would change the host's mounts.
pub(super) fn refuse_without_namespace(mounts: &[Mount]) -> Result<()> {
    match mounts.first() {
        None => Ok(()),
        Some(first) => Err(Error::config(
            format!("mounts[{}]", first.index),
            "mounts need a mount namespace; add {\"type\": \"mount\"} to linux.namespaces",
        )),
    }
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
    fn propagation_rides_along_where_it_can() {
        let private = |recursive| Propagation {
            kind: PropagationKind::Private,
            recursive,
        };
        assert!(fits_into_first_call(private(true), false));
        assert!(fits_into_first_call(private(false), true));
        assert!(!fits_into_first_call(private(true), true));
        let unbindable = Propagation {
            kind: PropagationKind::Unbindable,
            recursive: false,
        };
        assert!(!fits_into_first_call(unbindable, false));
    }

    #[test]
    fn finds_a_bound_dev() {
        let mounts = [filesystem("tmpfs", "/dev"), bind("/dev/x", "/dev/x")];
        assert!(!is_bound(&mounts, Path::new("/dev")));
        assert!(is_bound(&[bind("/dev", "/dev/")], Path::new("/dev")));
    }
}
