//! Signal dispositions and masks.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Puts every signal back to its default action and empties the mask, as a payload expects to find them.
///
/// Rust programs start with SIGPIPE ignored, and the caller of runw may have ignored others; execve(2) would hand both on.
pub fn reset_all() -> Result<()> {
    for signal in 1..=nix::libc::SIGRTMAX() {
        if signal == nix::libc::SIGKILL || signal == nix::libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL is a valid disposition for every signal; the few that libc keeps for itself answer EINVAL.
        unsafe { nix::libc::signal(signal, nix::libc::SIG_DFL) };
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(|e| Error::sys("sigprocmask(SIG_SETMASK, [])", e))
}

/// Signals that end a container's first process at once as long as it runs our own code, or a WebAssembly guest: those whose default action is to end the process, save the ones that the kernel
/// raises for something the process did itself. It is PID 1 of its namespace: the kernel drops signals for which it has no handler.
const TERMINATING: [i32; 14] = [
    nix::libc::SIGHUP,
    nix::libc::SIGINT,
    nix::libc::SIGQUIT,
    nix::libc::SIGABRT,
    nix::libc::SIGUSR1,
    nix::libc::SIGUSR2,
    nix::libc::SIGALRM,
    nix::libc::SIGTERM,
    nix::libc::SIGSTKFLT,
    nix::libc::SIGXCPU,
    nix::libc::SIGVTALRM,
    nix::libc::SIGPROF,
    nix::libc::SIGIO,
    nix::libc::SIGPWR,
];

extern "C" fn end(signal: i32) {
    // SAFETY: _exit is async-signal-safe and does not return.
    unsafe { nix::libc::_exit(128 + signal) }
}

/// From here on a signal whose default action ends a process ends this one with the status 128 + signal, until execve(2).
pub fn end_on_termination() {
    static SET: AtomicBool = AtomicBool::new(false);
    if SET.swap(true, Ordering::Relaxed) {
        return;
    }
    for signal in TERMINATING
        .into_iter()
        .chain(nix::libc::SIGRTMIN()..=nix::libc::SIGRTMAX())
    {
        // SAFETY: the handler only calls _exit.
        unsafe { nix::libc::signal(signal, end as *const () as nix::libc::sighandler_t) };
    }
}

/// What a signal that ends a process is about, in the words that Go's programs print; `None` for the rarer ones.
pub fn meaning(signal: i32) -> Option<&'static str> {
    use nix::libc;
    Some(match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "file size limit exceeded",
        libc::SIGSYS => "bad system call",
        _ => return None,
    })
}
