//! The descriptor table as a whole.

use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Result};

/// Marks every descriptor from `first` on close-on-exec (close_range(2), `CLOSE_RANGE_CLOEXEC`, Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on but those in `keep`, which get close-on-exec, and clears that mark from the open
/// ones between 3 and `first`, so that execve hands on the descriptors below `first` and no other.
///
/// Owners of the closed descriptors must not be dropped afterwards; only execve or `_exit` may follow.
pub fn close_all_but(first: u32, keep: &[RawFd]) -> Result<()> {
    for fd in 3..first as RawFd {
        // SAFETY: F_SETFD takes a number only; an absent descriptor answers EBADF, which is no concern here.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
    for (from, to) in gaps(first, keep) {
        close_range(from, to, 0)?;
    }
    close_on_exec_from(first)
}

/// The ranges between `first` and the end that hold none of `keep`.
fn gaps(first: u32, keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .filter(|fd| *fd >= first)
        .collect();
    kept.sort_unstable();
    let mut out = Vec::with_capacity(kept.len() + 1);
    let mut from = first;
    for fd in kept {
        if fd > from {
            out.push((from, fd - 1));
        }
        from = from.max(fd + 1);
    }
    out.push((from, u32::MAX));
    out
}

fn close_range(from: u32, to: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: the call takes numbers only. Closing descriptors that have owners in this process is the caller's contract.
    let r = unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) };
    if r < 0 {
        Err(Error::sys(
            format!("close_range({from}, {to}, {flags:#x})"),
            Errno::last(),
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_leave_out_what_is_kept() {
        const END: u32 = u32::MAX;
        assert_eq!(gaps(3, &[]), [(3, END)]);
        assert_eq!(gaps(3, &[3]), [(4, END)]);
        assert_eq!(gaps(5, &[9, 3, 5, 7, 9]), [(6, 6), (8, 8), (10, END)]);
        assert_eq!(gaps(3, &[-1, 4]), [(3, 3), (5, END)]);
    }
}
