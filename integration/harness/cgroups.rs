//! The machine's cgroup hierarchies, found from mountinfo: the same cases run on v1, hybrid and v2 hosts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How a host arranges its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Controllers on v1 hierarchies, with or without a v2 hierarchy beside them.
    V1,
    /// One v2 hierarchy at `/sys/fs/cgroup`.
    V2,
}

/// Where the hierarchies are mounted.
#[derive(Debug)]
pub struct Cgroups {
    /// v1 controller (or `name=…`) to mount point.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Cgroups {
    /// Reads the hierarchies of the suite's own mount namespace.
    pub fn host() -> Cgroups {
        let mut found = Cgroups {
            v1: BTreeMap::new(),
            v2: None,
        };
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
            let (mount, filesystem) = line.split_once(" - ").unwrap();
            let place = PathBuf::from(mount.split(' ').nth(4).unwrap());
            let words: Vec<&str> = filesystem.split(' ').collect();
            match words[0] {
                "cgroup2" => found.v2 = Some(place),
                "cgroup" => {
                    let names = words[2]
                        .split(',')
                        .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"));
                    found.v1.extend(names.map(|name| (name.to_owned(), place.clone())));
                }
                _ => {}
            }
        }
        found
    }

    /// v2 if the one hierarchy is cgroup2, as runtimes decide it.
    pub fn layout(&self) -> Layout {
        if self.v2.as_deref() == Some(Path::new("/sys/fs/cgroup")) {
            Layout::V2
        } else {
            Layout::V1
        }
    }

    /// Whether the host offers a controller to containers.
    pub fn has(&self, controller: &str) -> bool {
        match (self.layout(), &self.v2) {
            (Layout::V2, Some(root)) => {
                let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                controllers.split_whitespace().any(|name| name == controller)
            }
            _ => self.v1.contains_key(controller),
        }
    }

    /// The folder of a cgroup: in the controller's hierarchy on v1, in the only one on v2.
    ///
    /// # Panics
    /// If the host lacks the controller.
    pub fn folder(&self, controller: &str, cgroup: &str) -> PathBuf {
        let root = match (self.layout(), &self.v2) {
            (Layout::V2, Some(root)) => root,
            _ => self
                .v1
                .get(controller)
                .unwrap_or_else(|| panic!("no {controller} hierarchy")),
        };
        root.join(cgroup.trim_start_matches('/'))
    }

    /// The folders of a cgroup in all hierarchies, whether they exist or not.
    pub fn folders(&self, cgroup: &str) -> Vec<PathBuf> {
        let mut roots: Vec<&PathBuf> = self.v1.values().chain(&self.v2).collect();
        roots.dedup();
        roots
            .into_iter()
            .map(|root| root.join(cgroup.trim_start_matches('/')))
            .collect()
    }
}

/// Removes a cgroup and those below it; they must be empty of processes.
pub fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
