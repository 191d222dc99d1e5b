//! Being told when the kernel runs out of a cgroup's memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;

use super::dir::{Dir, Reader, is_gone};
use super::update::count;
use super::{Cgroup, Mode};
use crate::error::{Result, ResultExt, Wrap};

/// Tells of each time that a cgroup has run out of memory. It holds no lock and may be dropped at any time.
pub struct OomWatch(Source);

enum Source {
    /// An eventfd that the kernel counts up (kernel documentation, cgroup-v1/memory, section 9), which it also does when
    /// the cgroup goes away; and the file that it belongs to.
    Eventfd {
        fd: OwnedFd,
        control: PathBuf,
        _file: Reader,
    },
    /// `memory.events`, which wakes a poll whenever it changes, and its `oom_kill` when last seen.
    Events { file: Reader, seen: u64 },
}

impl Cgroup {
    /// Watches for the want of memory from now on; `None` if the cgroup has no memory controller.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let Some(path) = self.controller_dir("memory") else {
            return Ok(None);
        };
        let watch = Dir::open(&path).and_then(|dir| match self.mode {
            Mode::Unified => events(&dir),
            Mode::Legacy | Mode::Hybrid => control(&dir),
        });
        match watch {
            Ok(source) => Ok(Some(OomWatch(source))),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e).wrap(|| "watch the memory of the container's cgroup"),
        }
    }
}

fn events(dir: &Dir) -> Result<Source> {
    let file = dir.reader("memory.events")?;
    let seen = count(&file.text()?, "oom_kill").unwrap_or(0);
    Ok(Source::Events { file, seen })
}

fn control(dir: &Dir) -> Result<Source> {
    use std::os::fd::AsRawFd;
    let file = dir.reader("memory.oom_control")?;
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).call(|| "eventfd()")?;
    let line = format!("{} {}", fd.as_raw_fd(), file.as_fd().as_raw_fd());
    dir.write("cgroup.event_control", &line)?;
    let control = dir.path().join("cgroup.event_control");
    Ok(Source::Eventfd {
        fd,
        control,
        _file: file,
    })
}

impl OomWatch {
    /// What to poll for.
    pub fn flags(&self) -> PollFlags {
        match self.0 {
            Source::Eventfd { .. } => PollFlags::IN,
            Source::Events { .. } => PollFlags::PRI,
        }
    }

    /// After a poll has said so: whether memory ran out since the last time.
    ///
    /// # Errors
    /// The kernel's file cannot be read, though it is there.
    pub fn happened(&mut self) -> Result<bool> {
        match &mut self.0 {
            Source::Eventfd { fd, control, .. } => match rustix::io::read(&*fd, &mut [0; 8]) {
                Ok(_) => Ok(control.exists()),
                Err(Errno::AGAIN | Errno::INTR) => Ok(false),
                Err(e) => Err(e).call(|| "read(eventfd)"),
            },
            Source::Events { file, seen } => {
                let text = match file.text() {
                    Err(e) if is_gone(&e) => return Ok(false),
                    other => other?,
                };
                let now = count(&text, "oom_kill").unwrap_or(0);
                Ok(now > std::mem::replace(seen, now))
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Source::Eventfd { fd, .. } => fd.as_fd(),
            Source::Events { file, .. } => file.as_fd(),
        }
    }
}
