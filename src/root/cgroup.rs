//! The cgroup file systems inside the container, laid out as the host has them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;

use super::filesystem::{self, Parameter};
use super::mount::MountStep;
use super::target::{self, Target};
use super::{Hierarchy, Room, attributes, resolve};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::{self, Change, Copying, attr};

const HARDENED: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

pub(super) fn mount(step: &MountStep, room: &mut Room) -> Result<()> {
    let target = target::open(room.root()?, &step.mount, None)?;
    if step.cgroup.unified {
        unified(step, &target)
    } else {
        legacy(step, &target)
    }
}

/// A fresh cgroup2, or what comes closest to it where that is not permitted (a user namespace with the host's cgroup namespace).
fn unified(step: &MountStep, target: &Target) -> Result<()> {
    let parameters = filesystem::parameters(&step.mount, "cgroup2", "cgroup", None);
    let why = match filesystem::make("cgroup2", &parameters, step.mount.attr_set) {
        Ok(tree) => match step.attach(tree.as_fd(), target, Change::default(), false) {
            Err(e) if e.errno() == Some(libc::EBUSY) => e,
            other => return other,
        },
        Err(e) if matches!(e.errno(), Some(libc::EPERM | libc::EBUSY)) => e,
        Err(e) => return Err(e),
    };
    let view = &step.cgroup;
    let Some(hierarchy) = view.hierarchies.first() else {
        return mask_if_rootless(step, target, why);
    };
    let source = if view.own_namespace {
        &hierarchy.cgroup
    } else {
        &hierarchy.mountpoint
    };
    let tree = match copy(source, true) {
        Ok(tree) => tree,
        Err(e) if e.errno() == Some(libc::ENOENT) => return mask_if_rootless(step, target, e),
        Err(e) => return Err(e),
    };
    // The whole tree of the host is not for writing (CVE-2023-25809).
    let more = if view.own_namespace { 0 } else { attr::RDONLY };
    let change = Change {
        set: step.mount.attr_set & !attr::ATIME | more,
        ..Change::default()
    };
    mount::change(tree.as_fd(), true, &change).call(|| "mount_setattr(cgroup)")?;
    step.attach(tree.as_fd(), target, Change::default(), true)
}

fn mask_if_rootless(step: &MountStep, target: &Target, why: Error) -> Result<()> {
    if !step.cgroup.rootless {
        return Err(why);
    }
    let tree = filesystem::make_mask(step.label.as_deref())?;
    step.attach(tree.as_fd(), target, Change::default(), false)
}

/// A tmpfs with one mount per hierarchy in it, and symbolic links from each controller to a hierarchy of several.
fn legacy(step: &MountStep, target: &Target) -> Result<()> {
    let parameters = [
        Parameter::Text("source".into(), "tmpfs".into()),
        Parameter::Text("mode".into(), "755".into()),
    ];
    let tree = filesystem::make("tmpfs", &parameters, HARDENED)?;
    step.attach(tree.as_fd(), target, Change::default(), false)?;
    for hierarchy in &step.cgroup.hierarchies {
        let name = directory(hierarchy);
        legacy_one(step, tree.as_fd(), name, hierarchy).wrap(|| format!("hierarchy {name}"))?;
    }
    Ok(())
}

fn legacy_one(step: &MountStep, tmpfs: BorrowedFd<'_>, name: &str, hierarchy: &Hierarchy) -> Result<()> {
    match rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::sys(format!("mkdir({name:?})"), e)),
    }
    let fd = resolve::child(tmpfs, name).call(|| format!("open({name:?})"))?;
    let target = Target { fd, existed: false };
    if step.cgroup.own_namespace {
        let parameters = options(hierarchy);
        let attributes = HARDENED | step.mount.attr_set & attr::RDONLY;
        let tree = filesystem::make("cgroup", &parameters, attributes)?;
        step.attach(tree.as_fd(), &target, Change::default(), false)?;
    } else {
        bind_one(step, &target, hierarchy)?;
    }
    for controller in aliases(name) {
        match rustix::fs::symlinkat(name, tmpfs, controller) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::sys(format!("symlink({name:?}, {controller:?})"), e)),
        }
    }
    Ok(())
}

fn bind_one(step: &MountStep, target: &Target, hierarchy: &Hierarchy) -> Result<()> {
    let tree = copy(&hierarchy.cgroup, false)?;
    let asked = attributes::of_bind(&step.mount).unwrap_or_default();
    let mut change = Change {
        set: asked.set,
        clear: asked.clear,
        ..Change::default()
    };
    if step.in_userns {
        // The host's own flags are locked there.
        change.clear = 0;
    }
    step.attach(tree.as_fd(), target, change, false)
}

fn copy(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let how = Copying {
        recursive,
        no_follow: false,
    };
    mount::copy_at(CWD, path, how).call(|| format!("open_tree({:?})", path.display()))
}

/// The name of a hierarchy's directory, as on the host.
fn directory(hierarchy: &Hierarchy) -> &str {
    hierarchy
        .mountpoint
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("cgroup")
}

/// The controllers that get a link to the directory `name` because they share it.
fn aliases(name: &str) -> impl Iterator<Item = &str> {
    name.split(',').filter(move |controller| *controller != name)
}

fn options(hierarchy: &Hierarchy) -> Vec<Parameter> {
    let mut out = vec![Parameter::Text("source".into(), "cgroup".into())];
    out.extend(hierarchy.options.iter().map(|option| match option.split_once('=') {
        Some((key, value)) => Parameter::Text(key.into(), value.into()),
        None => Parameter::Flag(option.clone()),
    }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(options: &[&str], mountpoint: &str) -> Hierarchy {
        Hierarchy {
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            mountpoint: mountpoint.into(),
            cgroup: Path::new(mountpoint).join("x"),
        }
    }

    #[test]
    fn shared_hierarchies_have_links() {
        let both = hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(directory(&both), "cpu,cpuacct");
        assert_eq!(aliases(directory(&both)).collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        assert_eq!(aliases("memory").count(), 0);
    }

    #[test]
    fn named_hierarchies_are_found_by_name() {
        let systemd = hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd");
        assert_eq!(options(&systemd)[1], Parameter::Text("name".into(), "systemd".into()));
    }
}
