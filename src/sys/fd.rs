//! The descriptor table as a whole.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Result};

/// Marks every descriptor from `first` on close-on-exec (close_range(2), `CLOSE_RANGE_CLOEXEC`, Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Has the program that `command` starts inherit nothing from `first` on but what the command itself sets up.
///
/// The marks are set in the child: this process' own descriptors keep theirs.
pub fn inherit_nothing_from(command: &mut Command, first: u32) {
    let mark =
        move || close_on_exec_from(first).map_err(|e| io::Error::from_raw_os_error(e.errno().unwrap_or(libc::EIO)));
    // SAFETY: `mark` makes system calls on numbers only and touches neither locks nor, unless it fails, the heap.
    unsafe { command.pre_exec(mark) };
}

/// Has the program that `command` starts inherit `keep`, under the same numbers, and nothing else from 3 on.
pub fn inherit_nothing_but(command: &mut Command, keep: Vec<RawFd>) {
    inherit_nothing_from(command, 3);
    let unmark = move || {
        keep.iter().try_for_each(|fd| {
            // SAFETY: takes numbers only.
            Errno::result(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) }).map(drop)
        })?;
        Ok(())
    };
    // SAFETY: `unmark` makes system calls on numbers only and touches neither locks nor the heap.
    unsafe { command.pre_exec(unmark) };
}

/// Closes every descriptor from 3 on but those in `keep`, which get close-on-exec, and those below `first` that this program
/// was started with.
///
/// What execve brought along is told from what was opened since by the missing close-on-exec mark: nothing is opened without
/// it. So execve hands on the descriptors of the caller below `first`, and no other.
///
/// Owners of the closed descriptors must not be dropped afterwards; only execve or `_exit` may follow.
pub fn close_all_but(first: u32, keep: &[RawFd]) -> Result<()> {
    for fd in (3..first as RawFd).filter(|fd| !keep.contains(fd)) {
        // SAFETY: takes numbers only; an absent descriptor answers an error, which is no concern here.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC != 0 {
            // SAFETY: as for close_range.
            unsafe { libc::close(fd) };
        }
    }
    for (from, to) in gaps(first, keep) {
        close_range(from, to, 0)?;
    }
    close_on_exec_from(first)
}

/// Closes every descriptor from `first` on that this program was started with: those without close-on-exec. Nobody in this
/// process owns them. Without a procfs at hand they stay.
pub fn close_inherited_from(first: u32) {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for fd in numbers
        .filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first))
        .collect::<Vec<_>>()
    {
        // SAFETY: takes numbers only.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: whatever this program opens has the mark, so this one has no owner here.
            unsafe { libc::close(fd) };
        }
    }
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
    match Errno::result(r) {
        Ok(_) => Ok(()),
        // Old kernels, and seccomp profiles from their time: an outer one, or the container's own if it is loaded already.
        Err(Errno::ENOSYS | Errno::EPERM) => close_one_by_one(from, to, flags),
        Err(e) => Err(Error::sys(format!("close_range({from}, {to}, {flags:#x})"), e)),
    }
}

/// [`close_range`] by other means. Descriptors beyond what any process may have open are not looked for.
fn close_one_by_one(from: u32, to: u32, flags: libc::c_uint) -> Result<()> {
    const FEWEST: u64 = 1 << 16;
    const MOST: u64 = 1 << 20;
    let (_, hard) = super::sched::rlimit(0, libc::RLIMIT_NOFILE)?;
    let end = u64::from(to).min(hard.clamp(FEWEST, MOST)) as RawFd;
    for fd in from as RawFd..=end {
        if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
            // SAFETY: takes numbers only; an absent descriptor answers EBADF, which is no concern here.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        } else {
            // SAFETY: as for close_range.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
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

    #[test]
    fn without_close_range_each_descriptor_is_visited() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/dev/null").unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, 900).unwrap();
        rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty()).unwrap();
        let number = high.as_raw_fd();
        close_one_by_one(number as u32, number as u32, libc::CLOSE_RANGE_CLOEXEC).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&high).unwrap(), rustix::io::FdFlags::CLOEXEC);
        std::mem::forget(high);
        close_one_by_one(number as u32, number as u32, 0).unwrap();
        assert!(!std::path::Path::new(&format!("/proc/self/fd/{number}")).exists());
    }
}
