//! Namespaces: which are made by the clone, which by init, which are joined and by whom.
//!
//! The common road needs one clone: init is cloned into its new pid (and user) namespace and makes the others itself, while the
//! parent is busy with the cgroup. A *stage* process is needed only where the kernel demands it: setns(2) into a pid namespace
//! works for children only, and a namespace that belongs to the host must be joined before a user namespace is entered.

pub mod devices;
mod join;
pub mod maps;
mod net;
pub mod traffic;

pub use join::{Join, join_all};
pub use net::loopback_up;

use crate::config::{Config, NamespaceKind as Kind, TimeOffset};
use crate::error::{Error, Result, ResultExt};

/// This process is in another user namespace than the host's first one (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    const WHOLE: [&str; 3] = ["0", "0", "4294967295"];
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.split_whitespace().eq(WHOLE))
}

/// What becomes of each namespace, and in which process.
#[derive(Debug)]
pub struct NsPlan {
    /// Joined by a stage process that then clones init; `None`: no stage is needed.
    pub stage: Option<Vec<Join>>,
    /// Flags for the clone that makes init.
    pub clone_flags: u64,
    /// Joined by init.
    pub joins: Vec<Join>,
    /// Made by init right after the joins.
    pub unshare_flags: u64,
    /// Init makes its cgroup namespace once it is in its cgroup.
    pub unshare_cgroup: bool,
    /// Offsets of the time namespace that init makes.
    pub time_offsets: Option<Vec<TimeOffset>>,
    /// Init waits for the parent to write the id maps of its new user namespace.
    pub await_maps: bool,
    /// Init lives in another user namespace than the parent.
    pub in_userns: bool,
}

/// Decides the road for `config` and opens the namespaces to join.
pub fn draw(config: &Config) -> Result<NsPlan> {
    let spaces = &config.namespaces;
    let joins = join::open_all(spaces)?;
    let joins_kind = |kind| joins.iter().any(|j: &Join| j.kind == kind);
    let needs_stage = joins_kind(Kind::Pid)
        || (spaces.is_new(Kind::User) && !joins.is_empty())
        || (joins_kind(Kind::User) && spaces.is_new(Kind::Pid));
    let at_clone = (Kind::User.clone_flag() | Kind::Pid.clone_flag()) & spaces.new_flags();
    let late = at_clone | Kind::Cgroup.clone_flag() | Kind::Time.clone_flag();
    let (stage, joins) = if needs_stage {
        (Some(joins), Vec::new())
    } else {
        (None, joins)
    };
    Ok(NsPlan {
        stage,
        clone_flags: at_clone,
        joins,
        unshare_flags: spaces.new_flags() & !late,
        unshare_cgroup: spaces.is_new(Kind::Cgroup),
        time_offsets: spaces.is_new(Kind::Time).then(|| config.time_offsets.clone()),
        await_maps: spaces.is_new(Kind::User),
        in_userns: spaces.is_own(Kind::User),
    })
}

/// Makes a time namespace with `offsets` and moves the calling process into it (time_namespaces(7)).
///
/// unshare(2) moves only later children; the offsets can be written as long as nobody is inside, then setns(2) enters.
pub fn enter_new_time(offsets: &[TimeOffset]) -> Result<()> {
    use rustix::fs::{Mode, OFlags};
    let flag = Kind::Time.clone_flag();
    crate::sys::namespace::unshare(flag)?;
    if !offsets.is_empty() {
        let text: String = offsets
            .iter()
            .map(|o| format!("{} {} {}\n", o.clock, o.secs, o.nanosecs))
            .collect();
        std::fs::write("/proc/self/timens_offsets", text).map_err(|e| {
            Error::config(
                "linux.timeOffsets",
                format!("the kernel refuses the offsets: {}", io_text(&e)),
            )
        })?;
    }
    let path = "/proc/self/ns/time_for_children";
    let fd =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))?;
    use std::os::fd::AsFd;
    crate::sys::namespace::enter(fd.as_fd(), flag)
}

/// Takes the identity of root inside a user namespace, where the maps have one.
pub fn become_root() -> Result<()> {
    let root = rustix::process::Uid::ROOT;
    match rustix::thread::set_thread_res_gid(
        rustix::process::Gid::ROOT,
        rustix::process::Gid::ROOT,
        rustix::process::Gid::ROOT,
    ) {
        Ok(()) => {}
        // Id 0 is not mapped: stay what we are; the config's own user is checked to be mapped.
        Err(rustix::io::Errno::INVAL) => return Ok(()),
        Err(e) => return Err(Error::sys("setresgid(0, 0, 0)", e)),
    }
    match rustix::thread::set_thread_res_uid(root, root, root) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(e) => Err(Error::sys("setresuid(0, 0, 0)", e)),
    }
}

fn io_text(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), crate::error::errno_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NamespaceSource, Namespaces};

    fn flags(new: &[Kind]) -> (u64, u64) {
        let mut spaces = Namespaces::default();
        for kind in new {
            spaces.set(*kind, NamespaceSource::New);
        }
        let at_clone = (Kind::User.clone_flag() | Kind::Pid.clone_flag()) & spaces.new_flags();
        (at_clone, spaces.new_flags() & !at_clone)
    }

    #[test]
    fn only_pid_and_user_are_made_by_the_clone() {
        let (clone, later) = flags(&[Kind::Pid, Kind::Network, Kind::Mount]);
        assert_eq!(clone, Kind::Pid.clone_flag());
        assert_eq!(later, Kind::Network.clone_flag() | Kind::Mount.clone_flag());
    }
}
