//! What a container is now. Nothing of it is stored: it is read off init, the start gate and the freezer each time.

use std::fmt;

use rustix::fs::{Mode, OFlags};

use super::record::Init;

/// The states of the runtime spec (runtime.md, "State"), and `paused` as all runtimes know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// `create` is still at work.
    Creating,
    /// Init waits at the start gate.
    Created,
    /// The user's program has been started.
    Running,
    /// The container's cgroup is frozen.
    Paused,
    /// Init is gone.
    Stopped,
}

impl Status {
    /// The name in state documents.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The facts a status follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Init is there: same pid, same start time, not a zombie.
    pub alive: bool,
    /// `create` has begun and is not done.
    pub creating: bool,
    /// Init holds the start gate.
    pub gate: bool,
    /// The freezer holds the container's cgroup.
    pub frozen: bool,
}

/// The status that follows from the facts.
pub fn observe(probe: &Probe) -> Status {
    match *probe {
        Probe { creating: true, .. } => Status::Creating,
        Probe { alive: false, .. } => Status::Stopped,
        Probe { frozen: true, .. } => Status::Paused,
        Probe { gate: true, .. } => Status::Created,
        _ => Status::Running,
    }
}

/// Whether the process that was `init` still lives.
///
/// A pid alone proves nothing, it may have been given to another process: its start time (proc_pid_stat(5), field 22) must
/// be the recorded one. A zombie is dead: only its parent has not looked yet.
pub fn is_alive(init: Init) -> bool {
    let Some((start_time, state)) = look(init.pid) else {
        return false;
    };
    start_time == init.start_time && !matches!(state, b'Z' | b'X' | b'x')
}

/// Whether the process that was `init` has let go of everything, namespaces last of all, and only its entry in the process table
/// is left. `false` if that cannot be seen.
pub fn is_hollow(init: Init) -> bool {
    let namespace = rustix::fs::readlink(format!("/proc/{}/ns/mnt", init.pid), Vec::new());
    namespace == Err(rustix::io::Errno::NOENT) && start_time(init.pid).is_none_or(|now| now == init.start_time)
}

/// The start time of a process in clock ticks since boot; `None` if there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    look(pid).map(|(start_time, _)| start_time)
}

fn look(pid: i32) -> Option<(u64, u8)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{pid}/stat"), flags, Mode::empty()).ok()?;
    // 52 fields, the longest of 20 digits.
    let mut text = [0u8; 2048];
    let size = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut text[..])).ok()?;
    parse_stat(text.get(..size)?)
}

/// Start time and state of a process (proc_pid_stat(5), fields 22 and 3). The name before them may hold anything.
fn parse_stat(stat: &[u8]) -> Option<(u64, u8)> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(name_end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let start_time = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some((start_time, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(alive: bool, creating: bool, gate: bool, frozen: bool) -> Status {
        observe(&Probe {
            alive,
            creating,
            gate,
            frozen,
        })
    }

    #[test]
    fn every_combination_has_one_answer() {
        for (gate, frozen) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(status(false, false, gate, frozen), Status::Stopped);
            assert_eq!(status(false, true, gate, frozen), Status::Creating);
            assert_eq!(status(true, true, gate, frozen), Status::Creating);
        }
        assert_eq!(status(true, false, true, false), Status::Created);
        assert_eq!(status(true, false, false, false), Status::Running);
        assert_eq!(status(true, false, true, true), Status::Paused);
        assert_eq!(status(true, false, false, true), Status::Paused);
    }

    #[test]
    fn a_pid_counts_only_with_its_start_time() {
        let pid = std::process::id() as i32;
        let start_time = start_time(pid).unwrap();
        assert!(is_alive(Init { pid, start_time }));
        let start_time = start_time + 1;
        assert!(!is_alive(Init { pid, start_time }));
        assert!(!is_alive(Init {
            pid: i32::MAX,
            start_time
        }));
    }

    #[test]
    fn a_name_cannot_pass_for_a_state() {
        let stat = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1\n");
        for name in [
            "sh",
            "a b",
            ") Z 1 (",
            "x) Z 1 7 7 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 1 1 1",
        ] {
            assert_eq!(parse_stat(stat(name).as_bytes()), Some((4242, b'S')), "{name}");
        }
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b"7 (sh)"), None);
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let start_time = start_time(pid).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(Init { pid, start_time }) {
            assert!(std::time::Instant::now() < deadline, "the child never ended");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
