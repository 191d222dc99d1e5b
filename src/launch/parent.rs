//! The parent: clones init, answers its requests, and either sees it created or takes it down again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::Pid;

use super::channel::{self, Channel, ToInit, ToParent};
use super::gate::Gate;
use super::identity::{CREATED, Identity};
use super::init::Init;
use crate::config::SeccompListener;
use crate::error::{Error, Result, ResultExt};
use crate::payload::{Errand, Payload};
use crate::plan::{Joining, ParentPlan, Plan};
use crate::privs::Announcement;
use crate::privs::seccomp::{ContainerProcessState, send_listener};
use crate::sys::process::{self, Child};
use crate::{hooks, ns, root, sys, trace};

/// How long init may take from the announcement of its seccomp filter to having loaded it.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// A container's init that stands at its gate.
#[derive(Debug)]
pub struct Launched {
    /// Init's pid as the runtime sees it.
    pub pid: Pid,
    /// A pidfd for it.
    pub pidfd: OwnedFd,
}

/// Carries out `plan` in the state folder `dir`. `born` is called once init's pid is known and saves the record.
///
/// # Errors
/// Whatever failed in parent, stage or init. Then init is dead and reaped; the cgroup and the state folder are the caller's to
/// remove.
pub fn launch<P: Payload>(
    plan: Plan,
    mut payload: P,
    identity: &Identity,
    dir: BorrowedFd<'_>,
    born: impl FnOnce(Pid) -> Result<()>,
) -> Result<Launched> {
    let Plan { ns, mut parent, init } = plan;
    let (init_end, channel) = channel::pair::<ToParent, ToInit>()?;
    let gate = Gate::make(dir)?;
    let cgroup_fd = parent.cgroup.prepare(&parent.resources)?;
    let errand = payload.settle()?;
    let init = Init {
        plan: init,
        payload,
        channel: init_end,
        gate,
        identity: identity.clone(),
    };
    let mut others = vec![dir.as_raw_fd(), channel.as_fd().as_raw_fd()];
    others.extend(cgroup_fd.as_ref().map(AsRawFd::as_raw_fd));
    // A stage may have entered a user namespace, and may not clone into a cgroup of the host then.
    let cloned_into = cgroup_fd.is_some() && ns.stage.is_none();
    let child = {
        let _span = trace::span("clone");
        super::stage::clone_init(ns, init, cgroup_fd.as_ref().map(AsFd::as_fd), &others)?
    };
    let child = Guard::new(child);
    drop(cgroup_fd);
    let served = born(child.pid()).and_then(|()| serve(&mut parent, &channel, &child, identity, cloned_into, errand));
    match served {
        Ok(()) => child.launched(),
        Err(e) => Err(cause(&channel, e)),
    }
}

/// Why it failed: if init has failed, that is why the parent cannot talk to it or find it, not the other way round.
pub(super) fn cause(channel: &Channel<ToInit, ToParent>, parents: Error) -> Error {
    while let Ok(Some(message)) = channel.pending() {
        if let ToParent::Failed(inits) = message {
            return inits;
        }
    }
    parents
}

/// Answers init's requests until it is created.
fn serve(
    parent: &mut ParentPlan,
    channel: &Channel<ToInit, ToParent>,
    child: &Guard,
    identity: &Identity,
    cloned_into: bool,
    errand: Option<Errand>,
) -> Result<()> {
    let mut first = None;
    if !parent.uid_mappings.is_empty() {
        // Init can do nothing before it has its maps, so they come before the cgroup.
        first = Some(next(channel, child)?);
        if matches!(first, Some(ToParent::MapIds)) {
            ns::maps::write(child.pid(), &parent.uid_mappings, &parent.gid_mappings)?;
            channel.send(&ToInit::Go)?;
            first = None;
        }
    }
    join_cgroup(parent, channel, child, cloned_into)?;
    if let Some(errand) = errand {
        errand.run();
    }
    loop {
        let message = match first.take() {
            Some(message) => message,
            None => next(channel, child)?,
        };
        match message {
            ToParent::NetDevices => {
                let moved = ns::devices::hand_over(&parent.net_devices, child.pid())?;
                channel.send(&ToInit::Devices(moved))?;
                continue;
            }
            ToParent::MapSource {
                tree,
                namespace,
                recursive,
            } => map_source(child, tree, namespace, recursive)?,
            ToParent::Hooks => runtime_hooks(parent, identity, child.pid())?,
            ToParent::Created => {
                parent.cgroup.enter_delegated(child.pid(), parent.cgroup_owner)?;
                return channel.send(&ToInit::Go);
            }
            ToParent::Failed(error) => return Err(error),
            ToParent::Seccomp(announcement) => {
                Agent::of_init(parent, identity).hand_over(child, announcement)?;
                continue;
            }
            ToParent::MapIds | ToParent::Spawned(_) => {
                return Err(Error::message(format!("init sent {message:?} out of turn")));
            }
        }
        channel.send(&ToInit::Go)?;
    }
}

/// Makes the cgroup ready, with init in it.
fn join_cgroup(
    parent: &mut ParentPlan,
    channel: &Channel<ToInit, ToParent>,
    child: &Guard,
    cloned_into: bool,
) -> Result<()> {
    let _span = trace::span("cgroup");
    let cloned_into = parent.cgroup.adopt(child.pid(), &parent.resources)? || cloned_into;
    limit_cgroup(parent)?;
    let pid = child.pid().as_raw_nonzero().get();
    parent.beside.iter().try_for_each(|step| step.apply(pid))?;
    match parent.joining {
        Joining::Init => channel.send(&ToInit::CgroupReady)?,
        Joining::ParentFirst => {
            parent.cgroup.join(child.pid(), cloned_into)?;
            channel.send(&ToInit::CgroupReady)?;
        }
        Joining::ParentMeanwhile => {
            channel.send(&ToInit::CgroupReady)?;
            parent.cgroup.join(child.pid(), cloned_into)?;
        }
    }
    Ok(())
}

fn limit_cgroup(parent: &mut ParentPlan) -> Result<()> {
    parent.cgroup.limit(&parent.resources)?;
    match parent.cgroup_owner {
        Some(owner) => parent.cgroup.delegate(owner),
        None => Ok(()),
    }
}

/// Maps the ids of a mount that init has opened.
fn map_source(child: &Guard, tree: i32, namespace: i32, recursive: bool) -> Result<()> {
    use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
    let fetch = |number| {
        pidfd_getfd(child.pidfd()?, number, PidfdGetfdFlags::empty()).call(|| format!("pidfd_getfd({number})"))
    };
    root::map_ids(&fetch(tree)?, recursive, &fetch(namespace)?)
}

fn runtime_hooks(parent: &ParentPlan, identity: &Identity, pid: Pid) -> Result<()> {
    let _span = trace::span("runtime hooks");
    let state = identity.state(CREATED, Some(pid.as_raw_nonzero().get()))?;
    let setting = hooks::Setting {
        state: &state,
        env: None,
        dir: Some(&identity.bundle),
        outlets: &hooks::Outlets::open(&identity.annotations)?,
    };
    hooks::run("prestart", &parent.hooks.prestart, setting)?;
    hooks::run("createRuntime", &parent.hooks.create_runtime, setting)
}

/// What the agent of `SCMP_ACT_NOTIFY` is to be told.
pub(super) struct Agent<'a> {
    /// Where it listens.
    pub listener: Option<SeccompListener>,
    /// The container.
    pub identity: &'a Identity,
    /// The container's status.
    pub status: &'static str,
    /// The container's init, if that is not the process in question.
    pub init: Option<Pid>,
}

impl Agent<'_> {
    /// For the filter of init itself.
    fn of_init<'a>(parent: &ParentPlan, identity: &'a Identity) -> Agent<'a> {
        Agent {
            listener: parent.seccomp_listener.clone(),
            identity,
            status: "creating",
            init: None,
        }
    }

    /// Fetches the notify descriptor from the process, gives it to the agent, and lets the process go on.
    pub fn hand_over(&self, child: &Guard, announced: Announcement) -> Result<()> {
        let _span = trace::span("seccomp agent");
        let Some(listener) = &self.listener else {
            return Err(Error::config(
                "linux.seccomp.listenerPath",
                "is missing, but the profile uses SCMP_ACT_NOTIFY",
            ));
        };
        let pid = child.pid().as_raw_nonzero().get();
        let init = self.init.map_or(pid, |init| init.as_raw_nonzero().get());
        let fd = sys::seccomp::fetch_listener(child.pidfd()?, announced.fd, AGENT_PATIENCE)?;
        let state = self.identity.state(self.status, Some(init))?;
        let state = serde_json::from_slice(&state).map_err(|e| Error::message(e.to_string()))?;
        let version = &self.identity.oci_version;
        let state = ContainerProcessState::new(version, pid, listener.metadata.as_deref(), state);
        send_listener(&listener.path, fd.as_fd(), &state)?;
        sys::seccomp::release(pid, announced.release)
    }
}

/// The next message, or how init died.
fn next(channel: &Channel<ToInit, ToParent>, child: &Guard) -> Result<ToParent> {
    match channel.receive()? {
        Some(message) => Ok(message),
        None => {
            let ended = child.reap()?;
            Err(Error::message(format!(
                "the container's init died while it was set up: {ended}"
            )))
        }
    }
}

/// A child that is killed and reaped unless it is let go.
pub(super) struct Guard(Option<Child>);

impl Guard {
    /// Guards `child`.
    pub fn new(child: Child) -> Guard {
        Guard(Some(child))
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        // The child is taken only by `launched`, which consumes the guard.
        self.0.as_ref().map_or(Pid::INIT, |c| c.pid)
    }

    fn pidfd(&self) -> Result<BorrowedFd<'_>> {
        self.0
            .as_ref()
            .map(|c| c.pidfd.as_fd())
            .ok_or_else(|| Error::message("init is gone"))
    }

    /// Waits for its end.
    pub fn reap(&self) -> Result<process::Ended> {
        process::wait(self.pidfd()?)
    }

    /// Lets it go.
    pub fn launched(mut self) -> Result<Launched> {
        match self.0.take() {
            Some(Child { pid, pidfd }) => Ok(Launched { pid, pidfd }),
            None => Err(Error::message("init is gone")),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            // Both fail only if it is dead and reaped already, which is what is wanted.
            let _ = process::signal(child.pidfd.as_fd(), nix::libc::SIGKILL);
            let _ = process::wait(child.pidfd.as_fd());
        }
    }
}
