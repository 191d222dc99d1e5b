//! `kill`: sends a signal to a container.

use std::os::fd::AsFd;

use rustix::process::Pid;

use super::record::Init;
use super::{Id, Record, Signal, Status, Store, status};
use crate::error::{Error, Kind, Result};
use crate::sys::process;

/// Sends `signal` to the container's init, or to every process in its cgroup (`all`).
///
/// # Errors
/// `container not running` if it has stopped, except with `all`: then whatever still lives in its cgroup gets the signal.
pub fn kill(store: &Store, id: &Id, signal: Signal, all: bool) -> Result<()> {
    let (record, status) = store.folder(id)?.status()?;
    send(&record, status, signal, all)
}

fn send(record: &Record, status: Status, signal: Signal, all: bool) -> Result<()> {
    // Without a pid namespace of its own the death of init leaves the others alive.
    let everybody = all || (signal == Signal::KILL && !record.own_pid_namespace);
    if status == Status::Stopped {
        if everybody && record.cgroup.exists() {
            return record.cgroup.signal_all(signal.number());
        }
        return if all { Ok(()) } else { Err(not_running()) };
    }
    if everybody && !record.cgroup.is_none() {
        return record.cgroup.signal_all(signal.number());
    }
    signal_init(record.init, signal)?;
    if status == Status::Paused && signal == Signal::KILL {
        // A frozen process of cgroup v1 dies only once it thaws.
        record.cgroup.thaw()?;
    }
    Ok(())
}

/// Signals init by pidfd after making sure that the pid is still its.
pub(super) fn signal_init(init: Init, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(init.pid).ok_or_else(not_running)?;
    let pidfd = process::pidfd_open(pid).map_err(|_| not_running())?;
    if !status::is_alive(init) {
        return Err(not_running());
    }
    process::signal(pidfd.as_fd(), signal.number())
}

fn not_running() -> Error {
    Error::new(Kind::State("container not running".to_owned()))
}
