//! The descriptor table as a whole.

use std::os::fd::RawFd;

use rustix::io::{Errno, Result};

/// Marks every descriptor from `first` on as close-on-exec, so that none reaches the program of a container however many the
/// caller leaked into the runtime (close_range(2) with `CLOSE_RANGE_CLOEXEC`, Linux 5.11; else one by one).
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: the call takes plain numbers and with this flag closes nothing, it only marks descriptors.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return Ok(());
    }
    for fd in open_descriptors()?.into_iter().filter(|fd| *fd >= first) {
        // SAFETY: F_SETFD only changes a flag of the descriptor; a number that is not open any more gives EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// The numbers of all open descriptors.
pub fn open_descriptors() -> Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn marks_descriptors_close_on_exec() {
        let file = std::fs::File::open("/").unwrap();
        let copy = rustix::io::fcntl_dupfd_cloexec(&file, 700).unwrap();
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
        assert!(open_descriptors().unwrap().contains(&copy.as_raw_fd()));
        close_on_exec_from(700).unwrap();
        assert!(
            rustix::io::fcntl_getfd(&copy)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
}
