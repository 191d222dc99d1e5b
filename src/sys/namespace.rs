//! Entering and leaving namespaces (setns(2), unshare(2)).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::thread::UnshareFlags;

use crate::error::{Error, Result};

/// Moves the calling process out of the namespaces named by `flags` (`CLONE_NEW*`) into new ones.
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: unshare of namespaces touches no memory; CLONE_FILES, which would take descriptors from other threads, is never
    // among the flags.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(flags as u32)) }
        .map_err(|e| Error::sys(format!("unshare({flags:#x})"), e))
}

/// Enters the namespace that `fd` refers to; `flag` is its `CLONE_NEW*` flag, checked by the kernel.
pub fn enter(fd: BorrowedFd<'_>, flag: u64) -> Result<()> {
    let kind = nix::sched::CloneFlags::from_bits_retain(flag as i32);
    nix::sched::setns(fd, kind).map_err(|e| Error::sys(format!("setns({flag:#x})"), e))
}

/// Has the next children be born in the caller's own pid namespace again, whichever it entered for earlier ones.
pub fn bear_children_at_home() -> Result<()> {
    let own = super::process::pidfd_open(rustix::process::getpid())?;
    enter(own.as_fd(), nix::libc::CLONE_NEWPID as u64)
}

/// The `CLONE_NEW*` flag of the namespace that `fd` refers to (ioctl_nsfs(2), `NS_GET_NSTYPE`).
///
/// # Errors
/// `ENOTTY` if it is not a namespace file.
pub fn kind(fd: BorrowedFd<'_>) -> Result<u64> {
    use std::os::fd::AsRawFd;
    const NS_GET_NSTYPE: u64 = 0xb703;
    // SAFETY: this ioctl takes no argument and only reads the descriptor.
    let r = unsafe { nix::libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    if r < 0 {
        Err(Error::sys("ioctl(NS_GET_NSTYPE)", nix::errno::Errno::last()))
    } else {
        Ok(r as u32 as u64)
    }
}
