//! `delete`: removes what a container holds. A failed `create` goes the same road.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::{Id, Locked, Record, Signal, Status, Store, kill, start, status};
use crate::error::{Error, Kind, Result, ResultExt, Wrap};
use crate::sys::process;
use crate::{hooks, log, root};

/// How long a killed init may take to die before `delete` gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at while it does not die.
const SLICE: Duration = Duration::from_millis(20);

/// Deletes a container; with `force` also one that runs, and one that is not there.
///
/// # Errors
/// The container runs (without `force`), does not exist (without `force`), or something of it can't be removed.
pub fn delete(store: &Store, id: &Id, force: bool) -> Result<()> {
    let folder = match store.folder(id) {
        Err(e) if force && matches!(e.kind(), Kind::NotFound { .. }) => return Ok(()),
        other => other?,
    };
    let locked = folder.lock()?;
    if locked.load()?.is_none() {
        // The rest of a create that was killed before it had made anything else.
        locked.remove()?;
        return if force {
            Ok(())
        } else {
            Err(Error::new(Kind::NotFound { id: id.to_string() }))
        };
    }
    let (record, status) = locked.status()?;
    match status {
        Status::Stopped => {}
        Status::Created | Status::Creating => end(&record)?,
        _ if force => end(&record)?,
        other => {
            return Err(Error::new(Kind::State(format!(
                "cannot delete container {id} that is not stopped: {other}"
            ))));
        }
    }
    remove(locked, &record)
}

/// Takes down what a failed `create` has made. Init may stand at its gate already, if the pid file could not be written, say.
pub(super) fn roll_back(locked: Locked) -> Result<()> {
    if let Some(saved) = locked.load()? {
        end(&saved.record)?;
        release(&saved.record)?;
    }
    locked.remove()
}

/// Kills every process of the container and waits until init is gone.
pub(super) fn end(record: &Record) -> Result<()> {
    // Of a restore that was killed nobody knows init yet; all that it has made is in the cgroup.
    if record.init.pid == 0 {
        record.cgroup.kill_in_each()?;
    } else if !record.own_pid_namespace && !record.cgroup.is_none() {
        record.cgroup.signal_all(Signal::KILL.number())?;
    }
    match kill::signal_init(record.init, Signal::KILL) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), Kind::State(_)) || e.errno() == Some(nix::libc::ESRCH) => return Ok(()),
        Err(e) => return Err(e),
    }
    // A frozen process of cgroup v1 dies only once it thaws.
    if record.cgroup.exists() && record.cgroup.is_frozen()? {
        record.cgroup.thaw()?;
    }
    await_death(record)
}

/// Waits until init is gone, or is nothing but a shell of a process: init of a pid namespace cannot end before all others in it
/// have, and one that `exec` put there is a zombie until whoever started it has looked.
fn await_death(record: &Record) -> Result<()> {
    let init = record.init;
    let Some(pid) = Pid::from_raw(init.pid) else {
        return Ok(());
    };
    let Ok(pidfd) = process::pidfd_open(pid) else {
        return Ok(());
    };
    if !status::is_alive(init) {
        return Ok(());
    }
    let end = Instant::now() + PATIENCE;
    let slice = Timespec {
        tv_sec: 0,
        tv_nsec: SLICE.as_nanos() as i64,
    };
    while Instant::now() < end {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&slice)) {
            Ok(0) | Err(Errno::INTR) => {}
            other => return other.call(|| "poll(pidfd)").map(drop),
        }
        if status::is_hollow(init) {
            if end_saver(pid) {
                continue;
            }
            if record.cgroup.pids()?.is_empty() {
                return Ok(());
            }
            // It waits for one that did not die with it, such as CRIU whose runtime has been killed.
            record.cgroup.kill_in_each()?;
        }
    }
    Err(Error::message(format!(
        "container init {} still lives {PATIENCE:?} after SIGKILL",
        init.pid
    )))
}

/// Kills CRIU where it traces `init`; tells whether it does. It outlives a runtime that was killed while the container was saved, and
/// waits for the processes that it has stopped, which in turn cannot end for good before it lets go of them.
fn end_saver(init: Pid) -> bool {
    let read = |pid: Pid, what: &str| {
        std::fs::read_to_string(format!("/proc/{}/{what}", pid.as_raw_nonzero())).unwrap_or_default()
    };
    let status = read(init, "status");
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer
        .and_then(|number| number.trim().parse().ok())
        .and_then(Pid::from_raw);
    let saver = tracer.filter(|tracer| read(*tracer, "comm") == "criu\n");
    saver.is_some_and(|saver| process::kill(saver, Signal::KILL.number()).is_ok())
}

/// Removes cgroup and state folder, then runs the poststop hooks: all of them, a failure is only a warning (lifecycle step 13).
pub(super) fn remove(locked: Locked, record: &Record) -> Result<()> {
    release(record)?;
    locked.remove()?;
    if record.hooks.poststop.is_empty() {
        return Ok(());
    }
    let state = start::identity(record).state("stopped", None)?;
    let outlets = hooks::Outlets::open(&record.annotations).unwrap_or_else(|e| {
        log::warn(e.to_string());
        hooks::Outlets::NONE
    });
    let setting = hooks::Setting {
        state: &state,
        env: None,
        dir: Some(&record.bundle),
        outlets: &outlets,
    };
    for e in hooks::run_all("poststop", &record.hooks.poststop, setting) {
        log::warn(e.to_string());
    }
    Ok(())
}

/// Removes the cgroup, and kills what has outlived init in it: CRIU does when the runtime has been killed during a restore,
/// and may go on to put processes there.
fn remove_cgroup(record: &Record) -> Result<()> {
    const MOMENT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(1);
    let end = Instant::now() + PATIENCE;
    let mut removed = record.cgroup.delete(MOMENT);
    while let Err(e) = &removed
        && e.errno() == Some(nix::libc::EBUSY)
        && Instant::now() < end
    {
        record.cgroup.kill_in_each()?;
        removed = record.cgroup.delete(LONG);
    }
    removed
}

fn release(record: &Record) -> Result<()> {
    let cgroup = &record.cgroup;
    if !record.own_pid_namespace && cgroup.exists() {
        cgroup.signal_all(Signal::KILL.number())?;
    }
    if let Some(below) = record.mount_below {
        root::take_down(&record.rootfs, below)?;
    }
    if let Some(group) = &record.intel_rdt {
        group.remove().wrap(|| "remove the resctrl groups")?;
    }
    remove_cgroup(record).wrap(|| "remove the cgroup")
}
