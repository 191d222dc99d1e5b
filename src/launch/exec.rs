//! One more process for a running container: a clone, the steps of `exec`, the payload.
//!
//! The process is a child of the runtime, whoever reaps the runtime's orphans reaps it. It says `Created` when nothing but
//! execve is left that could fail; the end of the channel after that means that the payload runs.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::channel::{self, Channel, ToInit, ToParent};
use super::identity::Identity;
use super::init::{self, Room};
use super::parent::{self, Agent, Guard, Launched};
use super::stage;
use crate::cgroup::Cgroup;
use crate::config::NamespaceKind;
use crate::error::{Error, Result, Wrap};
use crate::payload::{Payload, Seal};
use crate::plan::{ExecPlan, InitPlan, Step};
use crate::sys::process::{self, Child};
use crate::sys::{namespace, signal};
use crate::trace;

/// Carries out `plan`; `identity` is the container's. Returns when the payload runs.
///
/// # Errors
/// Whatever failed in the runtime or in the new process, which is dead and reaped then.
pub fn exec<P: Payload>(plan: ExecPlan, mut payload: P, identity: &Identity) -> Result<Launched> {
    // From its birth on the process can be seen from inside the container (CVE-2016-9962); it inherits this.
    process::forbid_tracing()?;
    let errand = payload.settle()?;
    let (theirs, channel) = channel::pair::<ToParent, ToInit>()?;
    let agent = Agent {
        listener: plan.seccomp_listener.clone(),
        identity,
        status: "running",
        init: Some(plan.init),
    };
    let newcomer = Newcomer {
        entry: plan.entry,
        plan: plan.process,
        payload,
        channel: theirs,
        identity: identity.clone(),
    };
    let place = Place {
        pid_namespace: plan.pid_namespace,
        cgroup: plan.cgroup,
        exact: plan.exact_cgroup,
        init: plan.init,
    };
    let (child, is_inside) = {
        let _span = trace::span("clone");
        place.settle(newcomer)?
    };
    let child = Guard::new(child);
    let joined = match is_inside {
        true => Ok(()),
        false => place
            .cgroup
            .join(child.pid(), false)
            .and_then(|()| channel.send(&ToInit::CgroupReady)),
    };
    if let Some(errand) = errand {
        errand.run();
    }
    match joined.and_then(|()| serve(&channel, &child, &agent)) {
        Ok(()) => child.launched(),
        Err(e) => Err(parent::cause(&channel, e)),
    }
}

fn serve(channel: &Channel<ToInit, ToParent>, child: &Guard, agent: &Agent<'_>) -> Result<()> {
    let mut began = false;
    loop {
        match channel.receive()? {
            Some(ToParent::Created) => began = true,
            Some(ToParent::Failed(error)) => return Err(error),
            Some(ToParent::Seccomp(announced)) => agent.hand_over(child, announced)?,
            Some(other) => return Err(Error::message(format!("the process sent {other:?} out of turn"))),
            None if began => return Ok(()),
            None => {
                let ended = child.reap()?;
                return Err(Error::message(format!("the process died while it was set up: {ended}")));
            }
        }
    }
}

/// Everything that the process owns after the clone.
struct Newcomer<P> {
    entry: Vec<Step>,
    plan: InitPlan,
    payload: P,
    channel: Channel<ToParent, ToInit>,
    identity: Identity,
}

impl<P: Payload> Newcomer<P> {
    fn settle(mut self) -> (Room, Stay<P>) {
        let room = Room::new(self.channel, self.identity, &mut self.plan);
        let stay = Stay {
            entry: self.entry,
            plan: self.plan,
            payload: self.payload,
        };
        (room, stay)
    }
}

/// Where a process is to be born.
struct Place {
    pid_namespace: Option<OwnedFd>,
    cgroup: Cgroup,
    exact: bool,
    init: Pid,
}

impl Place {
    /// Clones the process, best straight into the container's unified cgroup; tells whether it is there. If not, it waits to
    /// be put there.
    ///
    /// A cgroup that has become an inner node takes no processes: then the one that init is in will do, unless another one was
    /// asked for. Who may not clone into the cgroup may be allowed to have systemd move the process.
    fn settle<P: Payload>(&self, newcomer: Newcomer<P>) -> Result<(Child, bool)> {
        let staged = self.needs_stage()?;
        let mut slot = Some(newcomer);
        let door = self.cgroup.door(self.init, self.exact)?;
        let mut cloned = bear(&mut slot, door.as_ref(), staged);
        if let (Some(Errno::BUSY | Errno::OPNOTSUPP | Errno::NODEV), false) = (failure(&cloned), self.exact) {
            let door = self.cgroup.door_of(self.init)?;
            cloned = bear(&mut slot, door.as_ref(), staged);
        }
        match (failure(&cloned), &mut slot) {
            (Some(Errno::ACCESS | Errno::PERM), Some(newcomer)) if door.is_some() => {
                newcomer.plan.steps.insert(0, Step::AwaitCgroup);
                Ok((bear(&mut slot, None, staged)?, false))
            }
            _ if door.is_none() => Ok((cloned?, true)),
            _ => Ok((cloned.wrap(|| "error adding pid of the process to cgroups")?, true)),
        }
    }

    /// Enters the container's pid namespace for the child. Who has no rights in the own user namespace may do so only together
    /// with the container's user namespace: then a stage process does both and clones from there.
    fn needs_stage(&self) -> Result<bool> {
        let Some(init) = &self.pid_namespace else {
            return Ok(false);
        };
        match namespace::enter(init.as_fd(), NamespaceKind::Pid.clone_flag()) {
            Ok(()) => Ok(false),
            Err(e) if e.errno() == Some(Errno::PERM.raw_os_error()) => Ok(true),
            Err(e) => Err(e.wrap("join the container's pid namespace")),
        }
    }
}

fn failure<T>(result: &Result<T>) -> Option<Errno> {
    let errno = result.as_ref().err()?.errno()?;
    Some(Errno::from_raw_os_error(errno))
}

/// Clones the process in `slot`, directly or from a stage. It is still in its slot if that fails.
fn bear<P: Payload>(slot: &mut Option<Newcomer<P>>, door: Option<&OwnedFd>, staged: bool) -> Result<Child> {
    let cgroup = door.map(AsFd::as_fd);
    let settle = |slot: &mut Option<Newcomer<P>>| match slot.take() {
        Some(newcomer) => newcomer.settle(),
        None => process::exit_now(1),
    };
    if !staged {
        return process::clone(0, cgroup, || {
            let (mut room, stay) = settle(slot);
            let entered = init::carry_out(&stay.entry, &mut room);
            stay.run(room, entered)
        });
    }
    stage::by_stage(
        cgroup,
        0,
        || {
            let (mut room, stay) = settle(slot);
            init::carry_out(&stay.entry, &mut room)?;
            Ok((room, stay))
        },
        |(room, stay)| stay.run(room, Ok(())),
    )
}

/// What is left of it once its room is set up.
struct Stay<P> {
    entry: Vec<Step>,
    plan: InitPlan,
    payload: P,
}

impl<P: Payload> Stay<P> {
    /// Runs in the process itself and never returns; `entered` is how its entry went.
    fn run(mut self, mut room: Room, entered: Result<()>) -> Infallible {
        trace::enter(trace::Role::Init);
        let outcome = entered
            .and_then(|()| signal::reset_all())
            .and_then(|()| init::prepare_payload(&self.plan, &mut self.payload, &mut room))
            .and_then(|()| {
                let env = std::mem::take(&mut room.privs.env);
                let (plan, payload) = (&self.plan, self.payload);
                payload.run(env, || hand_over::<P>(plan, &mut room))
            });
        match outcome {
            Ok(never) => match never {},
            Err(error) => room.report(error),
        }
        process::exit_now(1)
    }
}

/// The last things before the payload.
fn hand_over<P: Payload>(plan: &InitPlan, room: &mut Room) -> Result<()> {
    if let Some(channel) = &room.channel {
        channel.send(&ToParent::Created)?;
        room.privs.keep.push(channel.as_fd().as_raw_fd());
    }
    trace::instant("payload begins");
    trace::stop();
    plan.last
        .iter()
        .try_for_each(|step| step.apply(&mut room.privs).wrap(|| step.name()))?;
    if P::SEAL == Seal::Now {
        // Nothing will be executed that would close it.
        room.channel = None;
    }
    Ok(())
}
