//! The cgroup file systems inside the container, laid out as the host has them.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::attributes::{self, SetClear};
use super::filesystem::{self, Parameter, Recipe};
use super::mount::MountStep;
use super::target::{self, Target};
use super::tree::{Alteration, Tree};
use super::{Hierarchy, Room, bind, resolve};
use crate::config::SymlinkRule;
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::{Change, attr};

const HARDENED: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

pub(super) fn mount(step: &MountStep, room: &mut Room) -> Result<()> {
    let target = target::open(room.root()?, &step.mount, None)?;
    if step.cgroup.unified {
        unified(step, &target, room)
    } else {
        legacy(step, &target, room)
    }
}

/// A fresh cgroup2, or what comes closest to it where that is not permitted (a user namespace with the host's cgroup namespace).
fn unified(step: &MountStep, target: &Target, room: &mut Room) -> Result<()> {
    let recipe = Recipe::of(&step.mount, "cgroup2", "cgroup", step.mount.attr_set);
    let fresh = recipe
        .make()
        .and_then(|tree| step.attach(tree, target, SetClear::default(), false, room));
    let why = match fresh {
        Err(e) if matches!(e.errno(), Some(libc::EPERM | libc::EBUSY)) => e,
        other => return other.map(drop),
    };
    let view = &step.cgroup;
    let Some(hierarchy) = view.hierarchies.first() else {
        return mask_if_rootless(step, target, why, room);
    };
    let source = if view.own_namespace {
        &hierarchy.cgroup
    } else {
        &hierarchy.mountpoint
    };
    let tree = match copy(source, true) {
        Err(e) if e.errno() == Some(libc::ENOENT) => return mask_if_rootless(step, target, e, room),
        other => other?,
    };
    // The whole tree of the host is not for writing (CVE-2023-25809).
    let more = if view.own_namespace { 0 } else { attr::RDONLY };
    let change = Change {
        set: step.mount.attr_set & !attr::ATIME | more,
        ..Change::default()
    };
    let mut changes = vec![Alteration {
        recursive: true,
        change,
    }];
    changes.extend(attributes::alterations(&step.mount, SetClear::default(), true));
    tree.attach(target.fd.as_fd(), &changes, room).map(drop)
}

fn mask_if_rootless(step: &MountStep, target: &Target, why: Error, room: &mut Room) -> Result<()> {
    if !step.cgroup.rootless {
        return Err(why);
    }
    let tree = filesystem::make_mask(step.label.as_ref())?;
    step.attach(tree, target, SetClear::default(), false, room).map(drop)
}

/// A tmpfs with one mount per hierarchy in it, and symbolic links from each controller to a hierarchy of several.
fn legacy(step: &MountStep, target: &Target, room: &mut Room) -> Result<()> {
    let tree = Recipe::new("tmpfs", "tmpfs", HARDENED).with("mode", "755").make()?;
    let tmpfs = step.attach(tree, target, SetClear::default(), false, room)?;
    for hierarchy in &step.cgroup.hierarchies {
        let name = directory(hierarchy);
        legacy_one(step, tmpfs.as_fd(), name, hierarchy, room).wrap(|| format!("hierarchy {name}"))?;
    }
    Ok(())
}

fn legacy_one(
    step: &MountStep,
    tmpfs: BorrowedFd<'_>,
    name: &str,
    hierarchy: &Hierarchy,
    room: &mut Room,
) -> Result<()> {
    match rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::sys(format!("mkdir({name:?})"), e)),
    }
    let fd = resolve::child(tmpfs, name).call(|| format!("open({name:?})"))?;
    let target = Target { fd, existed: false };
    let (tree, asked) = if step.cgroup.own_namespace {
        (fresh(step, hierarchy).make()?, SetClear::default())
    } else {
        let mut asked = attributes::of_bind(&step.mount).unwrap_or_default();
        if step.in_userns {
            // The host's own flags are locked there.
            asked.clear = 0;
        }
        match copy(&hierarchy.cgroup, false) {
            // Without the right to make cgroups the container has none of its own.
            Err(e) if step.cgroup.rootless && e.errno() == Some(libc::ENOENT) => {
                asked.set |= attr::RDONLY;
                (copy(&hierarchy.mountpoint, false)?, asked)
            }
            tree => (tree?, asked),
        }
    };
    step.attach(tree, &target, asked, false, room)?;
    for controller in aliases(name) {
        match rustix::fs::symlinkat(name, tmpfs, controller) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::sys(format!("symlink({name:?}, {controller:?})"), e)),
        }
    }
    Ok(())
}

fn copy(path: &Path, recursive: bool) -> Result<Tree> {
    Tree::copy_at(path, bind::how(SymlinkRule::Follow, recursive))
}

/// A new mount of a v1 hierarchy; in a cgroup namespace it begins at the container's cgroup.
fn fresh(step: &MountStep, hierarchy: &Hierarchy) -> Recipe {
    let mut recipe = Recipe::new("cgroup", "cgroup", HARDENED | step.mount.attr_set & attr::RDONLY);
    for option in &hierarchy.options {
        recipe.parameters.push(match option.split_once('=') {
            Some((key, value)) => Parameter::Text(key.into(), value.into()),
            None => Parameter::Flag(option.clone()),
        });
    }
    recipe
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
}
