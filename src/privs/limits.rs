//! What only the parent may do to the child, and CPU affinity.

use super::{PrivStep, PrivsInput, process_error};
use crate::config::Rlimit;
use crate::error::{Result, ResultExt, Wrap};
use crate::sys::sched;

/// A step of the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParentStep {
    /// `process.oomScoreAdj`. Lowering it takes `CAP_SYS_RESOURCE` outside of any user namespace.
    OomScore(i32),
    /// Lets the hard limit rise, for a child that is going to be in a user namespace and has no right to do so there; the
    /// exact limits are the child's business.
    RaiseHardLimit {
        /// Index in `process.rlimits`.
        index: usize,
        /// `RLIMIT_*` number.
        resource: u32,
        /// The soft limit as it is.
        soft: u64,
        /// The new hard limit.
        hard: u64,
    },
    /// `process.execCPUAffinity.initial`: the caller's own CPUs, which the child inherits.
    Cpus(Vec<u32>),
}

impl ParentStep {
    /// Does it, to process `pid` (0: the caller itself) where that matters.
    ///
    /// # Errors
    /// `EACCES`/`EPERM` without the capability, `EINVAL` for CPUs that the caller cannot have.
    pub fn apply(&self, pid: i32) -> Result<()> {
        match self {
            ParentStep::OomScore(score) => {
                let path = match pid {
                    0 => "/proc/self/oom_score_adj".to_owned(),
                    pid => format!("/proc/{pid}/oom_score_adj"),
                };
                std::fs::write(&path, score.to_string())
                    .call(|| format!("write({path})"))
                    .wrap(|| format!("set process.oomScoreAdj to {score}"))
            }
            ParentStep::RaiseHardLimit {
                index,
                resource,
                soft,
                hard,
            } => sched::set_rlimit(pid, *resource, *soft, *hard).wrap(|| format!("set process.rlimits[{index}]")),
            ParentStep::Cpus(cpus) => sched::set_cpus(cpus).wrap(|| "set process.execCPUAffinity.initial"),
        }
    }
}

pub(super) fn before_clone(input: &PrivsInput) -> Vec<ParentStep> {
    match &input.process.exec_cpu_affinity {
        Some(affinity) if input.joins && !affinity.initial.is_empty() => {
            vec![ParentStep::Cpus(affinity.initial.clone())]
        }
        _ => Vec::new(),
    }
}

pub(super) fn beside(input: &PrivsInput) -> Result<Vec<ParentStep>> {
    let mut steps: Vec<ParentStep> = input
        .process
        .oom_score_adj
        .map(ParentStep::OomScore)
        .into_iter()
        .collect();
    if input.user_namespace {
        for (index, limit) in input.process.rlimits.iter().enumerate() {
            let (soft, hard) = sched::rlimit(0, limit.resource)
                .map_err(|e| process_error(&format!("rlimits[{index}]"), e.to_string()))?;
            if limit.hard > hard {
                steps.push(ParentStep::RaiseHardLimit {
                    index,
                    resource: limit.resource,
                    soft,
                    hard: limit.hard,
                });
            }
        }
    }
    Ok(steps)
}

/// All CPUs, whatever the caller was bound to, unless `execCPUAffinity` names some. The kernel cuts them to those of the
/// cgroup, now or when it is joined.
pub(super) fn all_cpus(input: &PrivsInput) -> Option<PrivStep> {
    match &input.process.exec_cpu_affinity {
        Some(affinity) if input.joins && !(affinity.initial.is_empty() && affinity.last.is_empty()) => None,
        _ => Some(PrivStep::AllCpus),
    }
}

/// `execCPUAffinity.final`, to be taken inside the cgroup.
pub(super) fn final_cpus(input: &PrivsInput) -> Option<PrivStep> {
    let affinity = input.process.exec_cpu_affinity.as_ref().filter(|_| input.joins)?;
    (!affinity.last.is_empty()).then(|| PrivStep::Cpus(affinity.last.clone()))
}

/// Sets the caller's own limits.
pub(super) fn set_rlimits(limits: &[Rlimit]) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        sched::set_rlimit(0, limit.resource, limit.soft, limit.hard)
            .wrap(|| format!("set process.rlimits[{index}]"))?;
    }
    Ok(())
}
