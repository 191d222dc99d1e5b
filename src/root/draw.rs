//! From the config to the steps: everything is decided here, before the clone.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::idmap::{self, LateSource, UserNamespaces};
use super::mount::{MountStep, is_bound};
use super::step::Cover;
use super::tree::Tree;
use super::{CgroupView, MountLabel, RootOptions, RootPlan, RootStep, attributes, bind, devices, resolve, target};
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
    Ok(RootPlan {
        prepare: prepare(config, options, own_mounts)?,
        enter: enter(config, options, own_mounts),
        seal: seal(config, options, own_mounts),
    })
}

fn prepare(config: &Config, options: &RootOptions, own_mounts: bool) -> Result<Vec<RootStep>> {
    let mut steps = vec![RootStep::Umask(0)];
    if own_mounts {
        steps.push(RootStep::Propagation(config.rootfs_propagation));
        if !attributes::allows_own_root(config.rootfs_propagation) {
            steps.push(RootStep::Seclude(config.rootfs.clone()));
        }
    }
    steps.push(RootStep::Rootfs {
        path: config.rootfs.clone(),
        cover: match own_mounts {
            true => Cover::Own,
            // In the namespace that the container shares with the runtime, `take_down` ends what is mounted here.
            false if config.readonly_root || options.console || !config.mounts.is_empty() => Cover::Shared,
            false => Cover::None,
        },
    });
    let mut mounts = Mounts {
        config,
        in_userns: options.in_userns,
        label: options.mount_label.clone(),
        cgroup: Arc::new(options.cgroup.clone()),
        namespaces: UserNamespaces::default(),
    };
    for mount in &config.mounts {
        let step = mounts.draw(mount).wrap(|| {
            format!(
                "mount to rootfs at {} (mounts[{}])",
                mount.destination.display(),
                mount.index
            )
        })?;
        steps.extend(late_source(&step).map(|source| RootStep::MapSource(Box::new(source))));
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

/// What the mounts have in common.
struct Mounts<'a> {
    config: &'a Config,
    in_userns: bool,
    label: Option<MountLabel>,
    cgroup: Arc<CgroupView>,
    namespaces: UserNamespaces,
}

impl Mounts<'_> {
    fn draw(&mut self, mount: &Mount) -> Result<MountStep> {
        let destination = resolve::clean(&mount.destination);
        target::check_destination(mount, &destination)?;
        let idmap = match &mount.idmap {
            Some(idmap) => Some(self.namespaces.carrying(idmap, self.config)?),
            None => None,
        };
        Ok(MountStep {
            source: self.open_source(mount, idmap.as_deref())?,
            mount: Mount {
                destination,
                ..mount.clone()
            },
            cut_off: self.cut_off(),
            label: self.label.clone(),
            idmap,
            in_userns: self.in_userns,
            cgroup: self.cgroup.clone(),
        })
    }

    /// The source of a bind mount, if init might not reach it or may not map its ids.
    fn open_source(&self, mount: &Mount, idmap: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
        let MountSource::Bind { path, recursive } = &mount.source else {
            return Ok(None);
        };
        // What lies in the root file system may be what an earlier entry mounts there.
        let inside = self.config.namespaces.is_own(NamespaceKind::Mount) && path.starts_with(&self.config.rootfs);
        match idmap {
            None if !self.in_userns => return Ok(None),
            Some(_) if inside => return Ok(None),
            _ => {}
        }
        let tree = match (Tree::copy_at(path, bind::how(mount.symlink, *recursive)), idmap) {
            (Ok(Tree::Detached(tree)), _) => tree,
            (Ok(Tree::Classic(_, why)) | Err(why), Some(_)) => return Err(why.wrap("open an id-mapped source")),
            // If init cannot open it either, it will say why.
            (_, None) => return Ok(None),
        };
        if let (Some(namespace), Some(how)) = (idmap, &mount.idmap) {
            idmap::apply(&tree, how.recursive, namespace)?;
        }
        Ok(Some(tree))
    }

    /// What is copied in the host's mount namespace would be a peer of the host's mounts; it becomes what the same copy would
    /// be in the container's.
    fn cut_off(&self) -> u64 {
        match self.config.rootfs_propagation.kind {
            PropagationKind::Shared => 0,
            PropagationKind::Slave => attributes::propagation_flag(PropagationKind::Slave),
            PropagationKind::Private | PropagationKind::Unbindable => {
                attributes::propagation_flag(PropagationKind::Private)
            }
        }
    }
}

/// The source that has to be mapped when its turn has come, by the parent: init has no privileges over its file system.
fn late_source(step: &MountStep) -> Option<LateSource> {
    match (&step.mount.source, &step.mount.idmap, &step.idmap) {
        (MountSource::Bind { path, recursive }, Some(how), Some(namespace))
            if step.source.is_none() && step.in_userns =>
        {
            Some(LateSource {
                index: step.mount.index,
                path: path.clone(),
                copying: bind::how(step.mount.symlink, *recursive),
                namespace: namespace.clone(),
                recursive: how.recursive,
            })
        }
        _ => None,
    }
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

fn seal(config: &Config, options: &RootOptions, own_mounts: bool) -> Vec<RootStep> {
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
            label: options.mount_label.clone(),
        });
    }
    if config.readonly_root {
        steps.push(RootStep::ReadonlyRoot);
    }
    if options.readonly_kernel_files {
        steps.push(RootStep::ReadonlyKernelFiles);
    }
    // Last, because what is unbindable can be neither copied nor covered by copies.
    let of_root = config.rootfs_propagation;
    if own_mounts && matches!(of_root.kind, PropagationKind::Shared | PropagationKind::Unbindable) {
        steps.push(RootStep::Propagation(of_root));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Propagation, check};
    use crate::oci::Bundle;

    fn docker(change: impl FnOnce(&mut serde_json::Value)) -> Config {
        let text = include_str!("../../integration/data/docker-config.json");
        let mut tree = serde_json::from_str(text).unwrap();
        change(&mut tree);
        let bundle = Bundle::parse("/bundle".into(), serde_json::to_vec(&tree).unwrap()).unwrap();
        check(&bundle).unwrap()
    }

    fn names(steps: &[RootStep]) -> Vec<&'static str> {
        steps.iter().map(RootStep::name).collect()
    }

    #[test]
    fn a_docker_container() {
        let plan = draw(&docker(|_| {}), &RootOptions::default()).unwrap();
        let mut prepare = vec!["umask", "propagation", "rootfs"];
        prepare.extend(["mount"; 7]);
        prepare.extend(["devices", "dev-links"]);
        assert_eq!(names(&plan.prepare), prepare);
        assert_eq!(names(&plan.enter), ["pivot", "reopen-null"]);
        assert_eq!(names(&plan.seal), ["sysctl", "readonly-paths", "masked-paths", "umask"]);
        assert_eq!(plan.prepare[3].describe(), "mount proc to rootfs at /proc (mounts[0])");
        assert!(matches!(plan.seal[3], RootStep::Umask(0o022)));
    }

    #[test]
    fn a_terminal_a_read_only_root_and_a_working_directory() {
        let config = docker(|tree| {
            tree["root"]["readonly"] = true.into();
            tree["process"]["cwd"] = "/srv".into();
            tree["process"]["user"]["umask"] = 0o027.into();
            tree["mounts"][1]["options"] = serde_json::json!(["ro"]);
        });
        let options = RootOptions {
            console: true,
            no_pivot: true,
            ..RootOptions::default()
        };
        let plan = draw(&config, &options).unwrap();
        assert_eq!(names(&plan.prepare).last(), Some(&"console"));
        assert_eq!(names(&plan.enter), ["move-root", "reopen-null", "cwd"]);
        let seal = [
            "sysctl",
            "readonly-mounts",
            "readonly-paths",
            "masked-paths",
            "readonly-root",
            "umask",
        ];
        assert_eq!(names(&plan.seal), seal);
        assert!(matches!(plan.seal[5], RootStep::Umask(0o027)));
    }

    #[test]
    fn the_host_does_not_see_a_shared_root() {
        let mut config = docker(|_| {});
        for (kind, recursive, secluded, last) in [
            (PropagationKind::Slave, true, false, false),
            (PropagationKind::Slave, false, true, false),
            (PropagationKind::Shared, true, true, true),
            (PropagationKind::Unbindable, true, true, true),
        ] {
            config.rootfs_propagation = Propagation { kind, recursive };
            let plan = draw(&config, &RootOptions::default()).unwrap();
            assert_eq!(names(&plan.prepare).contains(&"seclude"), secluded, "{kind:?}");
            assert_eq!(names(&plan.seal).contains(&"propagation"), last, "{kind:?}");
        }
    }

    #[test]
    fn a_dev_of_the_host_is_left_alone() {
        let config = docker(|tree| {
            tree["mounts"][1] = serde_json::json!({"destination": "/dev/", "source": "/dev", "options": ["rbind"]});
        });
        let plan = draw(&config, &RootOptions::default()).unwrap();
        assert!(!names(&plan.prepare).contains(&"devices"));
        assert!(!names(&plan.enter).contains(&"reopen-null"));
    }

    #[test]
    fn without_a_mount_namespace_the_root_is_covered_if_it_must_be() {
        let alone = |tree: &mut serde_json::Value| {
            tree["linux"]["namespaces"] = serde_json::json!([]);
            tree["linux"]["sysctl"] = serde_json::json!({});
            tree["linux"]["maskedPaths"] = serde_json::json!([]);
            tree["linux"]["readonlyPaths"] = serde_json::json!([]);
            tree["hostname"] = serde_json::Value::Null;
        };
        let plan = draw(&docker(alone), &RootOptions::default()).unwrap();
        assert_eq!(names(&plan.prepare)[..3], ["umask", "rootfs", "mount"]);
        let cover = |plan: &RootPlan| match plan.prepare[1] {
            RootStep::Rootfs { cover, .. } => cover,
            _ => panic!("{plan:?}"),
        };
        assert_eq!(cover(&plan), Cover::Shared);
        let config = docker(|tree| {
            alone(tree);
            tree["mounts"] = serde_json::json!([]);
        });
        let plan = draw(&config, &RootOptions::default()).unwrap();
        assert_eq!(names(&plan.prepare), ["umask", "rootfs", "devices", "dev-links"]);
        assert_eq!(names(&plan.enter)[0], "chroot");
        assert_eq!(cover(&plan), Cover::None);
    }

    #[test]
    fn paths_are_covered_once() {
        let paths = ["/proc/keys".into(), "/proc//keys/".into(), "/sys/firmware".into()];
        assert_eq!(distinct(&paths).len(), 2);
    }
}
