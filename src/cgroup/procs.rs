//! The processes of a cgroup: joining, listing, signalling.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::Cgroup;
use super::apply::is;
use super::dir::{Dir, Writer, is_forbidden, is_gone};
use crate::error::{Result, Wrap};

const PROCS: &str = "cgroup.procs";

const KILL: i32 = nix::libc::SIGKILL;

impl Cgroup {
    /// Moves a process into the cgroup. `cloned_into` says that it was born in the unified one (`CLONE_INTO_CGROUP` with the
    /// descriptor of [`Cgroup::prepare`]).
    ///
    /// The first write of a while waits for an RCU grace period, 2 to 20 ms: see [`Cgroup::enter`].
    ///
    /// # Errors
    /// The kernel refuses one of the writes.
    pub fn join(&self, pid: Pid, cloned_into: bool) -> Result<()> {
        for place in self.places() {
            if cloned_into && place.is_unified() {
                continue;
            }
            match attach(&place.dir(), pid) {
                Err(e) if is_forbidden(&e) => match self.attach_by_systemd(pid) {
                    Some(attached) => attached.wrap(|| "join the container's cgroup")?,
                    None if self.is_lenient() => {}
                    None => return Err(e.wrap("join the container's cgroup")),
                },
                // A rootless `create` could not make it.
                Err(e) if self.is_lenient() && is_gone(&e) => {}
                other => other.wrap(|| "join the container's cgroup")?,
            }
        }
        Ok(())
    }

    /// Moves the calling thread, which should be the only one that lasts, into the v1 cgroups; it was born in the unified one, if
    /// any.
    ///
    /// This takes no time at all: a thread that moves itself (`0` in `tasks`) needs no lock against forking threads, and it is
    /// that lock for which [`Cgroup::join`] has to wait (`cgroup_attach_lock` in the kernel, since 5.5). The host's cgroup
    /// mounts must still be there to be seen, and the caller be allowed to write to them.
    ///
    /// # Errors
    /// The kernel refuses one of the writes.
    pub fn enter(&self) -> Result<()> {
        for place in self.places().iter().filter(|p| !p.is_unified()) {
            match Writer::at(place.dir().join("tasks")).and_then(|tasks| tasks.write("0")) {
                Err(e) if self.is_lenient() && (is_forbidden(&e) || is_gone(&e)) => {}
                other => other.wrap(|| format!("adding pid {} to the container's cgroup", std::process::id()))?,
            }
        }
        Ok(())
    }

    /// Every process of the cgroup and of those below it, by the runtime's pid namespace. Empty if the cgroup is gone.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        if let Some(dir) = self.main_dir() {
            collect(&dir, &mut pids)?;
        }
        Ok(pids)
    }

    /// Sends a signal to every process of the cgroup and below it, such that none escapes by forking. A paused container
    /// stays paused, but for `SIGKILL`, after which nothing is left frozen.
    ///
    /// # Errors
    /// The processes cannot be listed, or none of them may be signalled. A cgroup that is gone is no error.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        if signal == KILL && self.kill_unified()? {
            // The frozen of v1 do not die before they are thawed, and a frozen v2 cgroup would hold whoever joins it.
            return self.thaw();
        }
        let was_frozen = self.is_frozen().unwrap_or(false);
        let frozen = was_frozen || self.freeze().is_ok();
        let result = if frozen {
            self.signal_once(signal)
        } else {
            self.signal_until_quiet(signal)
        };
        if !was_frozen || signal == KILL {
            self.thaw()?;
        }
        result
    }

    /// Kills whatever is in any of its hierarchies, be it in no other: CRIU fills them one after the other.
    ///
    /// # Errors
    /// As for [`Cgroup::signal_all`].
    pub fn kill_in_each(&self) -> Result<()> {
        self.signal_all(KILL)?;
        let mut pids = Vec::new();
        for place in self.places() {
            collect(&place.dir(), &mut pids)?;
        }
        send(&pids, KILL)
    }

    /// `cgroup.kill`, where the kernel has it (5.14).
    fn kill_unified(&self) -> Result<bool> {
        let Some(dir) = self.unified_dir() else {
            return Ok(false);
        };
        match Writer::at(dir.join("cgroup.kill")).and_then(|w| w.write("1")) {
            Ok(()) => Ok(true),
            // Missing in old kernels; not supported in a threaded cgroup.
            Err(e) if is_gone(&e) || is(&e, Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn signal_once(&self, signal: i32) -> Result<()> {
        send(&self.pids()?, signal)
    }

    /// Without a freezer: kill until a look finds nobody new. Other signals are sent once to each process found.
    fn signal_until_quiet(&self, signal: i32) -> Result<()> {
        let mut known: Vec<Pid> = Vec::new();
        for _ in 0..100 {
            let found = self.pids()?;
            let new: Vec<Pid> = found.into_iter().filter(|p| !known.contains(p)).collect();
            if new.is_empty() {
                break;
            }
            send(&new, signal)?;
            known.extend(new);
        }
        Ok(())
    }
}

fn send(pids: &[Pid], signal: i32) -> Result<()> {
    let mut failed = None;
    let mut reached = false;
    for pid in pids {
        match crate::sys::process::kill(*pid, signal) {
            Ok(()) => reached = true,
            Err(e) if is(&e, Errno::SRCH) => reached = true,
            Err(e) => failed = Some(e),
        }
    }
    match failed {
        Some(e) if !reached => Err(e),
        _ => Ok(()),
    }
}

/// Writes a process to a cgroup. The kernel answers EINVAL while the process is still being born.
pub(super) fn attach(dir: &Path, pid: Pid) -> Result<()> {
    let procs = Writer::at(dir.join(PROCS))?;
    let pid = pid.as_raw_nonzero().to_string();
    for _ in 0..4 {
        match procs.write(&pid) {
            Err(e) if is(&e, Errno::INVAL) => std::thread::sleep(Duration::from_millis(30)),
            other => return other,
        }
    }
    procs.write(&pid)
}

/// Adds the processes of a cgroup and of those below it; one that goes away meanwhile has none.
pub(super) fn collect(path: &Path, pids: &mut Vec<Pid>) -> Result<()> {
    let dir = match Dir::open(path) {
        Err(e) if is_gone(&e) => return Ok(()),
        other => other?,
    };
    match members(&dir) {
        Err(e) if is_gone(&e) => return Ok(()),
        other => pids.extend(other?),
    }
    let children = match dir.children() {
        Err(e) if is_gone(&e) => return Ok(()),
        other => other?,
    };
    for child in children {
        collect(&path.join(child), pids)?;
    }
    Ok(())
}

fn members(dir: &Dir) -> Result<Vec<Pid>> {
    let text = match dir.read(PROCS) {
        // A threaded cgroup lists threads only.
        Err(e) if is(&e, Errno::OPNOTSUPP) => dir.read("cgroup.threads")?,
        other => other?,
    };
    Ok(text
        .lines()
        .filter_map(|l| l.parse().ok())
        .filter_map(Pid::from_raw)
        .collect())
}
