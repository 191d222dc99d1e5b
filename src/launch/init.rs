//! The container's init: an interpreter for the steps that the plan has drawn.
//!
//! There are no decisions here. Init carries out its steps, reports that it is done, waits at the gate, carries out the steps
//! behind it, and hands over to the payload. A failure before `Created` goes to the parent, a later one to whoever opened the
//! gate.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Error, Result, ResultExt, Wrap};
use crate::hooks;
use crate::launch::channel::{Channel, ToInit, ToParent};
use crate::launch::gate::{Gate, Opened};
use crate::launch::identity::{CREATED, Identity};
use crate::ns;
use crate::payload::{Payload, Seal};
use crate::plan::{InitPlan, Step};
use crate::privs::{PrivStep, PrivsContext};
use crate::root::{self, RootStep};
use crate::sys::{self, process};
use crate::trace;
use crate::tty::{self, Outlet};

/// Everything that init owns after the clone.
pub struct Init<P> {
    /// What to do.
    pub plan: InitPlan,
    /// What to run.
    pub payload: P,
    /// The line to the parent.
    pub channel: Channel<ToParent, ToInit>,
    /// Where to wait for `start`.
    pub gate: Gate,
    /// For the hooks.
    pub identity: Identity,
}

/// What the steps share.
pub(super) struct Room {
    /// The line to the parent, until the gate.
    pub channel: Option<Channel<ToParent, ToInit>>,
    /// What the steps of `privs` work with.
    pub privs: PrivsContext,
    identity: Identity,
    root: root::Room,
    console: Option<Outlet>,
}

/// Runs in the cloned process and never returns.
pub fn run<P: Payload>(init: Init<P>) -> Infallible {
    let Init {
        mut plan,
        mut payload,
        channel,
        gate,
        identity,
    } = init;
    trace::enter(trace::Role::Init);
    if let Some(first) = plan.last.iter().find_map(PrivStep::closes_from) {
        // The caller may wait for the end of a pipe that is none of the container's business.
        sys::fd::close_inherited_from(first);
    }
    let mut room = Room::new(channel, identity, &mut plan);
    if let Err(e) = prepare(&plan, &mut payload, &mut room) {
        room.report(e);
        process::exit_now(1)
    }
    room.channel = None;
    // The first process of a pid namespace is spared every signal that it has no handler for.
    // A filter that is loaded already may know nothing of such calls.
    if plan.notify.is_none() {
        sys::signal::end_on_termination();
    }
    let Ok(opened) = gate.wait() else { process::exit_now(1) };
    let mut opened = Some(opened);
    let outcome = carry_out(&plan.after_gate, &mut room).and_then(|()| {
        let env = std::mem::take(&mut room.privs.env);
        payload.run(env, || hand_over::<P>(&plan, &mut room.privs, &mut opened))
    });
    let error = match outcome {
        Ok(never) => match never {},
        Err(error) => error,
    };
    match opened {
        // If `start` died, the exit status alone tells.
        Some(start) => drop(start.fail(error)),
        None => eprintln!("runw: {error}"),
    }
    process::exit_now(1)
}

/// Everything up to `Created`.
fn prepare<P: Payload>(plan: &InitPlan, payload: &mut P, room: &mut Room) -> Result<()> {
    sys::signal::reset_all()?;
    prepare_payload(plan, payload, room)?;
    room.ask(&ToParent::Created)
}

/// The steps, the payload's own preparations, and a seccomp filter that needs the parent.
pub(super) fn prepare_payload<P: Payload>(plan: &InitPlan, payload: &mut P, room: &mut Room) -> Result<()> {
    let walls = plan.steps.iter().position(Step::is_wall).unwrap_or(plan.steps.len());
    let (before, walls) = plan.steps.split_at(walls);
    carry_out(before, room)?;
    payload.collect()?;
    carry_out(walls, room)?;
    {
        let _span = trace::span("prepare payload");
        payload.prepare()?;
    }
    if let Some(load) = &plan.notify {
        room.announce_by_channel()?;
        load.apply(&mut room.privs).wrap(|| load.name())?;
        room.privs.announce = None;
    }
    Ok(())
}

/// The last things before the payload: `start` learns that it begins, and the walls go up.
fn hand_over<P: Payload>(plan: &InitPlan, privs: &mut PrivsContext, opened: &mut Option<Opened>) -> Result<()> {
    if let Some(start) = opened.as_ref() {
        start.begin()?;
        privs.keep.extend(start.descriptors());
    }
    // The trace's descriptor is among those that are closed now.
    trace::instant("payload begins");
    trace::stop();
    plan.last.iter().try_for_each(|step| step.apply(privs))?;
    if P::SEAL == Seal::Now {
        // Nothing will be executed that would close it.
        *opened = None;
    }
    Ok(())
}

pub(super) fn carry_out(steps: &[Step], room: &mut Room) -> Result<()> {
    for step in steps {
        let _span = trace::span_with(|| step.describe());
        room.apply(step).wrap(|| step.describe())?;
    }
    Ok(())
}

impl Room {
    /// A room for a process that has just been cloned.
    pub fn new(channel: Channel<ToParent, ToInit>, identity: Identity, plan: &mut InitPlan) -> Room {
        let mut privs = PrivsContext::default();
        privs.env = std::mem::take(&mut plan.env);
        privs.proc = plan.proc.take();
        Room {
            channel: Some(channel),
            privs,
            identity,
            root: root::Room::new(),
            console: plan.console.take(),
        }
    }

    fn apply(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Join(joins) => ns::join_all(joins),
            Step::JoinProcess { process, flags } => sys::namespace::enter(process.as_fd(), *flags),
            Step::Chroot(root) => root::change_to(root.as_fd()),
            Step::Beside(step) => step.apply(0),
            Step::Pty => self.root.make_pty(),
            Step::MapIds => self.ask(&ToParent::MapIds),
            Step::BecomeRoot => ns::become_root(),
            Step::Unshare(flags) => sys::namespace::unshare(*flags),
            Step::EnterTime(offsets) => ns::enter_new_time(offsets),
            Step::AwaitCgroup => self.expect(&ToInit::CgroupReady),
            Step::EnterCgroup(cgroup) => cgroup.enter(),
            Step::UnshareCgroup => sys::namespace::unshare(crate::config::NamespaceKind::Cgroup.clone_flag()),
            Step::LoopbackUp => ns::loopback_up(),
            Step::Hostname(name) => rustix::system::sethostname(name.as_bytes()).call(|| "sethostname"),
            Step::Domainname(name) => rustix::system::setdomainname(name.as_bytes()).call(|| "setdomainname"),
            Step::Root(step @ RootStep::MapSource(_)) => {
                step.apply(&mut self.root)?;
                self.map_source()
            }
            Step::Root(step) => step.apply(&mut self.root),
            Step::NetDevices => self.take_devices(),
            Step::RuntimeHooks => self.ask(&ToParent::Hooks),
            Step::ContainerHooks {
                kind,
                hooks,
                dir,
                outlets,
            } => {
                // In the container's namespaces the pid is the one that the container sees (runtime.md, "State").
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                let setting = hooks::Setting {
                    state: &self.identity.state(CREATED, Some(pid))?,
                    env: Some(&self.privs.env),
                    dir: dir.as_deref(),
                    outlets,
                };
                hooks::run(kind, hooks, setting)
            }
            Step::Priv(step) => step.apply(&mut self.privs),
            Step::ForbidTracing => process::forbid_tracing(),
            Step::Session => rustix::process::setsid().call(|| "setsid").map(drop),
            Step::Terminal { size } => self.take_terminal(*size),
        }
    }

    fn take_terminal(&mut self, size: Option<(u16, u16)>) -> Result<()> {
        match (self.root.take_console(), self.console.take()) {
            (Some(console), Some(outlet)) => tty::take(console, outlet, size),
            _ => Err(Error::message("no pty has been made, or nobody wants it")),
        }
    }

    /// Sends a request to the parent and waits until it is done.
    fn ask(&self, request: &ToParent) -> Result<()> {
        let Some(channel) = &self.channel else {
            return Err(Error::message("a step behind the gate has no parent to ask"));
        };
        channel.send(request)?;
        self.expect(&ToInit::Go)
    }

    /// Has the parent map the ids of the source that was opened last.
    fn map_source(&self) -> Result<()> {
        let Some(source) = self.root.unmapped() else {
            return Ok(());
        };
        self.ask(&ToParent::MapSource {
            tree: source.tree.as_raw_fd(),
            namespace: source.namespace.as_raw_fd(),
            recursive: source.recursive,
        })
    }

    /// Has the parent move the network devices here and sets them up.
    fn take_devices(&self) -> Result<()> {
        let Some(channel) = &self.channel else { return Ok(()) };
        channel.send(&ToParent::NetDevices)?;
        match channel.receive()? {
            Some(ToInit::Devices(moved)) => ns::devices::take_up(&moved),
            Some(said) => Err(Error::message(format!(
                "the parent said {said:?} instead of naming the devices"
            ))),
            None => process::exit_now(1),
        }
    }

    /// Waits for a word of the parent.
    fn expect(&self, word: &ToInit) -> Result<()> {
        match self.channel.as_ref().map(Channel::receive).transpose()?.flatten() {
            Some(said) if said == *word => Ok(()),
            Some(said) => Err(Error::message(format!("the parent said {said:?} instead of {word:?}"))),
            // The parent died, or it gave up and is about to kill us: leave without a word.
            None => process::exit_now(1),
        }
    }

    /// The parent, who has to fetch a seccomp descriptor, is told over the channel.
    fn announce_by_channel(&mut self) -> Result<()> {
        if let Some(channel) = &self.channel {
            let channel = channel.duplicate()?;
            self.privs.announce = Some(Box::new(move |a| channel.send(&ToParent::Seccomp(a))));
        }
        Ok(())
    }

    /// Tells the parent why init gives up.
    pub fn report(&self, error: Error) {
        if let Some(channel) = &self.channel {
            // If the parent is gone there is nobody left to tell.
            let _ = channel.send(&ToParent::Failed(error));
        }
    }
}
