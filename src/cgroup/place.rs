//! What `linux.cgroupsPath` means on this host.
//!
//! An absolute path starts at the root of each mounted hierarchy. A relative one, or the container's id if there is none, lies
//! below the runtime's own cgroup (v1) or beside it (v2: a cgroup with processes in it cannot have controllers enabled for its
//! children). These are runc's rules.

use super::layout::{Hierarchy, Layout, Mode};
use super::{Cgroup, Manager, Place};
use crate::error::{Error, Result};

impl Cgroup {
    /// Finds the place for container `id` in the file system. Nothing is made yet.
    ///
    /// # Errors
    /// The path is not usable, or the host has no cgroups.
    pub fn locate(cgroups_path: Option<&str>, id: &str, layout: &Layout) -> Result<Cgroup> {
        let path = cgroups_path.filter(|p| !p.is_empty());
        let absolute = path.is_some_and(|p| p.starts_with('/'));
        let mut layout = std::borrow::Cow::Borrowed(layout);
        if !absolute && !layout.roots_known() && layout.mode != Mode::Unified {
            layout.to_mut().read_mounts()?;
        }
        let inner = clean(path.unwrap_or(id)).ok_or_else(|| {
            Error::config(
                "linux.cgroupsPath",
                "holds a NUL byte or a newline: choose another path",
            )
        })?;
        let places = layout
            .hierarchies
            .iter()
            .map(|h| place(h, layout.mode, &inner, absolute));
        let cgroup = Cgroup {
            manager: Manager::Cgroupfs,
            mode: layout.mode,
            places: places.collect(),
            explicit: path.is_some(),
            rootless: false,
            taken: false,
            unit: None,
        };
        Ok(cgroup)
    }
}

fn place(hierarchy: &Hierarchy, mode: Mode, inner: &str, absolute: bool) -> Place {
    let base = match (absolute, mode) {
        (true, _) => String::new(),
        (false, Mode::Unified) => parent(&clean(&hierarchy.own).unwrap_or_default()),
        // runc knows no path of its own in the unified hierarchy of a hybrid host.
        (false, _) if hierarchy.is_unified() => String::new(),
        (false, _) => below(&hierarchy.own, hierarchy.root.as_deref().unwrap_or("/")),
    };
    Place {
        controllers: hierarchy.controllers.clone(),
        mountpoint: hierarchy.mountpoint.clone(),
        path: format!("{}{inner}", base.trim_end_matches('/')),
    }
}

/// Resolves `.` and `..` without looking at the file system and without ever leaving the root. The result begins with a slash
/// and does not end with one, unless it is the root.
fn clean(path: &str) -> Option<String> {
    if path.contains(['\0', '\n']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Where cgroup `own` is below a mount whose root is cgroup `root`; the mount's root if it is not below it.
fn below(own: &str, root: &str) -> String {
    let own = clean(own).unwrap_or_default();
    match own.strip_prefix(root.trim_end_matches('/')) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.to_owned(),
        _ => String::new(),
    }
}

fn parent(path: &str) -> String {
    path.rsplit_once('/')
        .map(|(parent, _)| parent.to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(own: &str) -> Layout {
        Layout {
            mode: Mode::Unified,
            hierarchies: vec![hierarchy(&[], "/sys/fs/cgroup", None, own)],
        }
    }

    fn hierarchy(controllers: &[&str], mountpoint: &str, root: Option<&str>, own: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            mountpoint: mountpoint.into(),
            root: root.map(str::to_owned),
            own: own.into(),
        }
    }

    fn hybrid() -> Layout {
        Layout {
            mode: Mode::Hybrid,
            hierarchies: vec![
                hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", Some("/"), "/"),
                hierarchy(&["memory"], "/sys/fs/cgroup/memory", Some("/docker/x"), "/docker/x/own"),
                hierarchy(&["pids"], "/sys/fs/cgroup/pids", Some("/docker/x"), "/elsewhere"),
                hierarchy(&[], "/sys/fs/cgroup/unified", Some("/"), "/y"),
            ],
        }
    }

    fn dirs(path: Option<&str>, layout: &Layout) -> Vec<String> {
        let cgroup = Cgroup::locate(path, "id1", layout).unwrap();
        cgroup.places.iter().map(|p| p.dir().display().to_string()).collect()
    }

    #[test]
    fn absolute_paths_start_at_the_mounts() {
        assert_eq!(dirs(Some("/a/b"), &v2("/x/y")), ["/sys/fs/cgroup/a/b"]);
        assert_eq!(
            dirs(Some("/docker/c"), &hybrid()),
            [
                "/sys/fs/cgroup/cpu,cpuacct/docker/c",
                "/sys/fs/cgroup/memory/docker/c",
                "/sys/fs/cgroup/pids/docker/c",
                "/sys/fs/cgroup/unified/docker/c"
            ]
        );
    }

    #[test]
    fn relative_and_default_paths_lie_below_the_runtime_on_v1() {
        let expected = |name: &str| {
            vec![
                format!("/sys/fs/cgroup/cpu,cpuacct/{name}"),
                format!("/sys/fs/cgroup/memory/own/{name}"),
                format!("/sys/fs/cgroup/pids/{name}"),
                format!("/sys/fs/cgroup/unified/{name}"),
            ]
        };
        assert_eq!(dirs(None, &hybrid()), expected("id1"));
        assert_eq!(dirs(Some(""), &hybrid()), expected("id1"));
        assert_eq!(dirs(Some("r/s"), &hybrid()), expected("r/s"));
    }

    #[test]
    fn relative_and_default_paths_lie_beside_the_runtime_on_v2() {
        assert_eq!(dirs(None, &v2("/")), ["/sys/fs/cgroup/id1"]);
        assert_eq!(dirs(None, &v2("/a.slice/b.scope")), ["/sys/fs/cgroup/a.slice/id1"]);
        assert_eq!(dirs(Some("c"), &v2("/a.slice/b.scope")), ["/sys/fs/cgroup/a.slice/c"]);
        assert_eq!(dirs(None, &v2("/../../x")), ["/sys/fs/cgroup/id1"]);
    }

    #[test]
    fn dots_never_leave_the_mount() {
        for path in [
            "/../../etc",
            "../../etc",
            "/a/../../etc",
            "./etc//",
            "a/b/../../../../etc",
        ] {
            assert_eq!(dirs(Some(path), &v2("/")), ["/sys/fs/cgroup/etc"], "{path}");
        }
        assert_eq!(dirs(Some("/"), &v2("/")), ["/sys/fs/cgroup/"]);
        assert!(Cgroup::locate(Some("/a\nb"), "id1", &v2("/")).is_err());
    }

    #[test]
    fn none_at_all() {
        let disabled = Cgroup::disabled();
        assert!(disabled.is_none());
        assert!(disabled.main_dir().is_none());
    }

    #[test]
    fn survives_the_state_folder() {
        let cgroup = Cgroup::locate(Some("/a"), "id1", &hybrid()).unwrap();
        let text = serde_json::to_string(&cgroup).unwrap();
        assert_eq!(serde_json::from_str::<Cgroup>(&text).unwrap(), cgroup);
        assert_eq!(
            cgroup.controller_dir("cpuacct").unwrap().to_str(),
            Some("/sys/fs/cgroup/cpu,cpuacct/a")
        );
        assert_eq!(cgroup.unified_dir().unwrap().to_str(), Some("/sys/fs/cgroup/unified/a"));
        assert_eq!(cgroup.places[0].name(), "cpu,cpuacct");
    }
}
