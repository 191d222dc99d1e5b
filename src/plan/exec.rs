//! The plan of `exec`: a shorter list of the same steps, for a process that joins a running container.

use std::os::fd::OwnedFd;

use rustix::process::Pid;

use super::draw::{own_view, procfs_for, split_notify};
use super::{InitPlan, Step};
use crate::cgroup::Cgroup;
use crate::config::{ExecConfig, NamespaceKind as Kind, Process, SeccompListener};
use crate::error::{Result, ResultExt};
use crate::privs::{self, PrivsInput, PrivsPlan, Seal, seccomp::Program};
use crate::tty::Outlet;

/// What the caller wants besides what the process is.
#[derive(Debug)]
pub struct ExecWishes<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The container's init.
    pub init: (Pid, OwnedFd),
    /// The container's root.
    pub root: OwnedFd,
    /// The cgroup to enter.
    pub cgroup: Cgroup,
    /// The cgroup was asked for (`--cgroup`): no other will do.
    pub exact_cgroup: bool,
    /// `linux.seccomp`, compiled.
    pub seccomp: Option<Program>,
    /// `--preserve-fds`: how many descriptors above 2 the payload inherits.
    pub preserve_fds: u32,
    /// When the payload's walls must be complete.
    pub seal: Seal,
    /// Where the terminal's master goes. `None` without a terminal.
    pub console: Option<Outlet>,
}

/// Everything that is to be done.
#[derive(Debug)]
pub struct ExecPlan {
    /// The container's init.
    pub init: Pid,
    /// A pidfd for it, if the process has to be born into its pid namespace.
    pub pid_namespace: Option<OwnedFd>,
    /// The process enters the container with these: by itself, or a stage does it where the kernel demands one.
    pub entry: Vec<Step>,
    /// What comes after that; there is no gate.
    pub process: InitPlan,
    /// The cgroup to be in; the process enters the ones of v1 by itself.
    pub cgroup: Cgroup,
    /// See [`ExecWishes::exact_cgroup`].
    pub exact_cgroup: bool,
    /// Who gets the notify descriptor of the seccomp filter.
    pub seccomp_listener: Option<SeccompListener>,
}

/// Decides everything about `process`, which is to join the container that `config` was kept of.
///
/// # Errors
/// `process.…` for what this host or the runtime's own privileges cannot give.
pub fn draw_exec(config: &ExecConfig, process: &Process, wishes: ExecWishes<'_>) -> Result<ExecPlan> {
    let in_userns = config.has_own(Kind::User) && !shares_user_namespace(wishes.init.0);
    let mut privs = privs::draw(&PrivsInput {
        process,
        id: wishes.id,
        user_namespace: in_userns,
        session_keyring: config.session_keyring,
        seccomp: wishes.seccomp,
        joins: true,
        listen_fds: 0,
        preserved_fds: wishes.preserve_fds,
        seal: wishes.seal,
        hooks_follow: false,
    })?;
    let own = config
        .namespaces
        .iter()
        .filter(|kind| **kind != Kind::User || in_userns);
    let flags = own.fold(0, |flags, kind| flags | kind.clone_flag());
    let (init, pidfd) = wishes.init;
    let pid_namespace = config
        .has_own(Kind::Pid)
        .then(|| pidfd.try_clone().call(|| "dup(pidfd)"))
        .transpose()?;
    let beside = std::mem::take(&mut privs.before_clone)
        .into_iter()
        .chain(std::mem::take(&mut privs.beside));
    let mut entry: Vec<Step> = beside.map(Step::Beside).collect();
    if wishes.cgroup.places().iter().any(|place| !place.is_unified()) {
        entry.push(Step::EnterCgroup(wishes.cgroup.clone()));
    }
    if flags != 0 {
        entry.push(Step::JoinProcess { process: pidfd, flags });
    }
    if !config.has_own(Kind::Mount) {
        entry.push(Step::Chroot(wishes.root));
    }
    let own_view = (wishes.seal == Seal::Now).then(own_view).into_iter().flatten();
    Ok(ExecPlan {
        init,
        pid_namespace,
        entry,
        process: inside(process, privs, in_userns, own_view, wishes.console)?,
        cgroup: wishes.cgroup,
        exact_cgroup: wishes.exact_cgroup,
        seccomp_listener: config.seccomp_listener.clone(),
    })
}

/// What the process does inside.
fn inside(
    process: &Process,
    privs: PrivsPlan,
    in_userns: bool,
    own_view: impl Iterator<Item = Step>,
    console: Option<Outlet>,
) -> Result<InitPlan> {
    let mut steps = vec![Step::Session];
    if in_userns {
        steps.extend([Step::BecomeRoot, Step::ForbidTracing]);
    }
    steps.extend(own_view);
    steps.extend(privs.early.into_iter().map(Step::Priv));
    if console.is_some() {
        let size = process.console_size;
        steps.extend([Step::Pty, Step::Terminal { size }]);
    }
    steps.extend(privs.late.into_iter().map(Step::Priv));
    let (notify, last) = split_notify(privs.last);
    Ok(InitPlan {
        steps,
        notify,
        after_gate: Vec::new(),
        last,
        env: process.env.clone(),
        console,
        proc: procfs_for(process)?,
    })
}

/// A user namespace that was joined by path may be the runtime's own; the kernel refuses to enter that once more.
fn shares_user_namespace(init: Pid) -> bool {
    let inode = |path: &str| rustix::fs::stat(path).map(|s| (s.st_dev, s.st_ino)).ok();
    let there = inode(&format!("/proc/{}/ns/user", init.as_raw_nonzero()));
    there.is_some() && there == inode("/proc/self/ns/user")
}
