//! What the container's process is and may do: ids, capabilities, labels, limits, scheduling, working directory, seccomp.
//!
//! [`draw`] decides everything in the parent and gives lists of [`PrivStep`]s, which init carries out at three points of its
//! life, and of [`ParentStep`]s, which only the parent has the right to do. The order follows runc where it can be observed;
//! the one difference is that seccomp comes last, after the start gate, so that a profile need allow nothing but execve.

mod caps;
mod cwd;
mod env;
mod label;
mod limits;
pub mod rdt;
pub mod rdt_stats;
pub mod seccomp;
mod step;
mod user;

pub use env::home_of;
pub use limits::ParentStep;
pub use step::{Announcement, PrivStep, PrivsContext};

use crate::config::Process;
use crate::error::{Error, Result};
use crate::ns;
use crate::sys::sched::SchedAttr;
use label::Label;
pub use label::{procfs, selinux_enabled};
use seccomp::Program;

/// When the privileges become what the config asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// At execve: the kernel computes the sets anew, so what loading seccomp needs may be kept until then.
    AtExec,
    /// Now: the payload runs in this very process, and nothing but what the config grants may be left.
    Now,
}

/// What [`draw`] decides from.
#[derive(Debug)]
pub struct PrivsInput<'a> {
    /// `process`.
    pub process: &'a Process,
    /// The container's id, which names its session keyring.
    pub id: &'a str,
    /// The container has a user namespace other than the runtime's, new or joined.
    pub user_namespace: bool,
    /// Without `--no-new-keyring`.
    pub session_keyring: bool,
    /// `linux.seccomp`, compiled.
    pub seccomp: Option<Program>,
    /// The process joins a running container (`exec`) instead of being its first.
    pub joins: bool,
    /// Descriptors from 3 on that the payload gets as sockets to listen on (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// Descriptors after those that the payload gets (`--preserve-fds`).
    pub preserved_fds: u32,
    /// See [`Seal`].
    pub seal: Seal,
    /// Hooks run between the late steps and the last: programs still have to be executed.
    pub hooks_follow: bool,
}

/// Who does what when.
#[derive(Debug, Default)]
pub struct PrivsPlan {
    /// The parent, to itself, before the clone, so that the child inherits it.
    pub before_clone: Vec<ParentStep>,
    /// The parent, to the child, at any time before the child's late steps.
    pub beside: Vec<ParentStep>,
    /// Init, before it changes any mount.
    pub early: Vec<PrivStep>,
    /// The late steps depend on the CPUs, memory nodes and real-time share of the container's cgroup: it has to be joined first.
    pub needs_cgroup: bool,
    /// Init, when the root file system is final and before it says "created".
    pub late: Vec<PrivStep>,
    /// Init, after the start gate and the hooks, immediately before execve. Only a [`PrivStep::Seccomp`] that
    /// [notifies](Program::notifies) may be taken out and done earlier, at any time after `late`.
    pub last: Vec<PrivStep>,
}

/// Decides how the process gets its privileges.
///
/// # Errors
/// `process.…` for what this host or the runtime's own privileges cannot give: labels without their security module,
/// capabilities that the runtime does not have, sets that contradict each other.
pub fn draw(input: &PrivsInput) -> Result<PrivsPlan> {
    caps::check(input)?;
    label::check(input.process)?;
    Ok(PrivsPlan {
        before_clone: limits::before_clone(input),
        beside: limits::beside(input)?,
        needs_cgroup: needs_cgroup(input),
        early: early(input),
        late: late(input),
        last: last(input),
    })
}

fn early(input: &PrivsInput) -> Vec<PrivStep> {
    let mut steps = Vec::new();
    if input.session_keyring {
        let label = input.process.selinux_label.clone();
        steps.extend(label.clone().map(|l| PrivStep::Label(Label::SelinuxKeys(l))));
        steps.push(PrivStep::SessionKeyring {
            name: format!("_ses.{}", input.id),
            grant: (!input.joins).then_some(user::keyring_grant(input.user_namespace)),
        });
        steps.extend(label.map(|_| PrivStep::Label(Label::SelinuxKeys(String::new()))));
    }
    steps.extend(limits::all_cpus(input));
    steps
}

fn needs_cgroup(input: &PrivsInput) -> bool {
    let p = input.process;
    p.scheduler.is_some() || p.memory_policy.is_some() || limits::final_cpus(input).is_some()
}

fn late(input: &PrivsInput) -> Vec<PrivStep> {
    let p = input.process;
    let now = input.seal == Seal::Now;
    let mut steps: Vec<PrivStep> = Vec::new();
    if let Some(profile) = &p.apparmor_profile {
        steps.push(PrivStep::Label(Label::AppArmor {
            profile: profile.clone(),
            now,
        }));
    }
    if p.no_new_privileges {
        steps.push(PrivStep::NoNewPrivs);
    }
    steps.extend(limits::final_cpus(input));
    steps.extend(p.scheduler.map(|s| {
        PrivStep::Scheduler(SchedAttr {
            policy: s.policy,
            flags: s.flags,
            nice: s.nice,
            priority: s.priority,
            runtime: s.runtime,
            deadline: s.deadline,
            period: s.period,
        })
    }));
    steps.extend(p.io_priority.map(PrivStep::IoPriority));
    steps.extend(p.personality.map(PrivStep::Personality));
    steps.extend(p.memory_policy.clone().map(PrivStep::MemoryPolicy));
    if let Some(label) = &p.selinux_label {
        steps.push(PrivStep::Label(Label::Selinux {
            label: label.clone(),
            now,
        }));
    }
    steps.push(PrivStep::Umask(p.umask.unwrap_or(DEFAULT_UMASK)));
    steps.push(PrivStep::EnterCwd {
        path: p.cwd.clone(),
        create: !input.joins,
    });
    steps.push(PrivStep::Home { uid: p.uid });
    steps.extend((input.listen_fds > 0).then_some(PrivStep::ListenFds(input.listen_fds)));
    if !p.rlimits.is_empty() {
        steps.push(PrivStep::Rlimits(p.rlimits.clone()));
    }
    steps.push(PrivStep::Bounding(p.capabilities.bounding));
    steps.push(PrivStep::StdioOwner { uid: p.uid });
    steps.push(PrivStep::User {
        uid: p.uid,
        gid: p.gid,
        groups: (!p.keep_groups).then(|| p.additional_gids.clone()),
        user_namespace: input.user_namespace || ns::in_user_namespace(),
    });
    steps.push(PrivStep::SettleCwd { path: p.cwd.clone() });
    if input.seals_early() {
        steps.extend(seal(input));
    } else {
        steps.push(caps::until_exec(input));
    }
    steps
}

fn last(input: &PrivsInput) -> Vec<PrivStep> {
    let mut steps = vec![PrivStep::CloseFds {
        first: 3u32
            .saturating_add(input.listen_fds)
            .saturating_add(input.preserved_fds),
    }];
    if input.seal == Seal::Now && !input.seals_early() {
        steps.extend(seal(input));
    }
    steps.extend(input.seccomp.clone().map(PrivStep::Seccomp));
    steps
}

/// What takes the place of execve's new capability sets, and the walls of the engine itself. Nothing is executed any more, so that
/// no_new_privs changes nothing but this: Landlock and seccomp need no privilege.
fn seal(input: &PrivsInput) -> Vec<PrivStep> {
    let mut steps = Vec::new();
    if !input.process.no_new_privileges {
        steps.push(PrivStep::NoNewPrivs);
    }
    steps.push(caps::for_good(input.process));
    steps.push(PrivStep::Landlock);
    steps.push(PrivStep::Seccomp(seccomp::engine()));
    steps
}

impl PrivsInput<'_> {
    /// A module comes from a stranger, and reading it is the engine's business: the walls are up before it does, unless hooks
    /// follow. A filter that notifies an agent may be loaded before the last steps, because someone has to be there to hand its
    /// descriptor on; the sets have to be final before it.
    fn seals_early(&self) -> bool {
        self.seal == Seal::Now && (!self.hooks_follow || self.seccomp.as_ref().is_some_and(Program::notifies))
    }
}

/// What runc and crun set when `user.umask` is absent.
const DEFAULT_UMASK: u32 = 0o022;

/// An error about `process.…` that names the way out.
fn process_error(field: &str, problem: impl Into<String>) -> Error {
    Error::config(format!("process.{field}"), problem)
}

#[cfg(test)]
mod tests;
