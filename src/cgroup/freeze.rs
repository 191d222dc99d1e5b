//! Pausing and resuming a cgroup.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dir::{Dir, is_gone};
use super::{Cgroup, Mode};
use crate::error::{Error, Result, ResultExt, Wrap};

/// How long the kernel may take to stop every task; a task in an uninterruptible sleep delays it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process of the cgroup, and returns when all have stopped.
    ///
    /// # Errors
    /// There is no freezer, or the processes could not be stopped in time: then they run on.
    pub fn freeze(&self) -> Result<()> {
        let (mode, path) = self.freezer()?;
        let step = || "freeze the container's cgroup";
        let dir = Dir::open(&path).wrap(step)?;
        let frozen = match mode {
            Mode::Unified => freeze_v2(&dir),
            Mode::Legacy | Mode::Hybrid => freeze_v1(&dir),
        };
        frozen
            .inspect_err(|_| {
                let _ = write_state(mode, &dir, false);
            })
            .wrap(step)
    }

    /// Lets the processes run again. No error if there is no freezer or the cgroup is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let Ok((mode, path)) = self.freezer() else {
            return Ok(());
        };
        match Dir::open(&path).and_then(|dir| write_state(mode, &dir, false)) {
            Err(e) if is_gone(&e) => Ok(()),
            other => other.wrap(|| "thaw the container's cgroup"),
        }
    }

    /// The cgroup itself, not one above it, has been frozen. `false` if there is no freezer or no cgroup.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let Ok((mode, path)) = self.freezer() else {
            return Ok(false);
        };
        match Dir::open(&path).and_then(|dir| read_state(mode, &dir)) {
            Err(e) if is_gone(&e) => Ok(false),
            other => other.wrap(|| "read the freezer of the container's cgroup"),
        }
    }

    fn freezer(&self) -> Result<(Mode, PathBuf)> {
        let dir = self.controller_dir("freezer");
        dir.map(|d| (self.mode, d))
            .ok_or_else(|| Error::unsupported("cannot pause: the container has no cgroup with a freezer"))
    }
}

/// The cgroup folder is frozen. On v1 FREEZING is waited out, because the answer decides what may be done next.
fn read_state(mode: Mode, dir: &Dir) -> Result<bool> {
    if mode == Mode::Unified {
        return Ok(dir.read("cgroup.freeze")?.trim_end() == "1");
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match dir.read("freezer.state")?.trim_end() {
            "THAWED" => return Ok(false),
            // Frozen by itself, or because a cgroup above it is?
            "FROZEN" => {
                return match dir.read("freezer.self_freezing") {
                    Err(e) if is_gone(&e) => Ok(true),
                    other => Ok(other?.trim_end() != "0"),
                };
            }
            _ if Instant::now() > end => return Ok(true),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn write_state(mode: Mode, dir: &Dir, frozen: bool) -> Result<()> {
    match (mode, frozen) {
        (Mode::Unified, true) => dir.write("cgroup.freeze", "1"),
        (Mode::Unified, false) => dir.write("cgroup.freeze", "0"),
        (_, true) => dir.write("freezer.state", "FROZEN"),
        (_, false) => dir.write("freezer.state", "THAWED"),
    }
}

/// v1 stays in FREEZING as long as new tasks keep coming: it takes a new write to stop those, and now and then a moment of
/// thaw. The kernel's documentation leaves the retry to the caller.
fn freeze_v1(dir: &Dir) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for attempt in 1u32.. {
        write_state(Mode::Legacy, dir, true)?;
        if dir.read("freezer.state")?.trim_end() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > end {
            break;
        }
        if attempt % 50 == 0 {
            write_state(Mode::Legacy, dir, false)?;
            std::thread::sleep(Duration::from_millis(10));
        } else if attempt > 5 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Err(stuck(dir.path()))
}

fn freeze_v2(dir: &Dir) -> Result<()> {
    write_state(Mode::Unified, dir, true)?;
    let end = Instant::now() + PATIENCE;
    let events = dir.reader("cgroup.events")?;
    while !events.text()?.lines().any(|l| l == "frozen 1") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(stuck(dir.path()));
        }
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        // kernfs wakes a poll for POLLPRI when the file has changed since it was read.
        let mut fds = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            other => drop(other.call(|| "poll(\"cgroup.events\")")?),
        }
    }
    Ok(())
}

fn stuck(path: &Path) -> Error {
    let secs = PATIENCE.as_secs();
    Error::message(format!(
        "unable to freeze {}: some task did not stop within {secs} s",
        path.display()
    ))
}
