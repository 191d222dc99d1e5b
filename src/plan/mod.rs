//! The plan of a launch: everything is decided here, before the first fork, as lists of steps.
//!
//! [`draw`] turns a checked [`Config`](crate::config::Config) and what the host offers into a [`Plan`]. It opens the files that only the host can open
//! and compiles the seccomp profile. What it returns is carried out by `launch` without further decisions.

mod draw;
mod exec;
mod step;

pub use draw::draw;
pub use exec::{ExecPlan, ExecWishes, draw_exec};
pub use step::Step;

use crate::cgroup::Cgroup;
use crate::config::{Hooks, IdMapping, NetDevice, Resources, SeccompListener};
use crate::ns::NsPlan;
use crate::privs::seccomp::Program;
use crate::privs::{ParentStep, PrivStep, Seal};
use crate::tty::Outlet;

/// What the caller wants besides what config.json says.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The container's id.
    pub id: &'a str,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// How many descriptors above 2 the payload inherits as sockets to listen on (`LISTEN_FDS`).
    pub listen_fds: u32,
    /// `--preserve-fds`: how many descriptors after those the payload inherits.
    pub preserve_fds: u32,
    /// When the payload's walls must be complete.
    pub seal: Seal,
    /// Where the terminal's master goes. `None` without `process.terminal`.
    pub console: Option<Outlet>,
    /// Where compiled seccomp profiles are kept; `None`: nowhere.
    pub seccomp_cache: Option<std::path::PathBuf>,
}

/// Everything that is to be done, by whom and in which order.
#[derive(Debug)]
pub struct Plan {
    /// Namespaces, and whether a stage process is needed.
    pub ns: NsPlan,
    /// The parent's part.
    pub parent: ParentPlan,
    /// Init's part.
    pub init: InitPlan,
}

impl Plan {
    /// The seccomp filter that init loads.
    pub fn seccomp(&self) -> Option<&Program> {
        let steps = self.init.notify.iter().chain(&self.init.last);
        steps.into_iter().find_map(|step| match step {
            PrivStep::Seccomp(program) => Some(program),
            _ => None,
        })
    }
}

/// The parent answers init's requests with these.
#[derive(Debug)]
pub struct ParentPlan {
    /// The container's cgroup.
    pub cgroup: Cgroup,
    /// Its limits.
    pub resources: Resources,
    /// The user that a writable cgroup is handed to.
    pub cgroup_owner: Option<u32>,
    /// Who puts init into its cgroup.
    pub joining: Joining,
    /// What only the parent may do to init.
    pub beside: Vec<ParentStep>,
    /// `linux.uidMappings`.
    pub uid_mappings: Vec<IdMapping>,
    /// `linux.gidMappings`.
    pub gid_mappings: Vec<IdMapping>,
    /// `linux.netDevices`.
    pub net_devices: Vec<NetDevice>,
    /// All hooks; the parent runs prestart, createRuntime, poststart and poststop.
    pub hooks: Hooks,
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    pub seccomp_listener: Option<SeccompListener>,
}

/// Who puts init into its cgroup, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// Init itself, once the cgroup is made: the fast way on v1.
    Init,
    /// The parent, before init goes on: init makes a cgroup namespace, or takes CPUs and the like that depend on the cgroup.
    ParentFirst,
    /// The parent, while init goes on; on v1 it can take long.
    ParentMeanwhile,
}

/// Init's part.
#[derive(Debug)]
pub struct InitPlan {
    /// From the clone to the point where the container is created.
    pub steps: Vec<Step>,
    /// Loading a seccomp filter that notifies an agent: the parent is needed for it, so it comes before the gate.
    pub notify: Option<PrivStep>,
    /// From the gate to the payload.
    pub after_gate: Vec<Step>,
    /// The last walls, put up by the payload right before it runs.
    pub last: Vec<PrivStep>,
    /// The environment of the payload.
    pub env: Vec<String>,
    /// Where the terminal's master goes.
    pub console: Option<Outlet>,
    /// A procfs of the host, if labels have to be written: the container's could lead elsewhere, or be read-only.
    pub proc: Option<std::os::fd::OwnedFd>,
}
