//! The steps that init carries out.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use super::cwd::{self, Entered};
use super::label::Label;
use super::seccomp::Program;
use super::{env, limits, user};
use crate::config::{IoPriority, MemoryPolicy, Rlimit};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::cred::{self, CapSets};
use crate::sys::landlock::{self, access};
use crate::sys::sched::{self, SchedAttr};
use crate::sys::seccomp as sys_seccomp;

/// How long the other side may take to hand the descriptor to the agent of `SCMP_ACT_NOTIFY`.
const LISTENER_LIMIT: Duration = Duration::from_secs(10);

/// One thing that init does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivStep {
    /// Joins a session keyring; `grant` are permission bits to add, for a keyring that is new.
    SessionKeyring {
        /// Its name.
        name: String,
        /// Permission bits (keyctl_setperm(3)).
        grant: Option<u32>,
    },
    /// Writes an LSM label.
    Label(Label),
    /// Takes every CPU that the cgroup has.
    AllCpus,
    /// Takes these CPUs.
    Cpus(Vec<u32>),
    /// `process.noNewPrivileges`.
    NoNewPrivs,
    /// `process.scheduler`.
    Scheduler(SchedAttr),
    /// `process.ioPriority`.
    IoPriority(IoPriority),
    /// `linux.personality`.
    Personality(u64),
    /// `linux.memoryPolicy`.
    MemoryPolicy(MemoryPolicy),
    /// `process.user.umask`.
    Umask(u32),
    /// `process.cwd`, as the runtime's user.
    EnterCwd {
        /// Absolute path.
        path: PathBuf,
        /// Make it if it is missing.
        create: bool,
    },
    /// Adds `HOME` to the environment.
    Home {
        /// Whose.
        uid: u32,
    },
    /// Adds `LISTEN_FDS` and `LISTEN_PID` to the environment, for so many descriptors.
    ListenFds(u32),
    /// `process.rlimits`.
    Rlimits(Vec<Rlimit>),
    /// Cuts the bounding set to this mask.
    Bounding(u64),
    /// Gives the standard streams to the container's user.
    StdioOwner {
        /// Its id.
        uid: u32,
    },
    /// `process.user`.
    User {
        /// `uid`
        uid: u32,
        /// `gid`
        gid: u32,
        /// `additionalGids`; `None`: those of the runtime's caller stay.
        groups: Option<Vec<u32>>,
        /// In a user namespace setgroups may be denied.
        user_namespace: bool,
    },
    /// `process.cwd`, as the container's user, and the check that it lies inside the root.
    SettleCwd {
        /// Absolute path.
        path: PathBuf,
    },
    /// The capability sets but the bounding one.
    Capabilities {
        /// For capset(2).
        sets: CapSets,
        /// As far as it is possible.
        ambient: u64,
    },
    /// Closes every descriptor but stdio, those of [`PrivsContext::keep`], and those below `first` that the caller gave us.
    CloseFds {
        /// The first that the payload does not get.
        first: u32,
    },
    /// Gives up what an engine never needs of files, where the kernel has Landlock.
    Landlock,
    /// Loads the filter; after that of the profile only execve follows.
    Seccomp(Program),
}

/// What init tells the process that hands the seccomp descriptor to the agent.
///
/// That process calls [`sys_seccomp::fetch_listener`], [`super::seccomp::send_listener`] and [`sys_seccomp::release`]; if one
/// of them fails it has to kill init, which cannot even exit by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Announcement {
    /// The number that the descriptor is going to have in init.
    pub fd: RawFd,
    /// The address of the word that lets init go on.
    pub release: u64,
}

/// What the steps work with and change.
#[derive(Default)]
pub struct PrivsContext {
    /// The root of a procfs that the container cannot have tampered with; without it `/proc` is taken, if it is a procfs.
    pub proc: Option<OwnedFd>,
    /// The payload's environment.
    pub env: Vec<String>,
    /// Descriptors that stay open until execve closes them (the start gate).
    pub keep: Vec<RawFd>,
    /// Tells the other side about the seccomp descriptor; needed for a program that [notifies](Program::notifies).
    pub announce: Option<Box<dyn FnMut(Announcement) -> Result<()>>>,
    /// How far the change of directory has come.
    entered: Option<Entered>,
}

impl PrivStep {
    /// The name for traces and errors.
    pub fn name(&self) -> &'static str {
        match self {
            PrivStep::SessionKeyring { .. } => "session keyring",
            PrivStep::Label(_) => "label",
            PrivStep::AllCpus | PrivStep::Cpus(_) => "cpu affinity",
            PrivStep::NoNewPrivs => "no new privileges",
            PrivStep::Scheduler(_) => "scheduler",
            PrivStep::IoPriority(_) => "io priority",
            PrivStep::Personality(_) => "personality",
            PrivStep::MemoryPolicy(_) => "memory policy",
            PrivStep::Umask(_) => "umask",
            PrivStep::EnterCwd { .. } => "enter cwd",
            PrivStep::Home { .. } => "home",
            PrivStep::ListenFds(_) => "listen fds",
            PrivStep::Rlimits(_) => "rlimits",
            PrivStep::Bounding(_) => "bounding capabilities",
            PrivStep::StdioOwner { .. } => "stdio owner",
            PrivStep::User { .. } => "user",
            PrivStep::SettleCwd { .. } => "settle cwd",
            PrivStep::Capabilities { .. } => "capabilities",
            PrivStep::CloseFds { .. } => "close descriptors",
            PrivStep::Landlock => "landlock",
            PrivStep::Seccomp(_) => "seccomp",
        }
    }

    /// The first descriptor that the payload does not get, if the step is about descriptors.
    pub fn closes_from(&self) -> Option<u32> {
        match self {
            PrivStep::CloseFds { first } => Some(*first),
            _ => None,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What the kernel says, in terms of the config.
    pub fn apply(&self, ctx: &mut PrivsContext) -> Result<()> {
        match self {
            PrivStep::SessionKeyring { name, grant } => user::join_keyring(name, *grant),
            PrivStep::Label(label) => label.write(ctx.proc.as_ref().map(AsFd::as_fd)),
            PrivStep::AllCpus => {
                // Best effort: an affinity that cannot be widened is a slow container, not a wrong one.
                let _ = sched::set_all_cpus();
                Ok(())
            }
            PrivStep::Cpus(cpus) => sched::set_cpus(cpus).wrap(|| "set process.execCPUAffinity.final"),
            PrivStep::NoNewPrivs => cred::set_no_new_privs(),
            PrivStep::Scheduler(attr) => set_scheduler(*attr),
            PrivStep::IoPriority(p) => sched::set_io_priority(p.class, p.priority).wrap(|| "set process.ioPriority"),
            PrivStep::Personality(persona) => sched::set_personality(*persona).wrap(|| "set linux.personality"),
            PrivStep::MemoryPolicy(p) => sched::set_memory_policy(p.mode, &p.nodes).wrap(|| "set linux.memoryPolicy"),
            PrivStep::Umask(mask) => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Ok(())
            }
            PrivStep::EnterCwd { path, create } => cwd::enter(path, *create).map(|e| ctx.entered = Some(e)),
            PrivStep::Home { uid } => add_home(ctx, *uid),
            PrivStep::ListenFds(count) => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                env::listen_env(&mut ctx.env, *count, pid.unsigned_abs());
                Ok(())
            }
            PrivStep::Rlimits(list) => limits::set_rlimits(list),
            PrivStep::Bounding(keep) => cred::limit_bounding(*keep).wrap(|| "set process.capabilities.bounding"),
            PrivStep::StdioOwner { uid } => user::own_stdio(*uid),
            PrivStep::User {
                uid,
                gid,
                groups,
                user_namespace,
            } => user::become_user(*uid, *gid, groups.as_deref(), *user_namespace),
            PrivStep::SettleCwd { path } => cwd::settle(path, ctx.entered.unwrap_or(Entered::Later)),
            PrivStep::Capabilities { sets, ambient } => cred::set_capabilities(*sets)
                .and_then(|()| cred::set_ambient(*ambient))
                .wrap(|| "set process.capabilities"),
            PrivStep::CloseFds { first } => crate::sys::fd::close_all_but(*first, &ctx.keep),
            PrivStep::Landlock => give_up_files(),
            PrivStep::Seccomp(program) => load_seccomp(program, ctx).wrap(|| "load linux.seccomp"),
        }
    }
}

fn set_scheduler(attr: SchedAttr) -> Result<()> {
    sched::set_scheduler(attr).wrap(|| match attr.policy as i32 {
        // The kernel answers EPERM to a deadline policy when the cpuset is smaller than the machine.
        nix::libc::SCHED_DEADLINE => {
            "process scheduler can't be used together with AllowedCPUs (SCHED_DEADLINE does not go with linux.resources.cpu.cpus)"
        }
        _ => "set process.scheduler",
    })
}

fn add_home(ctx: &mut PrivsContext, uid: u32) -> Result<()> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).call(|| "open(/)")?;
    env::ensure_home(&mut ctx.env, || env::home_of(root.as_fd(), uid));
    Ok(())
}

/// Nobody executes a file, makes a device or controls one. Other rights are those of the mounts and of the file modes.
fn give_up_files() -> Result<()> {
    // The first version lets nobody rename from one folder to another.
    let Some(version @ 2..) = landlock::version() else {
        return Ok(());
    };
    let mut denied = access::EXECUTE | access::MAKE_CHAR | access::MAKE_BLOCK;
    if version >= 5 {
        denied |= access::IOCTL_DEV;
    }
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).call(|| "open(/)")?;
    match landlock::restrict(version, denied, access::REFER, root.as_fd()) {
        // Full: the runtime itself runs in many domains. There is the seccomp filter still.
        Err(e) if e.errno() == Some(nix::libc::E2BIG) => Ok(()),
        other => other,
    }
}

fn load_seccomp(program: &Program, ctx: &mut PrivsContext) -> Result<()> {
    if !program.notifies() {
        return sys_seccomp::load(program.flags, &program.instructions).map(drop);
    }
    let release = sys_seccomp::Release::default();
    let fd = sys_seccomp::next_fd()?;
    let announce = ctx
        .announce
        .as_mut()
        .ok_or_else(|| Error::message("nobody to hand the seccomp descriptor to"))?;
    announce(Announcement {
        fd,
        release: release.address(),
    })?;
    let listener = sys_seccomp::load(program.flags, &program.instructions)?;
    let number = listener.as_ref().map(AsRawFd::as_raw_fd);
    // The other side takes the descriptor while this one spins. Until then any call, even exit or close, might wait for an
    // agent for ever, so that there is but one way to fail.
    if number != Some(fd) || !release.wait(LISTENER_LIMIT) {
        sys_seccomp::die_without_a_call();
    }
    std::mem::forget(listener);
    Ok(())
}
