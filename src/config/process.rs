//! The container's process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::MemoryPolicy;

/// `process`, for create as well as for exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `args`; never empty.
    pub args: Vec<String>,
    /// `env`, duplicates collapsed (the last wins), without HOME unless given.
    pub env: Vec<String>,
    /// `cwd`, absolute.
    pub cwd: PathBuf,
    /// `terminal`.
    pub terminal: bool,
    /// `consoleSize` as (rows, columns), only with a terminal.
    pub console_size: Option<(u16, u16)>,
    /// `user.uid`, mapped in the container's user namespace.
    pub uid: u32,
    /// `user.gid`, likewise.
    pub gid: u32,
    /// `user.additionalGids`.
    pub additional_gids: Vec<u32>,
    /// The groups of the runtime's caller stay, in the place of those (`run.oci.keep_original_groups`).
    #[serde(default)]
    pub keep_groups: bool,
    /// `user.umask`.
    pub umask: Option<u32>,
    /// `rlimits`: resource number (getrlimit(2)), soft, hard.
    pub rlimits: Vec<Rlimit>,
    /// `capabilities`; `None` when the section is absent: no capability at all.
    pub capabilities: Capabilities,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `oomScoreAdj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `apparmorProfile`.
    pub apparmor_profile: Option<String>,
    /// `selinuxLabel`.
    pub selinux_label: Option<String>,
    /// `scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `ioPriority`.
    pub io_priority: Option<IoPriority>,
    /// `execCPUAffinity`.
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
    /// `linux.personality.domain` as a persona number (personality(2)).
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
}

/// One entry of `rlimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number (getrlimit(2)).
    pub resource: u32,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The five capability sets as bit masks (bit n = capability n, capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// `effective`
    pub effective: u64,
    /// `bounding`
    pub bounding: u64,
    /// `inheritable`
    pub inheritable: u64,
    /// `permitted`
    pub permitted: u64,
    /// `ambient`
    pub ambient: u64,
}

/// `scheduler` (sched_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*` number.
    pub policy: u32,
    /// `nice`.
    pub nice: i32,
    /// `priority`.
    pub priority: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// `runtime`, nanoseconds.
    pub runtime: u64,
    /// `deadline`, nanoseconds.
    pub deadline: u64,
    /// `period`, nanoseconds.
    pub period: u64,
}

/// `ioPriority` (ioprio_set(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// Class: 1 real time, 2 best effort, 3 idle.
    pub class: u8,
    /// 0 to 7.
    pub priority: u8,
}

/// `execCPUAffinity`: CPU numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecCpuAffinity {
    /// Set before the process joins its cgroup.
    pub initial: Vec<u32>,
    /// Set after that.
    pub last: Vec<u32>,
}
