//! Waiting for a container in the foreground: signals go to it, its terminal is relayed, its end ends the wait.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;

use super::relay::poll;
use super::{Relay, Signals};
use crate::error::Result;
use crate::sys::process::{self, Child, Ended};

/// Waits until `child` ends and reaps it. Every signal in `signals` is sent on to it, but for SIGCHLD (other children, adopted by a
/// subreaper, are reaped) and SIGWINCH (the terminal takes the caller's new size). With a `relay`, all that was written to the
/// terminal has been passed on when this returns; a signal cuts that short when nobody reads it. The caller's terminal is restored.
///
/// # Errors
/// The child is not ours to wait for, or the pty fails.
pub fn foreground(child: &Child, signals: &Signals, mut relay: Option<Relay>) -> Result<Ended> {
    loop {
        let others = [child.pidfd.as_fd(), signals.as_fd()];
        let [ended, signalled] = match &mut relay {
            Some(relay) => relay.step(others)?,
            None => wait_for(others)?,
        };
        if signalled {
            hand_on(child, signals, relay.as_ref())?;
        }
        if ended {
            break;
        }
    }
    let ended = process::wait(child.pidfd.as_fd())?;
    if let Some(relay) = &mut relay {
        relay.finish(signals)?;
    }
    Ok(ended)
}

fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N]) -> Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    poll(&mut fds, None)?;
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}

fn hand_on(child: &Child, signals: &Signals, relay: Option<&Relay>) -> Result<()> {
    while let Some(signal) = signals.next()? {
        match signal {
            nix::libc::SIGCHLD => reap_others(child.pid),
            nix::libc::SIGWINCH => relay.into_iter().for_each(Relay::resize),
            // A child that has just ended cannot take it any more, which is no failure.
            other => drop(process::signal(child.pidfd.as_fd(), other)),
        }
    }
    Ok(())
}

/// Reaps what was adopted. The container's own process is left for its pidfd.
fn reap_others(container: Pid) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    let take = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    while let Ok(status) = waitid(Id::All, look) {
        match status.pid() {
            Some(pid) if pid.as_raw() != container.as_raw_nonzero().get() => drop(waitid(Id::Pid(pid), take)),
            _ => return,
        }
    }
}
