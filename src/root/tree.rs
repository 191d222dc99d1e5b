//! A mount on its way into the container's tree, and changes to mounts that are there.
//!
//! Normally it exists before it is put in its place. Kernels without the calls for that, and sandboxes around the runtime that
//! refuse them, leave the classic road: mount(2) makes and places it in one go, at a `/proc/self/fd` path seen from the trusted
//! procfs, and it gets its attributes afterwards.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::{from_statvfs, to_mount_flags};
use super::filesystem::Recipe;
use super::{Room, resolve};
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{self, Change, Copying};

/// `MS_REMOUNT`, `MS_BIND`, `MS_REC` (mount(2)).
const REMOUNT: u64 = 1 << 5;
const BIND: u64 = 1 << 12;
const RECURSIVE: u64 = 1 << 14;
/// `MS_UNBINDABLE` (mount(2)).
const UNBINDABLE: u64 = 1 << 17;

/// A mount that is not in its place yet.
#[derive(Debug)]
pub(super) enum Tree {
    /// It exists and can be given its attributes.
    Detached(OwnedFd),
    /// mount(2) will make it; the error says why that has to be.
    Classic(Classic, Error),
}

/// What mount(2) will make.
#[derive(Debug)]
pub(super) enum Classic {
    /// A bind mount of this inode.
    Bind { source: OwnedFd, recursive: bool },
    /// A new file system.
    New(Recipe),
}

/// One change to a mount, or to it and all below it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Alteration {
    pub recursive: bool,
    pub change: Change<'static>,
}

/// The kernel lacks the call, or something around us forbids it.
pub(super) fn refused(e: Errno) -> bool {
    matches!(e, Errno::NOSYS | Errno::PERM)
}

impl Tree {
    /// A copy of the mount tree at a path of the host.
    pub(super) fn copy_at(path: &Path, how: Copying) -> Result<Tree> {
        let call = || format!("open_tree({path:?})");
        match mount::copy_at(CWD, path, how) {
            Ok(fd) => Ok(Tree::Detached(fd)),
            Err(e) if refused(e) => {
                let mut flags = OFlags::PATH | OFlags::CLOEXEC;
                flags.set(OFlags::NOFOLLOW, how.no_follow);
                let source = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
                let recursive = how.recursive;
                Ok(Tree::Classic(
                    Classic::Bind { source, recursive },
                    Error::sys(call(), e),
                ))
            }
            Err(e) => Err(Error::sys(call(), e)),
        }
    }

    /// A copy of the mount tree that begins at the inode of `fd`.
    pub(super) fn copy(fd: BorrowedFd<'_>, recursive: bool) -> Result<Tree> {
        match mount::copy(fd, recursive) {
            Ok(fd) => Ok(Tree::Detached(fd)),
            Err(e) if refused(e) => {
                let source = fd.try_clone_to_owned().call(|| "dup(source)")?;
                Ok(Tree::Classic(
                    Classic::Bind { source, recursive },
                    Error::sys("open_tree()", e),
                ))
            }
            Err(e) => Err(Error::sys("open_tree()", e)),
        }
    }

    /// The inode that will be seen at its place; `None` while there is only a recipe for it.
    pub(super) fn inode(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Tree::Detached(fd) | Tree::Classic(Classic::Bind { source: fd, .. }, _) => Some(fd.as_fd()),
            Tree::Classic(Classic::New(_), _) => None,
        }
    }

    /// Makes the changes and puts the mount on `target`; what the kernel can only do with a mount in its place follows at once.
    /// Returns the mount.
    pub(super) fn attach(self, target: BorrowedFd<'_>, changes: &[Alteration], room: &mut Room) -> Result<OwnedFd> {
        let (fd, remaining) = match self {
            Tree::Detached(fd) => {
                let remaining = change_in_advance(fd.as_fd(), changes)?;
                mount::attach(fd.as_fd(), target).map_err(|e| explain(e, fd.as_fd(), target))?;
                (fd, remaining)
            }
            Tree::Classic(classic, why) => match classic.mount(target, room) {
                Ok(fd) => (fd, changes),
                // If the newer calls work as such, their complaint is the better one.
                Err(_) if why.errno() != Some(libc::ENOSYS) => return Err(why),
                Err(e) => return Err(e),
            },
        };
        let altered = remaining.iter().try_for_each(|one| alter(fd.as_fd(), *one, room));
        if let Err(e) = altered {
            // Not to be seen without them. Why it failed matters more than whether this does.
            let _ = detach(fd.as_fd(), room);
            return Err(e);
        }
        Ok(fd)
    }
}

/// move_mount(2) has one word for many failures; a directory that was to go on a file, or the reverse, is the usual one.
/// mount(2) calls both ENOTDIR, and engines explain the mistake to their users by these words.
fn explain(e: Errno, mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Error {
    let is_dir = |fd| resolve::file_type(fd).is_ok_and(|kind| kind == FileType::Directory);
    let e = match e {
        Errno::INVAL if is_dir(mount) != is_dir(target) => Errno::NOTDIR,
        other => other,
    };
    Error::sys("move_mount()", e)
}

/// Makes as many of the changes as a detached mount can take and returns the others. An unbindable mount cannot be put in place.
fn change_in_advance<'a>(fd: BorrowedFd<'_>, changes: &'a [Alteration]) -> Result<&'a [Alteration]> {
    for (done, alteration) in changes.iter().enumerate() {
        if alteration.change.propagation == UNBINDABLE {
            return Ok(&changes[done..]);
        }
        match mount::change(fd, alteration.recursive, &alteration.change) {
            Err(Errno::NOSYS) => return Ok(&changes[done..]),
            other => other.call(|| "mount_setattr()")?,
        }
    }
    Ok(&[])
}

/// Changes a mount that is in its place.
pub(super) fn alter(fd: BorrowedFd<'_>, alteration: Alteration, room: &mut Room) -> Result<()> {
    let Alteration { recursive, change } = alteration;
    match mount::change(fd, recursive, &change) {
        Err(e) if refused(e) => {}
        other => return other.call(|| "mount_setattr()"),
    }
    if change.propagation != 0 {
        let flags = change.propagation | if recursive { RECURSIVE } else { 0 };
        classic(None, fd, "", flags, "", room)?;
    }
    if change.set | change.clear == 0 {
        return Ok(());
    }
    if recursive {
        return Err(Error::unsupported(
            "recursive mount attributes (rro and its like) need mount_setattr(2), Linux 5.12",
        ));
    }
    let existing = from_statvfs(rustix::fs::fstatvfs(fd).call(|| "fstatvfs(mount)")?.f_flag.bits());
    let cleared = change.clear
        | if change.set & mount::attr::ATIME != 0 {
            mount::attr::ATIME
        } else {
            0
        };
    let flags = to_mount_flags(existing & !cleared | change.set);
    classic(None, fd, "", REMOUNT | BIND | flags, "", room)
}

impl Classic {
    fn mount(self, target: BorrowedFd<'_>, room: &mut Room) -> Result<OwnedFd> {
        match self {
            Classic::Bind { source, recursive } => {
                let flags = BIND | if recursive { RECURSIVE } else { 0 };
                classic(Some(Source::Inode(source.as_fd())), target, "", flags, "", room)?;
            }
            Classic::New(recipe) => {
                let source = Some(Source::Name(&recipe.device));
                classic(
                    source,
                    target,
                    &recipe.fstype,
                    recipe.mount_flags(),
                    &recipe.data(),
                    room,
                )?;
            }
        }
        top(target, room)
    }
}

enum Source<'a> {
    Inode(BorrowedFd<'a>),
    Name(&'a str),
}

/// mount(2) on the inode of `target`.
fn classic(
    source: Option<Source<'_>>,
    target: BorrowedFd<'_>,
    fstype: &str,
    flags: u64,
    data: &str,
    room: &mut Room,
) -> Result<()> {
    let source = match source {
        Some(Source::Inode(fd)) => own_fd(fd),
        Some(Source::Name(name)) => PathBuf::from(name),
        None => PathBuf::from("none"),
    };
    in_procfs(room, || {
        mount::classic(&source, &own_fd(target), fstype, flags, data)
            .call(|| format!("mount({source:?}, {fstype:?}, {flags:#x}, {data:?})"))
    })
}

/// What is mounted on the inode of `mountpoint` now. Its path is looked up again for that; the newer calls have no need to.
fn top(mountpoint: BorrowedFd<'_>, room: &mut Room) -> Result<OwnedFd> {
    in_procfs(room, || {
        let path = rustix::fs::readlinkat(CWD, own_fd(mountpoint), Vec::new()).call(|| "readlink(mountpoint)")?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::empty()).call(|| format!("open({path:?})"))
    })
}

/// The path of a descriptor, seen from the root of a procfs.
fn own_fd(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("self/fd/{}", fd.as_raw_fd()))
}

/// Runs `work` with the trusted procfs as the current directory.
fn in_procfs<T>(room: &mut Room, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let here = mount::open_dir(c".").call(|| "open(\".\")")?;
    mount::enter_dir(room.procfs()?).call(|| "fchdir(procfs)")?;
    let result = work();
    mount::enter_dir(&here).call(|| "fchdir(back)")?;
    result
}

/// Takes the mount with the root `fd` out of the tree.
pub(super) fn detach(fd: BorrowedFd<'_>, room: &mut Room) -> Result<()> {
    in_procfs(room, || mount::detach(own_fd(fd).as_path()).call(|| "umount2()"))
}

/// Moves the mount `fd` to `target`, where it takes the place of what is seen there.
pub(super) fn relocate(fd: BorrowedFd<'_>, target: BorrowedFd<'_>, room: &mut Room) -> Result<()> {
    const MOVE: u64 = 1 << 13;
    match mount::attach(fd, target) {
        Err(e) if refused(e) => classic(Some(Source::Inode(fd)), target, "", MOVE, "", room),
        other => other.call(|| "move_mount()"),
    }
}
