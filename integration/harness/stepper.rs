//! A call of the runtime that is killed at one of its system calls, whichever the case names.

use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::Call;
use super::patience;

/// Makes the call, and kills it right before its system call number `n`, counted from 1 in the process that was called; what
/// that clones goes on as it likes. If the call comes to its end before, gives the number of its system calls.
#[track_caller]
pub fn killed_at(call: Call<'_>, n: usize) -> Option<usize> {
    // It waits to be seized, and then becomes the runtime.
    let running = call.before("kill -STOP $$").spawn();
    let pid = Pid::from_raw(running.pid());
    let stopped = next_stop(pid);
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let (mut is_runtime, mut inside, mut calls) = (false, false, 0);
    loop {
        let pass_on = match next_stop(pid) {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Some(calls),
            WaitStatus::PtraceSyscall(_) => {
                inside = !inside;
                calls += usize::from(is_runtime && inside);
                if calls == n {
                    end(pid);
                    return None;
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
fn end(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
    loop {
        match next_stop(pid) {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
            _ => {}
        }
    }
}

/// What becomes of the process next; one that hangs fails the case, with where it does.
fn next_stop(pid: Pid) -> WaitStatus {
    let deadline = Instant::now() + patience();
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(20)),
            WaitStatus::StillAlive => {
                let told = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let story = format!("{}\n{}\n{}", told("wchan"), told("syscall"), told("status"));
                let _ = kill(pid, Signal::SIGKILL);
                panic!("hung for {:?} in {story}", patience());
            }
            status => return status,
        }
    }
}
