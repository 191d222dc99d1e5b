//! Bind mounts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use super::attributes::{self, SetClear};
use super::mount::MountStep;
use super::tree::{Alteration, Tree};
use super::{Room, idmap, resolve, target};
use crate::config::{MountSource, SymlinkRule};
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{Change, Copying};

/// Mounts a path of the host.
pub(super) fn mount(step: &MountStep, room: &mut Room) -> Result<()> {
    let MountSource::Bind { path, recursive } = &step.mount.source else {
        return Ok(());
    };
    if step.mount.symlink == SymlinkRule::Copy && copy_link(step, room, path)? {
        return Ok(());
    }
    let mapped = room.source.take().filter(|source| source.index == step.mount.index);
    let by_parent = mapped.is_some();
    let (tree, from_host) = match mapped {
        Some(source) => (Tree::Detached(source.tree), false),
        None => open(step, path, *recursive)?,
    };
    let source = tree.inode();
    let target = target::open(room.root()?, &step.mount, source)?;
    if let (true, Some(source)) = (step.mount.destination == Path::new("/proc"), source)
        && rustix::fs::fstatfs(source).call(|| "fstatfs(source)")?.f_type != PROC_SUPER_MAGIC
    {
        return Err(Error::message("/proc cannot be mounted because it is not of type proc"));
    }
    let asked = match attributes::of_bind(&step.mount) {
        None => SetClear::default(),
        // What the host opened before the user namespace was there has no locks, but is treated as if it had them.
        Some(_) if from_host && step.in_userns && step.idmap.is_none() => locked(step, &tree)?,
        // There is no second copy to try the other way with.
        Some(_) if by_parent => locked(step, &tree)?,
        Some(asked) => asked,
    };
    let mut changes = attributes::alterations(&step.mount, asked, *recursive);
    if from_host && step.cut_off != 0 {
        changes.insert(0, cut_off(step.cut_off));
    }
    match tree.attach(target.fd.as_fd(), &changes, room) {
        Err(e) if e.errno() == Some(libc::EPERM) && !from_host && !by_parent && asked != SetClear::default() => {
            let (tree, _) = open(step, path, *recursive)?;
            let asked = locked(step, &tree)?;
            step.attach(tree, &target, asked, *recursive, room)
        }
        other => other,
    }
    .map(drop)
}

fn cut_off(propagation: u64) -> Alteration {
    Alteration {
        recursive: true,
        change: Change {
            propagation,
            ..Change::default()
        },
    }
}

/// The attributes that a source with locked ones can have.
fn locked(step: &MountStep, tree: &Tree) -> Result<SetClear> {
    let existing = match tree.inode() {
        Some(source) => rustix::fs::fstatvfs(source).call(|| "fstatvfs(source)")?.f_flag.bits(),
        None => 0,
    };
    attributes::of_locked_bind(&step.mount, attributes::from_statvfs(existing)).map_err(Error::message)
}

/// A copy of the source. What init may not reach (a directory above it is closed to the container's root user) the runtime has
/// opened before; so it has what it mapped the ids of. Returns whether that one is used.
fn open(step: &MountStep, path: &Path, recursive: bool) -> Result<(Tree, bool)> {
    let from_host = |fd: &OwnedFd| Ok((Tree::Detached(fd.try_clone().call(|| "dup(source)")?), true));
    if let (Some(fd), Some(_)) = (&step.source, &step.idmap) {
        return from_host(fd);
    }
    match (Tree::copy_at(path, how(step.mount.symlink, recursive)), &step.source) {
        (Ok(tree), _) => mapped(tree, step).map(|tree| (tree, false)),
        (Err(_), Some(fd)) => from_host(fd),
        (Err(e), None) => Err(e),
    }
}

/// With the mappings that the mount is to have: those of a source inside the root file system are not given before.
fn mapped(tree: Tree, step: &MountStep) -> Result<Tree> {
    let (Some(namespace), Some(how)) = (&step.idmap, &step.mount.idmap) else {
        return Ok(tree);
    };
    match &tree {
        Tree::Detached(fd) => idmap::apply(fd, how.recursive, namespace)?,
        Tree::Classic(_, why) => return Err(why.clone().wrap("open an id-mapped source")),
    }
    Ok(tree)
}

/// How to copy a mount at a path of the host.
pub(super) fn how(rule: SymlinkRule, recursive: bool) -> Copying {
    Copying {
        recursive,
        no_follow: matches!(rule, SymlinkRule::SourceNoFollow | SymlinkRule::NoFollow),
    }
}

/// `copy-symlink`: a source that is a symbolic link is made anew in the container. Returns whether it is one.
fn copy_link(step: &MountStep, room: &Room, path: &Path) -> Result<bool> {
    let destination = &step.mount.destination;
    let link = match rustix::fs::readlinkat(CWD, path, Vec::new()) {
        Ok(link) => link,
        Err(Errno::INVAL) => return Ok(false),
        Err(e) => return Err(Error::sys(format!("readlink({:?})", path.display()), e)),
    };
    let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
        return Ok(false);
    };
    let parent = resolve::make_dir(room.root()?, parent).call(|| format!("mkdir({:?})", parent.display()))?;
    match rustix::fs::symlinkat(link.as_c_str(), &parent.fd, name) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => match rustix::fs::readlinkat(&parent.fd, name, Vec::new()) {
            Ok(there) if there == link => Ok(true),
            _ => Err(Error::message(format!(
                "{} exists and is not a symbolic link to {link:?}",
                destination.display()
            ))),
        },
        Err(e) => Err(Error::sys(format!("symlink({link:?}, {:?})", destination.display()), e)),
    }
}
