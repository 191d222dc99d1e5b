//! Bind mounts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use super::attributes::{self, SetClear};
use super::mount::MountStep;
use super::{Room, resolve, target};
use crate::config::{MountSource, SymlinkRule};
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{self, Change, Copying};

/// Mounts a path of the host.
pub(super) fn mount(step: &MountStep, room: &mut Room) -> Result<()> {
    let MountSource::Bind { path, recursive } = &step.mount.source else {
        return Ok(());
    };
    if step.mount.symlink == SymlinkRule::Copy && copy_link(step, room, path)? {
        return Ok(());
    }
    let opened;
    let (tree, inherited) = match open(step, path, *recursive)? {
        Source::Here(fd) => {
            opened = fd;
            (opened.as_fd(), false)
        }
        Source::FromHost(fd) => (fd.as_fd(), true),
    };
    let target = target::open(room.root()?, &step.mount, Some(tree))?;
    if step.mount.destination == Path::new("/proc")
        && rustix::fs::fstatfs(tree).call(|| "fstatfs(source)")?.f_type != PROC_SUPER_MAGIC
    {
        return Err(Error::message("/proc cannot be mounted because it is not of type proc"));
    }
    let Some(asked) = attributes::of_bind(&step.mount) else {
        return step.attach(tree, &target, Change::default(), *recursive);
    };
    // What the host opened before the user namespace was there has no locks, but is treated as if it had them.
    let locked = || {
        let existing = rustix::fs::fstatvfs(tree).call(|| "fstatvfs(source)")?.f_flag.bits();
        attributes::of_locked_bind(&step.mount, attributes::from_statvfs(existing)).map_err(Error::message)
    };
    if inherited && step.in_userns && step.idmap.is_none() {
        return step.attach(tree, &target, change(locked()?), *recursive);
    }
    match step.attach(tree, &target, change(asked), *recursive) {
        Err(e) if e.errno() == Some(libc::EPERM) => step.attach(tree, &target, change(locked()?), *recursive),
        other => other,
    }
}

enum Source<'a> {
    Here(OwnedFd),
    FromHost(&'a OwnedFd),
}

fn change(asked: SetClear) -> Change<'static> {
    Change {
        set: asked.set,
        clear: asked.clear,
        ..Change::default()
    }
}

/// A detached copy of the source. What init may not reach (a directory above it is closed to the container's root user) the
/// runtime has opened before; so it has what it mapped the ids of.
fn open<'a>(step: &'a MountStep, path: &Path, recursive: bool) -> Result<Source<'a>> {
    if let (Some(fd), Some(_)) = (&step.source, &step.idmap) {
        return Ok(Source::FromHost(fd));
    }
    match (copy(step.mount.symlink, path, recursive), &step.source) {
        (Ok(fd), _) => Ok(Source::Here(fd)),
        (Err(_), Some(fd)) => Ok(Source::FromHost(fd)),
        (Err(e), None) => Err(Error::sys(format!("open_tree({:?})", path.display()), e)),
    }
}

/// A detached copy of the mount at a path of the host.
pub(super) fn copy(rule: SymlinkRule, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let how = Copying {
        recursive,
        no_follow: matches!(rule, SymlinkRule::SourceNoFollow | SymlinkRule::NoFollow),
    };
    mount::copy_at(CWD, path, how)
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
