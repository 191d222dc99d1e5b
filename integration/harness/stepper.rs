//! A call of the runtime that is killed at one of its system calls, whichever the case names.

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::Call;

/// Makes the call, and kills it right before its system call number `n`, counted from 1 in the process that was called; what
/// that clones goes on as it likes. Gives false if the call came to its end before.
#[track_caller]
pub fn killed_at(call: Call<'_>, n: usize) -> bool {
    // It waits to be seized, and then becomes the runtime.
    let running = call.before("kill -STOP $$").spawn();
    let pid = Pid::from_raw(running.pid());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let (mut is_runtime, mut inside, mut calls) = (false, false, 0);
    loop {
        let pass_on = match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
            WaitStatus::PtraceSyscall(_) => {
                inside = !inside;
                calls += usize::from(is_runtime && inside);
                if calls == n {
                    return end(pid);
                }
                None
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                is_runtime = true;
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        ptrace::syscall(pid, pass_on).unwrap();
    }
}

/// Kills the process, which has not begun with the call at whose entry it stands.
fn end(pid: Pid) -> bool {
    kill(pid, Signal::SIGKILL).unwrap();
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return true,
            _ => {}
        }
    }
}
