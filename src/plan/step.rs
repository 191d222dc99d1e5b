//! One thing that init does.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::cgroup::Cgroup;
use crate::config::{Hook, TimeOffset};
use crate::hooks::Outlets;
use crate::ns::Join;
use crate::privs::{ParentStep, PrivStep};
use crate::root::RootStep;

/// A step of init. The interpreter is in `launch::init`; each arm there is one call.
#[derive(Debug)]
pub enum Step {
    /// Join existing namespaces.
    Join(Vec<Join>),
    /// Join the namespaces of another process, all in one call.
    JoinProcess {
        /// A pidfd for it.
        process: OwnedFd,
        /// `CLONE_NEW*` flags.
        flags: u64,
    },
    /// Make a folder the root: for a container without a mount namespace.
    Chroot(OwnedFd),
    /// Do to itself what the parent does to a container's init.
    Beside(ParentStep),
    /// Have the parent write the id maps.
    MapIds,
    /// Take root's identity in the user namespace.
    BecomeRoot,
    /// Make new namespaces (`CLONE_NEW*` flags).
    Unshare(u64),
    /// Make a time namespace with offsets and enter it.
    EnterTime(Vec<TimeOffset>),
    /// Hide from ptrace(2) and `/proc` readers until the payload runs.
    ForbidTracing,
    /// Wait until the parent has made the cgroup, and put init into it unless the next step does.
    AwaitCgroup,
    /// Enter the cgroups of v1.
    EnterCgroup(Cgroup),
    /// Make the cgroup namespace.
    UnshareCgroup,
    /// Bring `lo` up.
    LoopbackUp,
    /// sethostname(2).
    Hostname(String),
    /// setdomainname(2).
    Domainname(String),
    /// Something about the root file system.
    Root(RootStep),
    /// Get the devices of `linux.netDevices` and set them up.
    NetDevices,
    /// Have the parent run the prestart and createRuntime hooks.
    RuntimeHooks,
    /// Run hooks in the container's namespaces.
    ContainerHooks {
        /// `createContainer` or `startContainer`.
        kind: &'static str,
        /// In order.
        hooks: Vec<Hook>,
        /// Where to run them; `None`: where init is.
        dir: Option<PathBuf>,
        /// Who gets what they print.
        outlets: Outlets,
    },
    /// Lead a session of its own (setsid(2)).
    Session,
    /// Make a pty in the devpts of the container that has been joined.
    Pty,
    /// Send the pty's master off and make its slave the controlling terminal and stdio.
    Terminal {
        /// `process.consoleSize`: rows and columns.
        size: Option<(u16, u16)>,
    },
    /// Something about the process' identity and privileges.
    Priv(PrivStep),
}

impl Step {
    /// Whether calls may fail from here on that went well before: it loads a filter of system calls.
    pub fn is_wall(&self) -> bool {
        matches!(self, Step::Priv(PrivStep::Seccomp(_)))
    }

    /// The word for the trace.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Join(_) => "join namespaces",
            Step::JoinProcess { .. } => "join container",
            Step::Chroot(_) => "chroot",
            Step::Beside(_) => "oom score, limits, cpus",
            Step::Pty => "pty",
            Step::MapIds => "map ids",
            Step::BecomeRoot => "become root",
            Step::Unshare(_) => "unshare",
            Step::EnterTime(_) => "time namespace",
            Step::AwaitCgroup => "await cgroup",
            Step::EnterCgroup(_) => "enter cgroup",
            Step::UnshareCgroup => "cgroup namespace",
            Step::LoopbackUp => "lo up",
            Step::Hostname(_) => "hostname",
            Step::Domainname(_) => "domainname",
            Step::Root(step) => step.name(),
            Step::ForbidTracing => "forbid tracing",
            Step::NetDevices => "network devices",
            Step::RuntimeHooks => "runtime hooks",
            Step::ContainerHooks { kind, .. } => kind,
            Step::Session => "session",
            Step::Terminal { .. } => "terminal",
            Step::Priv(step) => step.name(),
        }
    }

    /// What was under way, for an error.
    pub fn describe(&self) -> String {
        match self {
            Step::Root(step) => step.describe(),
            Step::Hostname(name) => format!("set hostname {name:?}"),
            Step::Domainname(name) => format!("set domainname {name:?}"),
            Step::Join(_) => "join namespaces (linux.namespaces)".to_owned(),
            Step::JoinProcess { .. } => "join the container's namespaces".to_owned(),
            Step::Unshare(_) => "make namespaces (linux.namespaces)".to_owned(),
            Step::LoopbackUp => "bring up lo in the new network namespace".to_owned(),
            Step::Terminal { .. } => "set up the terminal (process.terminal)".to_owned(),
            other => other.name().to_owned(),
        }
    }
}
