//! The terminal of a container: a pty of its own devpts, bound to `/dev/console`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::tree::Tree;
use super::{Room, devices, resolve};
use crate::error::{Error, Result, ResultExt};

/// Both ends of the pty.
#[derive(Debug)]
pub struct Console {
    /// The end for whoever shows the terminal.
    pub master: OwnedFd,
    /// The end for the container's program.
    pub slave: OwnedFd,
}

/// `f_type` of a devpts (statfs(2)).
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;
/// The inode of `ptmx` in every devpts (`mknod_ptmx` in fs/devpts/inode.c) and its device number.
const PTMX_INODE: u64 = 2;
const PTMX_DEVICE: (u32, u32) = (5, 2);
/// Major numbers of the slave ends (Documentation/admin-guide/devices.txt).
const SLAVE_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// Makes the pty and binds its slave end to `/dev/console` (CVE-2025-52565: by descriptor, not by name).
pub(super) fn make(room: &mut Room) -> Result<()> {
    let root = room.root()?;
    let console = open(root)?;
    let dev = devices::open_dev(root)?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&dev, c"console", create, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::sys("create(\"/dev/console\")", e)),
    }
    let target = resolve::child(dev.as_fd(), c"console").call(|| "open(\"/dev/console\")")?;
    if resolve::file_type(target.as_fd()).call(|| "fstat(\"/dev/console\")")? == FileType::Symlink {
        return Err(Error::message(
            "/dev/console is a symbolic link; remove it from the image",
        ));
    }
    Tree::copy(console.slave.as_fd(), false)?.attach(target.as_fd(), &[], room)?;
    room.set_console(console);
    Ok(())
}

/// Makes a pty in the devpts of the container whose root is `root`; without one, in the host's.
///
/// # Errors
/// `/dev/pts/ptmx` is something else than the kernel made it, or no pty is left.
pub fn open(root: BorrowedFd<'_>) -> Result<Console> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let in_container = match resolve::open_in(root, Path::new("dev/pts/ptmx"), flags, ResolveFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => resolve::walk(root, Path::new("dev/pts"), resolve::Missing::Fail, true)
            .and_then(|found| rustix::fs::openat(&found.fd, c"ptmx", flags | OFlags::NOFOLLOW, Mode::empty())),
        other => other,
    };
    let master = match in_container {
        // A container without a devpts uses the host's.
        Err(Errno::NOENT) => rustix::fs::openat(CWD, c"/dev/pts/ptmx", flags, Mode::empty()),
        other => other,
    }
    .call(|| "open(\"/dev/pts/ptmx\")")?;
    if rustix::fs::fstatfs(&master).call(|| "fstatfs(ptmx)")?.f_type != DEVPTS_MAGIC {
        return Err(Error::message("/dev/pts/ptmx is not on a devpts"));
    }
    let stat = rustix::fs::fstat(&master).call(|| "fstat(ptmx)")?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if stat.st_ino != PTMX_INODE || device != PTMX_DEVICE {
        return Err(Error::message("/dev/pts/ptmx is not the kernel's"));
    }
    rustix::pty::unlockpt(&master).call(|| "ioctl(ptmx, TIOCSPTLCK)")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).call(|| "ioctl(ptmx, TIOCGPTPEER)")?;
    let stat = rustix::fs::fstat(&slave).call(|| "fstat(pty)")?;
    if !SLAVE_MAJORS.contains(&rustix::fs::major(stat.st_rdev)) {
        return Err(Error::message("the slave end of /dev/pts/ptmx is not a pty"));
    }
    Ok(Console { master, slave })
}
