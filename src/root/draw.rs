//! From the config to the steps: everything is decided here, before the clone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mount::{MountStep, is_bound, refuse_without_namespace};
use super::{CgroupView, RootOptions, RootPlan, RootStep, attributes, bind, devices, resolve, target};
use crate::config::{Config, Mount, MountSource, NamespaceKind, PropagationKind};
use crate::error::{Result, Wrap};

/// The umask of a process that does not name one, as in runc.
const DEFAULT_UMASK: u32 = 0o022;

/// Draws up the steps and opens what only the host can open.
///
/// # Errors
/// If the config asks for something that no root file system can have, or if an id-mapped source cannot be opened.
pub fn draw(config: &Config, options: &RootOptions) -> Result<RootPlan> {
    let own_mounts = config.namespaces.is_own(NamespaceKind::Mount);
    if !own_mounts {
        refuse_without_namespace(&config.mounts)?;
    }
    Ok(RootPlan {
        prepare: prepare(config, options, own_mounts)?,
        enter: enter(config, options, own_mounts),
        seal: seal(config),
    })
}

fn prepare(config: &Config, options: &RootOptions, own_mounts: bool) -> Result<Vec<RootStep>> {
    let mut steps = vec![RootStep::Umask(0)];
    if own_mounts {
        steps.push(RootStep::Propagation(config.rootfs_propagation));
        if !attributes::cuts_off_host(config.rootfs_propagation) {
            steps.push(RootStep::Seclude(config.rootfs.clone()));
        }
    }
    steps.push(RootStep::Rootfs {
        path: config.rootfs.clone(),
        own_mount: own_mounts,
    });
    let label: Option<Arc<str>> = config.mount_label.as_deref().map(Arc::from);
    let cgroup = Arc::new(options.cgroup.clone());
    for mount in &config.mounts {
        let step = draw_mount(mount, options, label.clone(), cgroup.clone()).wrap(|| {
            format!(
                "mount to rootfs at {} (mounts[{}])",
                mount.destination.display(),
                mount.index
            )
        })?;
        steps.push(RootStep::Mount(Box::new(step)));
    }
    if sets_up_dev(config) {
        steps.push(RootStep::Devices {
            devices: devices::complete(&config.devices),
            bind: options.in_userns,
        });
        steps.push(RootStep::DevLinks {
            core: devices::has_kcore(),
        });
    }
    if options.console {
        steps.push(RootStep::Console);
    }
    Ok(steps)
}

fn draw_mount(
    mount: &Mount,
    options: &RootOptions,
    label: Option<Arc<str>>,
    cgroup: Arc<CgroupView>,
) -> Result<MountStep> {
    let destination = resolve::clean(&mount.destination);
    target::check_destination(mount, &destination)?;
    let source = match &mount.source {
        // If it cannot be opened here either, init will say why.
        MountSource::Bind { path, recursive } if options.in_userns => bind::copy(mount.symlink, path, *recursive).ok(),
        _ => None,
    };
    Ok(MountStep {
        mount: Mount {
            destination,
            ..mount.clone()
        },
        label,
        source,
        idmap: None,
        in_userns: options.in_userns,
        cgroup,
    })
}

/// A `/dev` that comes from the host as a whole is left as it is.
fn sets_up_dev(config: &Config) -> bool {
    !is_bound(&config.mounts, Path::new("/dev"))
}

fn enter(config: &Config, options: &RootOptions, own_mounts: bool) -> Vec<RootStep> {
    let mut steps = Vec::new();
    steps.push(match (own_mounts, options.no_pivot) {
        (false, _) => RootStep::Chroot,
        (true, true) => RootStep::MoveRoot(config.rootfs.clone()),
        (true, false) => RootStep::Pivot(config.rootfs_propagation),
    });
    let of_root = config.rootfs_propagation;
    if own_mounts && matches!(of_root.kind, PropagationKind::Shared | PropagationKind::Unbindable) {
        steps.push(RootStep::Propagation(of_root));
    }
    if sets_up_dev(config) {
        steps.push(RootStep::ReopenNull);
    }
    if let Some(process) = &config.process
        && process.cwd != Path::new("/")
    {
        steps.push(RootStep::WorkingDirectory(process.cwd.clone()));
    }
    steps
}

fn seal(config: &Config) -> Vec<RootStep> {
    let mut steps = Vec::new();
    if !config.sysctl.is_empty() {
        steps.push(RootStep::Sysctl(config.sysctl.clone()));
    }
    if config.mounts.iter().any(attributes::waits_for_readonly) {
        steps.push(RootStep::ReadonlyMounts);
    }
    if !config.readonly_paths.is_empty() {
        steps.push(RootStep::ReadonlyPaths(distinct(&config.readonly_paths)));
    }
    if !config.masked_paths.is_empty() {
        steps.push(RootStep::MaskedPaths {
            paths: distinct(&config.masked_paths),
            label: config.mount_label.as_deref().map(Arc::from),
        });
    }
    if config.readonly_root {
        steps.push(RootStep::ReadonlyRoot);
    }
    let umask = config.process.as_ref().and_then(|process| process.umask);
    steps.push(RootStep::Umask(umask.unwrap_or(DEFAULT_UMASK)));
    steps
}

/// The paths, clean, each once.
fn distinct(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        let path = resolve::clean(path);
        if !out.contains(&path) {
            out.push(path);
        }
    }
    out
}
