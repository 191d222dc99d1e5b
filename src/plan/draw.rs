//! From a checked config to a plan.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{InitPlan, Joining, ParentPlan, Plan, Step, Wishes};
use crate::cgroup::{Cgroup, Mode};
use crate::config::{
    Config, Hook, MountSource, NamespaceKind as Kind, NamespaceSource, Process, Propagation, PropagationKind,
    SeccompListener,
};
use crate::error::{Error, Result};
use crate::hooks::Outlets;
use crate::log;
use crate::ns::{self, NsPlan};
use crate::privs::{self, PrivStep, PrivsInput, PrivsPlan, Seal, seccomp};
use crate::root::{self, CgroupView, Hierarchy, MountLabel, RootOptions, RootPlan, RootStep};
use crate::tty::Outlet;

/// Decides everything about a launch.
///
/// # Errors
/// The config asks for something that this host cannot do.
pub fn draw(config: &Config, cgroup: Cgroup, wishes: Wishes<'_>) -> Result<Plan> {
    let Some(process) = &config.process else {
        return Err(Error::config("process", "is missing: say in process.args what to run"));
    };
    let mut ns = ns::draw(config)?;
    let root = root::draw(config, &root_options(config, &cgroup, &wishes))?;
    let privs = privs::draw(&privs_input(config, process, &wishes)?)?;
    let mut privs = privs;
    let beside = std::mem::take(&mut privs.beside);
    let joining = joining(config, &cgroup, &ns, privs.needs_cgroup);
    let mut init = init_plan(config, process, &mut ns, root, privs, wishes.console, wishes.seal)?;
    if joining == Joining::Init {
        enter_cgroup(&mut init.steps, &cgroup);
    }
    let parent = ParentPlan {
        cgroup,
        resources: config.resources.clone(),
        cgroup_owner: writable_cgroup_owner(config),
        beside,
        joining,
        uid_mappings: config.uid_mappings.clone(),
        gid_mappings: config.gid_mappings.clone(),
        net_devices: config.net_devices.clone(),
        hooks: config.hooks.clone(),
        seccomp_listener: SeccompListener::of(config),
    };
    Ok(Plan { ns, parent, init })
}

fn root_options(config: &Config, cgroup: &Cgroup, wishes: &Wishes<'_>) -> RootOptions {
    let hierarchies = cgroup
        .places()
        .iter()
        .filter(|p| cgroup.mode() == Mode::Unified || !p.is_unified())
        .map(|p| Hierarchy {
            options: p.controllers.clone(),
            mountpoint: p.mountpoint.clone(),
            cgroup: p.dir(),
        });
    RootOptions {
        no_pivot: wishes.no_pivot,
        cgroup: CgroupView {
            unified: cgroup.mode() == Mode::Unified,
            own_namespace: config.namespaces.is_own(Kind::Cgroup),
            rootless: !rustix::process::geteuid().is_root(),
            hierarchies: hierarchies.collect(),
        },
        in_userns: config.namespaces.is_own(Kind::User),
        mount_label: mount_label(config),
        readonly_kernel_files: wishes.seal == Seal::Now && config.namespaces.is_new(Kind::Mount),
        console: wishes.console.is_some(),
    }
}

/// Engines set the label whatever the host is; without SELinux no file system knows the option that carries it.
fn mount_label(config: &Config) -> Option<MountLabel> {
    let label = config.mount_label.as_deref()?;
    let known = privs::selinux_enabled();
    if !known {
        log::warn("linux.mountLabel: SELinux is not enabled on this host, mounts get no label");
    }
    known.then(|| MountLabel {
        context: config.annotated.mount_context,
        text: label.into(),
    })
}

/// A container with a cgroup namespace and a writable mount of cgroup v2 may manage its subtree: the folder is handed to the
/// host id of its root (config-linux.md, "Cgroup ownership").
fn writable_cgroup_owner(config: &Config) -> Option<u32> {
    const RDONLY: u64 = 1;
    let writable = config
        .mounts
        .iter()
        .any(|m| m.source == MountSource::Cgroup && m.attr_set & RDONLY == 0);
    let owned = writable && config.namespaces.is_new(Kind::Cgroup) && config.namespaces.is_new(Kind::User);
    let root = config.uid_mappings.iter().find(|m| m.container == 0)?;
    owned.then_some(root.host)
}

fn init_plan(
    config: &Config,
    process: &Process,
    ns: &mut NsPlan,
    root: RootPlan,
    privs: PrivsPlan,
    console: Option<Outlet>,
    seal: Seal,
) -> Result<InitPlan> {
    let mut steps = vec![Step::Session];
    steps.extend(namespaces(ns));
    steps.extend(privs.early.into_iter().map(Step::Priv));
    if ns.unshare_flags & Kind::Network.clone_flag() != 0 {
        steps.push(Step::LoopbackUp);
    }
    steps.extend(config.hostname.iter().cloned().map(Step::Hostname));
    steps.extend(config.domainname.iter().cloned().map(Step::Domainname));
    prepare_root(&mut steps, root.prepare, ns.unshare_cgroup);
    let hooks = &config.hooks;
    if !config.net_devices.is_empty() {
        steps.push(Step::NetDevices);
    }
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        steps.push(Step::RuntimeHooks);
    }
    let folder = Some(config.rootfs.clone());
    steps.extend(container_hooks(
        config,
        "createContainer",
        &hooks.create_container,
        folder,
    )?);
    steps.extend(root.enter.into_iter().chain(root.seal).map(Step::Root));
    if seal == Seal::Now && !config.namespaces.is_new(Kind::Mount) {
        steps.extend(own_view());
    }
    if console.is_some() {
        let size = process.console_size;
        steps.push(Step::Terminal { size });
    }
    steps.extend(privs.late.into_iter().map(Step::Priv));
    let (notify, mut last) = split_notify(privs.last);
    let after_gate = start_container(config, seal, &mut last)?;
    Ok(InitPlan {
        steps,
        notify,
        after_gate: after_gate.into_iter().collect(),
        last,
        env: process.env.clone(),
        console,
        proc: procfs_for(process)?,
    })
}

/// The step that runs hooks in the container, if there are any. What they print may go to files that only the host has.
fn container_hooks(config: &Config, kind: &'static str, hooks: &[Hook], dir: Option<PathBuf>) -> Result<Option<Step>> {
    if hooks.is_empty() {
        return Ok(None);
    }
    Ok(Some(Step::ContainerHooks {
        kind,
        hooks: hooks.to_vec(),
        dir,
        outlets: Outlets::open(&config.annotations)?,
    }))
}

/// The procfs through which labels are written, if there are any.
pub(super) fn procfs_for(process: &Process) -> Result<Option<OwnedFd>> {
    let labelled = process.apparmor_profile.is_some() || process.selinux_label.is_some();
    labelled.then(privs::procfs).transpose()
}

/// The steps by which a WebAssembly guest sees the kernel's files read-only in a mount namespace that is not its alone: it gets a
/// copy of the namespace.
pub(super) fn own_view() -> [Step; 3] {
    let slave = Propagation {
        kind: PropagationKind::Slave,
        recursive: true,
    };
    [
        Step::Unshare(Kind::Mount.clone_flag()),
        Step::Root(RootStep::Propagation(slave)),
        Step::Root(RootStep::ReadonlyKernelFiles),
    ]
}

/// A filter that notifies an agent needs the parent's help to be loaded, so it cannot wait until `start`.
pub(super) fn split_notify(last: Vec<PrivStep>) -> (Option<PrivStep>, Vec<PrivStep>) {
    let notifies = |step: &PrivStep| matches!(step, PrivStep::Seccomp(program) if program.notifies());
    let (notify, last): (Vec<_>, Vec<_>) = last.into_iter().partition(notifies);
    (notify.into_iter().next(), last)
}

/// The hooks behind the gate. They are programs of the container: its filter is for them, too, and leaves the last steps.
fn start_container(config: &Config, seal: Seal, last: &mut Vec<PrivStep>) -> Result<Vec<Step>> {
    let hooks = container_hooks(config, "startContainer", &config.hooks.start_container, None)?;
    let filters = match seal {
        Seal::AtExec if hooks.is_some() => take_seccomp(last),
        _ => Vec::new(),
    };
    Ok(filters.into_iter().map(Step::Priv).chain(hooks).collect())
}

/// The steps that load filters.
fn take_seccomp(last: &mut Vec<PrivStep>) -> Vec<PrivStep> {
    let (filters, rest) = std::mem::take(last)
        .into_iter()
        .partition(|step| matches!(step, PrivStep::Seccomp(_)));
    *last = rest;
    filters
}

fn privs_input<'a>(config: &'a Config, process: &'a Process, wishes: &Wishes<'a>) -> Result<PrivsInput<'a>> {
    let seccomp = seccomp::of(config, wishes.seccomp_cache.as_deref())?;
    Ok(PrivsInput {
        process,
        id: wishes.id,
        user_namespace: config.namespaces.is_own(Kind::User),
        session_keyring: !wishes.no_new_keyring,
        seccomp,
        joins: false,
        listen_fds: wishes.listen_fds,
        preserved_fds: wishes.preserve_fds,
        seal: wishes.seal,
        hooks_follow: !config.hooks.start_container.is_empty(),
    })
}

/// The steps that bring init into its namespaces.
fn namespaces(ns: &mut NsPlan) -> Vec<Step> {
    let mut steps = Vec::new();
    let joined_by_stage = ns.stage.is_some();
    let joins = std::mem::take(&mut ns.joins);
    if !joins.is_empty() || joined_by_stage {
        // Processes of the joined namespaces could look at init from its first moment.
        steps.push(Step::ForbidTracing);
    }
    if !joins.is_empty() {
        steps.push(Step::Join(joins));
    }
    if ns.await_maps {
        steps.push(Step::MapIds);
    }
    // A change of ids takes the process's own /proc files away from it, timens_offsets among them.
    steps.extend(ns.time_offsets.take().map(Step::EnterTime));
    if ns.in_userns {
        steps.push(Step::BecomeRoot);
    }
    if ns.unshare_flags != 0 {
        steps.push(Step::Unshare(ns.unshare_flags));
    }
    if steps.iter().all(|s| !matches!(s, Step::ForbidTracing)) || ns.in_userns {
        steps.push(Step::ForbidTracing);
    }
    steps
}

/// On v1 init enters its cgroups by itself, which is faster by far, if it sees the host's cgroups and may write to them.
fn joining(config: &Config, cgroup: &Cgroup, ns: &NsPlan, needed: bool) -> Joining {
    let sees = !matches!(config.namespaces.source(Kind::Mount), NamespaceSource::Path(_));
    if cgroup.mode() != Mode::Unified && ns.stage.is_none() && !ns.in_userns && sees {
        Joining::Init
    } else if ns.unshare_cgroup || needed {
        Joining::ParentFirst
    } else {
        Joining::ParentMeanwhile
    }
}

fn enter_cgroup(steps: &mut Vec<Step>, cgroup: &Cgroup) {
    if let Some(waits) = steps.iter().position(|s| matches!(s, Step::AwaitCgroup)) {
        steps.insert(waits + 1, Step::EnterCgroup(cgroup.clone()));
    }
}

/// The mounts, with the wait for the cgroup as late as can be: the parent makes it meanwhile.
fn prepare_root(steps: &mut Vec<Step>, prepare: Vec<RootStep>, unshare_cgroup: bool) {
    let mut waiting = true;
    let mut wait = |steps: &mut Vec<Step>| {
        if std::mem::take(&mut waiting) {
            steps.push(Step::AwaitCgroup);
            if unshare_cgroup {
                steps.push(Step::UnshareCgroup);
            }
        }
    };
    for step in prepare {
        if step.needs_cgroup() {
            wait(steps);
        }
        steps.push(Step::Root(step));
    }
    wait(steps);
}
