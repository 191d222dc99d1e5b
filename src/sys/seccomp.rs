//! Loading a seccomp program, and handing its notification descriptor to another process.
//!
//! After the load every system call of the loading process may be denied, or may wait for an agent that does not have the
//! descriptor yet. So the loader makes none: it says beforehand which number the descriptor will have ([`next_fd`]) and spins
//! on a word of its own memory ([`Release`]); the other process takes the descriptor ([`fetch_listener`]), passes it on, and
//! writes that word ([`release`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Result, ResultExt};

/// `SECCOMP_FILTER_FLAG_TSYNC`
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One classic BPF instruction (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation code.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Instruction {
    /// One `struct sock_filter` in the byte order of this machine.
    pub fn from_bytes(bytes: &[u8; 8]) -> Instruction {
        Instruction {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }
}

/// Loads `program` as a filter of the calling thread, and of all threads with [`FLAG_TSYNC`] (seccomp(2),
/// `SECCOMP_SET_MODE_FILTER`). Gives the notification descriptor, close-on-exec, with [`FLAG_NEW_LISTENER`].
///
/// Nothing here allocates or makes a second system call when the load succeeds.
///
/// # Errors
/// `EACCES` without either no_new_privs or `CAP_SYS_ADMIN`, `EINVAL` for a malformed program or an unknown flag, `EBUSY` for
/// a second listener.
pub fn load(flags: u32, program: &[Instruction]) -> Result<Option<OwnedFd>> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(Error::sys(
            format!("seccomp(a program of {} instructions)", program.len()),
            Errno::EINVAL,
        ));
    }
    let fprog = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `fprog` points to `program.len()` instructions with the layout of sock_filter, which the kernel only reads.
    let r = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    match r {
        r if r < 0 => Err(Error::sys(
            format!("seccomp(SECCOMP_SET_MODE_FILTER, flags={flags:#x})"),
            Errno::last(),
        )),
        r if flags & FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with this flag the result is a new descriptor that nobody else owns.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(r as RawFd) }))
        }
        0 => Ok(None),
        thread => Err(Error::message(format!(
            "seccomp: thread {thread} cannot take over the filter"
        ))),
    }
}

/// Whether the kernel knows all of `flags` (a filter at the null address answers `EFAULT` then, `EINVAL` otherwise).
pub fn flags_supported(flags: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    // SAFETY: a null program is refused by the kernel before anything changes.
    let r = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    r < 0 && Errno::last() == Errno::EFAULT
}

/// Whether the kernel knows the filter action `SECCOMP_RET_*` (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`).
pub fn action_supported(action: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: u32 = 2;
    // SAFETY: the kernel reads one u32.
    let r = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    r == 0
}

/// The number that the next new descriptor of this process will have: the lowest that is free.
pub fn next_fd() -> Result<RawFd> {
    let probe = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).call(|| "eventfd")?;
    Ok(probe.as_raw_fd())
}

/// A word that another process sets to let this one go on.
#[derive(Debug, Default)]
pub struct Release(Box<AtomicU32>);

impl Release {
    /// Where the word is in this process' memory, for [`release`].
    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// Spins until the word is set or about `limit` is over; true if it was set. No system calls: the clock is read through
    /// the vDSO, and only now and then.
    pub fn wait(&self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..100_000 {
                if self.0.load(Ordering::Acquire) != 0 {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > limit {
                return false;
            }
        }
    }
}

/// Sets the word at `address` in the memory of process `pid` (process_vm_writev(2)).
///
/// # Errors
/// `EPERM` without the right to trace the process, `ESRCH` if it is gone.
pub fn release(pid: i32, address: u64) -> Result<()> {
    let one: u32 = 1;
    let local = libc::iovec {
        iov_base: (&raw const one).cast_mut().cast(),
        iov_len: size_of_val(&one),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: size_of_val(&one),
    };
    // SAFETY: the kernel reads four bytes of `one`; the remote range belongs to another process and is checked there.
    let r = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    if r == size_of_val(&one) as isize {
        Ok(())
    } else {
        Err(Error::sys(format!("process_vm_writev({pid})"), Errno::last()))
    }
}

/// Ends the process by an illegal instruction: a system call might be denied, or wait for ever.
pub fn die_without_a_call() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction raises SIGILL and nothing else.
    unsafe {
        std::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction raises SIGILL and nothing else.
    unsafe {
        std::arch::asm!("udf #0", options(noreturn, nomem, nostack))
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: the instruction raises SIGILL and nothing else.
    unsafe {
        std::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
    std::process::abort()
}

/// Takes descriptor `number` of the process behind `pidfd` as soon as it is a seccomp notification descriptor
/// (pidfd_getfd(2)).
///
/// # Errors
/// `ESRCH` when the process ends first, `ETIMEDOUT` after `limit`, `EPERM` without the right to trace the process.
pub fn fetch_listener(pidfd: BorrowedFd<'_>, number: RawFd, limit: Duration) -> Result<OwnedFd> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
    let start = Instant::now();
    let call = || format!("pidfd_getfd({number})");
    loop {
        match pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(fd) if is_listener(fd.as_fd())? => return Ok(fd),
            Ok(_) | Err(rustix::io::Errno::BADF) => {}
            Err(e) => return Err(Error::sys(call(), e)),
        }
        if start.elapsed() > limit {
            return Err(Error::sys(call(), Errno::ETIMEDOUT));
        }
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000,
        };
        if matches!(rustix::event::poll(&mut ended, Some(&pause)), Ok(1..)) {
            return Err(Error::sys(call(), Errno::ESRCH));
        }
    }
}

/// Whether `fd` is a seccomp notification descriptor, by the name the kernel gives such descriptors.
pub fn is_listener(fd: BorrowedFd<'_>) -> Result<bool> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = std::fs::read_link(&link).call(|| format!("readlink({link})"))?;
    Ok(target.as_os_str() == "anon_inode:seccomp notify")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_layout_of_the_kernel() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
    }

    #[test]
    fn an_empty_program_is_refused_before_the_kernel_sees_it() {
        assert_eq!(load(0, &[]).unwrap_err().errno(), Some(libc::EINVAL));
    }

    #[test]
    fn knows_a_listener_from_other_descriptors() {
        let other = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        assert!(!is_listener(other.as_fd()).unwrap());
    }

    #[test]
    fn a_word_is_set_from_outside() {
        let word = Release::default();
        assert!(!word.wait(Duration::ZERO));
        release(std::process::id() as i32, word.address()).unwrap();
        assert!(word.wait(Duration::ZERO));
    }

    #[test]
    fn the_kernel_knows_the_old_flags_and_no_flag_of_the_future() {
        assert!(flags_supported(FLAG_LOG | FLAG_SPEC_ALLOW));
        assert!(!flags_supported(1 << 30));
        assert!(action_supported(0x7fff_0000));
        assert!(!action_supported(0x0123_0000));
    }
}
