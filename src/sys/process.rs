//! Making processes and waiting for them.
//!
//! [`clone`] is fork with the flags of clone3(2): the child runs a closure that never returns and leaves by `_exit`, so that no
//! destructor or exit handler of the parent runs twice. The process must be single-threaded when it clones, as runw is.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::error::{Error, Result, ResultExt};

/// `CLONE_PARENT`: the new process is a child of the caller's parent.
pub const CLONE_PARENT: u64 = 0x0000_8000;
const CLONE_PIDFD: u64 = 0x0000_1000;
const CLONE_CHILD_CLEARTID: u64 = 0x0020_0000;
const CLONE_CHILD_SETTID: u64 = 0x0100_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, version 2 (clone(2)).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child process; dropping it neither kills nor waits.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: Pid,
    /// A pidfd for it.
    pub pidfd: OwnedFd,
}

/// Clones the calling process with `flags` (new namespaces, `CLONE_PARENT`), optionally straight into the cgroup v2 folder
/// `cgroup`, and runs `body` in the child. A panic in `body` ends the child with status 101.
///
/// # Errors
/// What clone3(2) says; `EPERM` for a namespace that the caller may not make, `EBUSY`/`EACCES` for the cgroup.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>, body: impl FnOnce() -> Infallible) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: if flags & CLONE_PARENT == 0 {
            nix::libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    if let Ok(Some(address)) = rustix::thread::get_clear_child_tid_address() {
        // libc keeps its own copy of the thread id at this address; let the kernel refresh it in the child.
        args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
        args.child_tid = address.as_ptr() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size given; without CLONE_VM and with no stack the call behaves as fork(2),
    // and the process is single-threaded, so the child's copy of all locks is consistent.
    let pid = unsafe { nix::libc::syscall(nix::libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        0 => {
            let status = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
                Ok(never) => match never {},
                Err(_) => 101,
            };
            exit_now(status)
        }
        pid if pid > 0 => {
            // SAFETY: the kernel stored a new descriptor there because of CLONE_PIDFD; nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = Pid::from_raw(pid as i32).ok_or_else(|| Error::message("clone3 returned an impossible pid"))?;
            Ok(Child { pid, pidfd })
        }
        _ => Err(Error::sys(
            format!("clone3(flags={flags:#x})"),
            nix::errno::Errno::last(),
        )),
    }
}

/// Closes descriptors that the calling process inherited by a clone and has no owner for, without touching what they refer to
/// in the parent.
pub fn close_inherited(descriptors: &[std::os::fd::RawFd]) {
    for fd in descriptors {
        // SAFETY: called first thing in the child, whose copies of the parent's owners are never used or dropped.
        unsafe { nix::libc::close(*fd) };
    }
}

/// Leaves the process at once, without exit handlers (`_exit(2)`).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { nix::libc::_exit(status) }
}

/// The bytes that malloc(3) has from the kernel (mallinfo2(3)).
#[cfg(feature = "wasm")]
pub fn heap() -> u64 {
    // SAFETY: mallinfo2 has no preconditions.
    let info = unsafe { nix::libc::mallinfo2() };
    (info.arena + info.hblkhd) as u64
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By exit(2) with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// The exit code a shell would show: the status, or 128 + signal.
    pub fn code(self) -> u8 {
        match self {
            Ended::Exited(status) => (status & 0xff) as u8,
            Ended::Killed(signal) => (128 + signal) as u8,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(status) => write!(f, "exit status {status}"),
            Ended::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Waits for a child by its pidfd and reaps it (waitid(2), `P_PIDFD`, also for children made by `CLONE_PARENT`).
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended> {
    // The library has no name for __WALL; without it children with another exit signal than SIGCHLD are not seen.
    let options = WaitIdOptions::from_bits_retain(WaitIdOptions::EXITED.bits() | nix::libc::__WALL as u32);
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ended::Exited(code),
                    (None, Some(signal)) => Ended::Killed(signal),
                    (None, None) => continue,
                });
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::sys("waitid(P_PIDFD)", e)),
        }
    }
}

/// Opens a pidfd (pidfd_open(2)).
///
/// # Errors
/// `ESRCH` if there is no such process.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .call(|| format!("pidfd_open({})", pid.as_raw_nonzero()))
}

/// Sends signal number `signal` through a pidfd (pidfd_send_signal(2)); takes real-time signals as well.
///
/// # Errors
/// `ESRCH` if the process is gone.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call; a null siginfo is allowed.
    let r = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    };
    if r < 0 {
        Err(Error::sys(
            format!("pidfd_send_signal({signal})"),
            nix::errno::Errno::last(),
        ))
    } else {
        Ok(())
    }
}

/// Sends signal number `signal` to a process (kill(2)); takes real-time signals as well.
///
/// # Errors
/// `ESRCH` if there is no such process.
pub fn kill(pid: Pid, signal: i32) -> Result<()> {
    let pid = pid.as_raw_nonzero();
    // SAFETY: kill takes plain numbers.
    let r = unsafe { nix::libc::kill(pid.get(), signal) };
    if r < 0 {
        Err(Error::sys(format!("kill({pid}, {signal})"), nix::errno::Errno::last()))
    } else {
        Ok(())
    }
}

/// Makes the calling process a subreaper (prctl(2)): orphans below it become its children.
pub fn become_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).call(|| "prctl(PR_SET_CHILD_SUBREAPER)")
}

/// Forbids others to trace this process or read its `/proc` files until the next execve.
pub fn forbid_tracing() -> Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .call(|| "prctl(PR_SET_DUMPABLE, 0)")
}
