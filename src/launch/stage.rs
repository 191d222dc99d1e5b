//! Cloning init, directly or by way of a stage process.
//!
//! The stage exists where the kernel demands one: it joins namespaces that init must be born into, then clones init as a child
//! of the parent (`CLONE_PARENT`) and leaves.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::process::Pid;

use super::channel::{self, ToInit, ToParent};
use super::init::{self, Init};
use crate::error::{Error, Result};
use crate::ns::{self, NsPlan};
use crate::payload::Payload;
use crate::sys::process::{self, CLONE_PARENT, Child};
use crate::trace;

/// Clones init into its namespaces and, unless there is a stage, into its cgroup of v2. `others` are descriptors of the parent that init must
/// not keep.
pub(super) fn clone_init<P: Payload>(
    ns: NsPlan,
    init: Init<P>,
    cgroup: Option<BorrowedFd<'_>>,
    others: &[RawFd],
) -> Result<Child> {
    let flags = ns.clone_flags;
    let body = |init: Init<P>| {
        process::close_inherited(others);
        init::run(init)
    };
    let Some(joins) = ns.stage else {
        return process::clone(flags, cgroup, || body(init));
    };
    by_stage(None, flags, || ns::join_all(&joins), |()| body(init))
}

/// Clones a process with `flags` from a stage that is born into `cgroup` and has done `enter` before; the process, a child of
/// the caller, runs `body` with what `enter` has left.
pub(super) fn by_stage<T>(
    cgroup: Option<BorrowedFd<'_>>,
    flags: u64,
    enter: impl FnOnce() -> Result<T>,
    body: impl FnOnce(T) -> Infallible,
) -> Result<Child> {
    let (stage_end, channel) = channel::pair::<ToParent, ToInit>()?;
    let stage = process::clone(0, cgroup, || {
        trace::enter(trace::Role::Stage);
        let spawned = enter().and_then(|left| process::clone(flags | CLONE_PARENT, None, || body(left)));
        let answer = match spawned {
            Ok(child) => ToParent::Spawned(child.pid.as_raw_nonzero().get()),
            Err(e) => ToParent::Failed(e),
        };
        // If the parent is gone, init will see the end of its own channel.
        let _ = stage_end.send(&answer);
        process::exit_now(0)
    })?;
    let answer = channel.receive();
    let ended = process::wait(stage.pidfd.as_fd())?;
    match answer? {
        Some(ToParent::Spawned(pid)) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| Error::message("the stage reported no pid"))?;
            Ok(Child {
                pid,
                pidfd: process::pidfd_open(pid)?,
            })
        }
        Some(ToParent::Failed(e)) => Err(e),
        _ => Err(Error::message(format!(
            "the stage process died while it joined namespaces: {ended}"
        ))),
    }
}
