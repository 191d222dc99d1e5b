//! The process in which LLVM works: it reads what came from an image, so it has nothing that could be abused.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::process::Signal;

use super::order::{Limits, Tier};
use super::unroll::unroll;
use crate::error::{Error, Result, ResultExt};
use crate::sys::process::{self, Child, Ended};
use crate::sys::sched::{self, SchedAttr};
use crate::sys::wasmedge;
use crate::sys::wasmedge::compiler::{self, Level};
use crate::sys::{cred, exe, fd, namespace};

/// The user that the worker becomes if the cache is root's.
const NOBODY: u32 = 65534;
/// The name of the worker's output in its folder.
pub const OUTPUT: &str = "out.so";
const COMPLAINT: &str = "error";
/// The status of a worker that says in [`COMPLAINT`] why it failed.
const FAILED: i32 = 1;

/// How many times its CPU time a compilation may take by the clock: the machine may have better to do.
const WALL: u32 = 20;

/// How a compilation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object is in [`OUTPUT`].
    Made,
    /// The module cannot be compiled.
    Refused(String),
    /// It ran into a limit.
    Stopped(String),
}

/// Compiles `module` in the folder `work`, in a child process.
///
/// # Errors
/// The child cannot be made or watched.
pub fn compile(module: &[u8], tier: Tier, work: &OwnedFd, limits: &Limits, background: bool) -> Result<Outcome> {
    let root = rustix::process::geteuid().is_root();
    if root {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::fs::fchown(work, Some(user), Some(group)).call(|| "fchown(work)")?;
    }
    // Here, where nothing keeps it from its files.
    wasmedge::load()?;
    let parent = rustix::process::getpid();
    let child = process::clone(0, None, || {
        let made = rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .call(|| "prctl(PR_SET_PDEATHSIG)")
            .and_then(|()| match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(Error::message("the parent is gone")),
            })
            .and_then(|()| confine(work, limits, background, root))
            .and_then(|()| build(module, tier));
        end(made)
    })?;
    let slow = || Outcome::Stopped(format!("it takes more than {} s of CPU time", limits.seconds));
    Ok(match watch(&child, limits.time() * WALL)? {
        None | Some(Ended::Killed(libc::SIGXCPU)) => slow(),
        Some(Ended::Exited(0)) => Outcome::Made,
        Some(Ended::Exited(FAILED)) => Outcome::Refused(complaint(work)),
        // What LLVM does when it gets no memory.
        Some(other) => Outcome::Stopped(format!(
            "the compiler died with {other}, probably because {} MiB of memory are not enough",
            limits.memory >> 20
        )),
    })
}

fn build(module: &[u8], tier: Tier) -> Result<()> {
    let level = match tier {
        Tier::Quick => Level::O0,
        Tier::Optimised => Level::O3,
    };
    let library = wasmedge::load()?;
    let unrolled = match level {
        Level::O0 => Cow::Borrowed(module),
        Level::O3 => Cow::Owned(unroll(module)),
    };
    compiler::compile(library, &unrolled, level, &exe::c_string(OUTPUT.as_ref())?)
        .map_err(|refusal| Error::message(format!("WasmEdge cannot compile it: {refusal}")))
}

fn end(made: Result<()>) -> Infallible {
    match made {
        Ok(()) => process::exit_now(0),
        Err(e) => {
            // Without it the reason is lost, no more.
            let _ = std::fs::write(COMPLAINT, e.to_string());
            process::exit_now(FAILED)
        }
    }
}

/// Waits for the child; `None` if it had to be killed because its time was up.
fn watch(child: &Child, time: Duration) -> Result<Option<Ended>> {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match rustix::event::poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&time)) {
            Ok(0) => {
                process::signal(child.pidfd.as_fd(), libc::SIGKILL)?;
                process::wait(child.pidfd.as_fd())?;
                return Ok(None);
            }
            Ok(_) => return process::wait(child.pidfd.as_fd()).map(Some),
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => return Err(Error::sys("poll(worker)", e)),
        }
    }
}

/// What the worker has said; it is not to be trusted.
fn complaint(work: &OwnedFd) -> String {
    const MOST: u64 = 1000;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut text = Vec::new();
    if let Ok(file) = rustix::fs::openat(work, COMPLAINT, flags, Mode::empty()) {
        // What cannot be read is not told.
        let _ = File::from(file).take(MOST).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Gives away everything but the folder `work`.
fn confine(work: &OwnedFd, limits: &Limits, background: bool, root: bool) -> Result<()> {
    if background {
        be_last();
    }
    // Should memory run out, this is what can be done without. Writing it may be forbidden, as may be the next: it is a courtesy.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, most) in [
        (libc::RLIMIT_CPU, limits.seconds),
        (libc::RLIMIT_AS, limits.memory),
        (libc::RLIMIT_FSIZE, 4 << 30),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, 64),
    ] {
        let (_, hard) = sched::rlimit(0, resource)?;
        // Past the hard limit of CPU time a process is killed without a name for it.
        let room = if resource == libc::RLIMIT_CPU { 10 } else { 0 };
        sched::set_rlimit(0, resource, most.min(hard), most.saturating_add(room).min(hard))?;
    }
    isolate(root);
    rustix::process::fchdir(work).call(|| "fchdir(work)")?;
    // The module, the cache and the lock are the parent's.
    fd::close_all_but(3, &[])?;
    let rooted = rustix::process::chroot(c".").call(|| "chroot(work)");
    if root {
        rooted?;
        cred::set_groups(&[])?;
        cred::set_gid(NOBODY)?;
        cred::set_uid(NOBODY)?;
    }
    cred::set_no_new_privs()?;
    process::forbid_tracing()?;
    forbid_calls().map_err(|e| Error::message(format!("seccomp: {e}")))
}

/// After everything else that the machine has to do.
fn be_last() {
    const SCHED_BATCH: u32 = 3;
    const IDLE_CLASS: u8 = 3;
    // A tenth of a core that others want, too. With less, code for a busy machine would never be done.
    const NICE: i32 = 10;
    // Where it is not allowed, compiling competes with others.
    let _ = sched::set_scheduler(SchedAttr {
        policy: SCHED_BATCH,
        nice: NICE,
        ..SchedAttr::default()
    });
    let _ = sched::set_io_priority(IDLE_CLASS, 7);
    // A session of its own is a scheduling group of its own (sched(7), autogroup), within which a nice value means nothing.
    let _ = std::fs::write("/proc/self/autogroup", NICE.to_string());
}

/// No network and no IPC with others. A user who is not root needs a user namespace for that, which the host may forbid; then
/// the worker still has no more rights than that user.
fn isolate(root: bool) {
    const NEW: u64 = (libc::CLONE_NEWNET | libc::CLONE_NEWIPC) as u64;
    if root {
        let _ = namespace::unshare(NEW);
        return;
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if namespace::unshare(NEW | libc::CLONE_NEWUSER as u64).is_ok() {
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            let _ = std::fs::write(format!("/proc/self/{file}"), text);
        }
    }
}

/// Calls that a compiler has no use for and an intruder would.
fn forbid_calls() -> Result<(), libseccomp::error::SeccompError> {
    const CALLS: [&str; 34] = [
        "execve",
        "execveat",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "socket",
        "socketpair",
        "connect",
        "bind",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsmount",
        "pivot_root",
        "chroot",
        "unshare",
        "setns",
        "bpf",
        "perf_event_open",
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "userfaultfd",
        "open_by_handle_at",
        "pidfd_getfd",
        "pidfd_send_signal",
        "kill",
        "tkill",
        "init_module",
        "finit_module",
        "kexec_load",
    ];
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    for call in CALLS {
        // An architecture may lack one.
        if let Ok(call) = ScmpSyscall::from_name(call) {
            filter.add_rule(ScmpAction::Errno(libc::EPERM), call)?;
        }
    }
    filter.load().map(drop)
}

/// Removes what a worker has left; it holds no folders.
pub fn clear(slot: impl AsFd, work: &str) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(&slot, work, flags, Mode::empty()) else {
        return;
    };
    for entry in rustix::fs::Dir::read_from(&folder).into_iter().flatten().flatten() {
        let _ = rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty());
    }
    let _ = rustix::fs::unlinkat(&slot, work, AtFlags::REMOVEDIR);
}
