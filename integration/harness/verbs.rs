//! What a case does to the containers of a bundle, and how it looks at them from outside.

use std::fs;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use super::bundle::Bundle;
use super::call::Call;
use super::cgroups::Cgroups;
use super::eventually;
use super::leftovers;
use super::output::Output;

/// Calls of the runtime.
impl Bundle {
    /// A call of `verb`, to be completed and made.
    pub fn call(&self, verb: &str) -> Call<'_> {
        Call::new(self, verb)
    }

    /// Runs a program in the foreground.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        self.call("run").runs(args).output()
    }

    /// Runs a shell script in the foreground.
    #[must_use]
    pub fn run_sh(&self, script: &str) -> Output {
        self.run(&["/bin/sh", "-c", script])
    }

    /// Runs the config as it is, in the foreground.
    #[must_use]
    pub fn run_as_is(&self) -> Output {
        self.call("run").output()
    }

    /// Runs the config as it is, detached.
    #[must_use]
    pub fn run_detached(&self) -> Output {
        self.call("run").flag("--detach").output()
    }

    #[must_use]
    pub fn create(&self) -> Output {
        self.call("create").output()
    }

    #[must_use]
    pub fn start(&self) -> Output {
        self.call("start").output()
    }

    #[must_use]
    pub fn kill(&self, signal: &str) -> Output {
        self.call("kill").after(&[signal]).output()
    }

    #[must_use]
    pub fn delete(&self) -> Output {
        self.call("delete").output()
    }

    #[must_use]
    pub fn delete_force(&self) -> Output {
        self.call("delete").flag("--force").output()
    }

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call("state").output().json()
    }

    /// The status that `state` reports.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Waits for a status.
    #[track_caller]
    pub fn until(&self, status: &str) {
        eventually(&format!("status {status}"), || self.status() == status);
    }

    /// Waits until the container can be seen to exist.
    #[track_caller]
    pub fn until_exists(&self) {
        eventually("the container to be created", || {
            let output = self.call("state").output();
            output.code == 0 && output.stdout.contains("\"created\"")
        });
    }

    /// Creates and starts; for cases about a running container. Returns `create`'s output: it holds the container's.
    #[track_caller]
    pub fn launch(&self) -> Output {
        let created = self.create().ok();
        self.start().ok();
        created
    }

    /// As [`Bundle::launch`], and waits until the payload has said `ready`.
    #[track_caller]
    pub fn launch_ready(&self) -> Output {
        let created = self.launch();
        eventually("the payload to be ready", || created.stdout_now().contains("ready"));
        created
    }
}

/// The container from outside.
impl Bundle {
    /// The pid of init, from the pid file of `create` or `run --detach`.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.pid_file()).unwrap();
        text.trim().parse().unwrap()
    }

    /// Where calls put the pid of init.
    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("init.pid")
    }

    /// Waits for init, as a shim does, and gives its exit code, or 128 + the signal that ended it.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        let pid = Pid::from_raw(self.pid());
        let mut code = None;
        eventually("init to end", || {
            code = match waitpid(pid, Some(WaitPidFlag::WNOHANG)).expect("init is no child of the subreaper") {
                WaitStatus::Exited(_, code) => Some(code),
                WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
                _ => None,
            };
            code.is_some()
        });
        code.unwrap()
    }

    /// The container's cgroup, as config.json names it.
    pub fn cgroup_path(&self) -> String {
        format!("{}/{}", self.cgroup, self.id())
    }

    /// A file of the container's cgroup, without its newline.
    #[track_caller]
    pub fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let path = Cgroups::host().folder(controller, &self.cgroup_path()).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// The cgroup folders that exist for the container.
    pub fn cgroup_folders(&self) -> Vec<PathBuf> {
        let folders = Cgroups::host().folders(&self.cgroup_path());
        folders.into_iter().filter(|folder| folder.exists()).collect()
    }

    /// Nothing of a container is left: no state, no cgroup, no mount.
    #[track_caller]
    pub fn assert_no_trace(&self) {
        let state = self.ids_in_state_root();
        assert!(state.is_empty(), "state left behind: {state:?}");
        let cgroups = self.cgroup_folders();
        assert!(cgroups.is_empty(), "cgroups left behind: {cgroups:?}");
        let mounts = leftovers::mount_points(&self.dir);
        assert!(mounts.is_empty(), "mounts left behind: {mounts:?}");
    }

    /// The folders below the runtime's `--root`: its containers.
    pub fn ids_in_state_root(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state_root()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: i32) -> bool {
    let exists = kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH);
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    exists
        && !matches!(
            status.rsplit(") ").next().and_then(|s| s.chars().next()),
            Some('Z') | Some('X') | None
        )
}
