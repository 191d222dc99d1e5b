//! A bundle, its containers, and everything a case does to them.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::cgroups::Cgroups;
use super::{leftovers, patience, rootfs, runtime, spec};

/// How long init may take to end by itself before what keeps it from that is looked for.
const MOMENT: Duration = Duration::from_millis(200);

/// A folder with config.json and rootfs, its own `--root`, one id and one cgroup.
///
/// Dropping it deletes its containers by force and fails the case if anything is left after that.
pub struct Bundle {
    id: String,
    /// All that belongs to the case: `bundle/`, `state/` (the runtime's `--root`), `calls/`.
    pub(super) dir: PathBuf,
    /// The cgroup that is the parent of the containers' cgroups.
    pub(super) cgroup: String,
    pub(super) spec: Value,
    /// What the bundle's config.json is to hold instead of `spec`: for configs that are no JSON.
    pub(super) raw: Option<String>,
    written: Mutex<Option<String>>,
    pub(super) calls: AtomicU32,
}

impl Bundle {
    /// The plain config of `runc spec`, without a terminal, over a busybox root file system.
    pub fn busybox() -> Bundle {
        let bundle = Bundle::scratch();
        rootfs::busybox(&bundle.rootfs());
        bundle
    }

    /// As [`Bundle::busybox`], with a payload that says `ready` and then does nothing until killed.
    pub fn sleeper() -> Bundle {
        Bundle::busybox().sh("echo ready; exec sleep 1000")
    }

    /// Docker's default config.json over a busybox root file system.
    pub fn docker() -> Bundle {
        let mut bundle = Bundle::busybox();
        bundle.spec = spec::docker();
        bundle.with_own_cgroup()
    }

    /// The plain config over an empty root file system.
    pub fn scratch() -> Bundle {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let _ = runtime(); // Says which one, and fails early.
        let name = format!(
            "runw-it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::var_os("RUNW_IT_DIR")
            .map_or_else(std::env::temp_dir, PathBuf::from)
            .join(&name);
        for folder in ["bundle/rootfs", "calls"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let bundle = Bundle {
            id: name.clone(),
            dir,
            cgroup: format!("/{name}"),
            spec: spec::plain(),
            raw: None,
            written: Mutex::new(None),
            calls: AtomicU32::new(0),
        };
        bundle.with_own_cgroup()
    }

    fn with_own_cgroup(self) -> Bundle {
        let path = self.cgroup_path();
        self.set("linux.cgroupsPath", path)
    }

    /// The root file system's folder on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    /// A path of the container, as the host names it. Symbolic links are not resolved.
    pub fn in_rootfs(&self, path: &str) -> PathBuf {
        self.rootfs().join(path.trim_start_matches('/'))
    }

    /// The bundle's folder.
    pub fn path(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// The runtime's `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A path outside the bundle, in the case's own folder, which is removed at the end.
    pub fn scrap(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new folder outside the bundle, in the case's own folder.
    pub fn scrap_folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes config.json if it changed since the last call, with other args if given.
    pub(super) fn write_config(&self, args: Option<&[String]>) {
        let mut spec = self.spec.clone();
        if let Some(args) = args {
            spec["process"]["args"] = json!(args);
        }
        let text = self
            .raw
            .clone()
            .unwrap_or_else(|| serde_json::to_string_pretty(&spec).unwrap());
        let mut written = self.written.lock().unwrap();
        if written.as_ref() != Some(&text) {
            fs::write(self.path().join("config.json"), &text).unwrap();
            *written = Some(text);
        }
    }

    /// A file for the next call's stream.
    pub(super) fn call_file(&self, number: u32, name: &str) -> PathBuf {
        self.dir.join("calls").join(format!("{number}.{name}"))
    }

    fn delete_all_containers(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for id in self.ids_in_state_root() {
            match self.call("delete").flag("--force").id(&id).spawn().end() {
                Ok(output) if output.code == 0 => {}
                Ok(output) => failures.push(output.story()),
                Err(hung) => failures.push(hung),
            }
        }
        failures
    }

    fn has_pid_namespace(&self) -> bool {
        let listed = self.spec["linux"]["namespaces"].as_array();
        listed.is_some_and(|all| all.iter().any(|ns| ns["type"] == "pid" && ns["path"].is_null()))
    }

    /// Takes the exit status of init, which nobody may have waited for.
    fn reap(&self) {
        let Ok(pid) = fs::read_to_string(self.pid_file()) else {
            return;
        };
        let Ok(pid) = pid.trim().parse().map(Pid::from_raw) else {
            return;
        };
        let deadline = std::time::Instant::now() + patience();
        while waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
            if std::time::Instant::now() > deadline {
                let _ = kill(pid, Signal::SIGKILL);
            }
            if std::time::Instant::now() > deadline + patience() {
                eprintln!("{pid} does not end");
                return;
            }
            // A shared namespace has processes of others, too.
            if std::time::Instant::now() + patience() > deadline + MOMENT && self.has_pid_namespace() {
                leftovers::reap_beside(pid.as_raw());
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        leftovers::thaw(&self.cgroup_path());
        let mut problems = self.delete_all_containers();
        self.reap();
        problems.extend(self.ids_in_state_root().iter().map(|id| format!("state of {id}")));
        problems.extend(leftovers::clear(&self.dir, &self.cgroup_path()));
        for folder in Cgroups::host().folders(&self.cgroup) {
            super::cgroups::remove(&folder);
        }
        if leftovers::mount_points(&self.dir).is_empty() && std::env::var_os("RUNW_IT_KEEP").is_none() {
            let removed = fs::remove_dir_all(&self.dir);
            assert!(
                removed.is_ok() || std::thread::panicking(),
                "{}: {removed:?}",
                self.dir.display()
            );
        }
        if !problems.is_empty() && !std::thread::panicking() {
            panic!("the runtime left behind:\n{}", problems.join("\n"));
        }
    }
}
