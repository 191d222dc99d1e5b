//! What a guest is to see of its container: arguments and folders, drawn from the config before the clone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::room::{self, Limit};
use crate::config::{Config, Mount, MountSource, Process};
use crate::sys::mount::attr;

/// A module and what it is to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    module: PathBuf,
    args: Vec<String>,
    cwd: PathBuf,
    mounts: Vec<Folder>,
    memory: Option<Limit>,
}

/// A folder that the guest finds open (a preopen of WASI), by the same path inside and outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    path: String,
    readonly: bool,
}

impl Guest {
    /// The guest of the module at `module`, an absolute path inside the container.
    pub fn of(config: &Config, module: PathBuf) -> Guest {
        let process = config.process.as_ref();
        Guest {
            module,
            args: process.map(|p| p.args.clone()).unwrap_or_default(),
            cwd: process.map_or_else(|| "/".into(), |p| p.cwd.clone()),
            mounts: config.mounts.iter().filter_map(Folder::of).collect(),
            memory: room::limit(&config.resources),
        }
    }

    /// The guest of another module in the same container, run by `process`.
    #[must_use]
    pub fn beside(self, process: &Process, module: PathBuf) -> Guest {
        Guest {
            module,
            args: process.args.clone(),
            cwd: process.cwd.clone(),
            ..self
        }
    }

    /// Where the module lies inside the container.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The memory limit of the container.
    pub fn memory(&self) -> Option<&Limit> {
        self.memory.as_ref()
    }

    /// `process.args`, all of them.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Whether the names of the folders in `/` matter for [`Guest::folders`].
    pub fn is_elsewhere(&self) -> bool {
        self.cwd != Path::new("/")
    }

    /// The folders in the engine's notation: `/`, and each mount with its `ro` flag.
    ///
    /// WASI knows no working directory. Its libc takes a relative path from the folder named `.` if there is one, but can't tell
    /// `/x` from `x` once no longer folder name fits. So with a `process.cwd` other than `/` that folder becomes `.`, and each of
    /// `in_root`, the names of the folders in `/`, gets an entry of its own to stay reachable by an absolute path.
    pub fn folders(&self, in_root: &BTreeSet<String>) -> Vec<String> {
        let mut all = vec![Folder::new("/".into(), false)];
        all.extend(self.mounts.iter().cloned());
        if self.is_elsewhere() {
            let known: BTreeSet<_> = self.mounts.iter().map(|f| f.path.clone()).collect();
            let named = in_root.iter().map(|name| format!("/{name}"));
            all.extend(
                named
                    .filter(|path| !known.contains(path))
                    .map(|path| Folder::new(path, false)),
            );
        }
        let mut list: Vec<_> = all.iter().filter_map(|f| f.entry(&f.path)).collect();
        if self.is_elsewhere() {
            let cwd = Folder::new(self.cwd.to_string_lossy().into_owned(), self.is_readonly(&self.cwd));
            list.extend(cwd.entry("."));
        }
        list
    }

    /// Whether the mount that `path` lies on is read-only.
    fn is_readonly(&self, path: &Path) -> bool {
        let covering = self.mounts.iter().filter(|f| path.starts_with(&f.path));
        covering.max_by_key(|f| f.path.len()).is_some_and(|f| f.readonly)
    }
}

impl Folder {
    fn new(path: String, readonly: bool) -> Folder {
        Folder { path, readonly }
    }

    /// The folder of a mount; `None` for the kernel's own file systems, which are reached by way of `/`.
    fn of(mount: &Mount) -> Option<Folder> {
        let data = match &mount.source {
            MountSource::Bind { .. } => true,
            MountSource::Filesystem { fstype, .. } => fstype == "tmpfs" && !mount.destination.starts_with("/dev"),
            MountSource::Cgroup => false,
        };
        let readonly = (mount.attr_set | mount.rec_attr_set) & attr::RDONLY != 0;
        let path = mount.destination.to_str()?.to_owned();
        (data && path != "/").then_some(Folder { path, readonly })
    }

    /// `GUEST:HOST` or `GUEST:HOST:readonly`; a path with a colon has no such notation.
    fn entry(&self, name: &str) -> Option<String> {
        let suffix = if self.readonly { ":readonly" } else { "" };
        (!self.path.contains(':')).then(|| format!("{name}:{}{suffix}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(cwd: &str, mounts: &[(&str, bool)]) -> Guest {
        let folder = |(path, readonly): &(&str, bool)| Folder::new((*path).into(), *readonly);
        Guest {
            cwd: cwd.into(),
            mounts: mounts.iter().map(folder).collect(),
            ..Guest::default()
        }
    }

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_root_and_each_mount() {
        let guest = guest("/", &[("/data", true), ("/work", false), ("/a:b", false)]);
        let folders = guest.folders(&names(&["etc"]));
        assert_eq!(folders, ["/:/", "/data:/data:readonly", "/work:/work"]);
    }

    #[test]
    fn relative_paths_begin_at_cwd_and_absolute_ones_at_the_root() {
        let guest = guest("/data/in", &[("/data", true)]);
        let folders = guest.folders(&names(&["data", "etc"]));
        assert_eq!(
            folders,
            ["/:/", "/data:/data:readonly", "/etc:/etc", ".:/data/in:readonly"]
        );
    }
}
