//! One more process in a running container.

use std::cell::Cell;
use std::fs;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::call::Call;
use super::eventually;
use super::output::Output;

/// The process that a detached `exec` has left to the suite, which reaps it in the end: an unreaped one would keep init of
/// its container from ending.
pub struct Detached {
    pid: i32,
    reaped: Cell<bool>,
}

impl Bundle {
    /// Launches the container and waits until it is ready; for bundles that sleep.
    #[track_caller]
    pub fn up(self) -> Bundle {
        self.launch_ready();
        self
    }

    /// `exec [flags] ID words`, to be completed and made.
    pub fn exec(&self, flags: &[&str], words: &[&str]) -> Call<'_> {
        flags
            .iter()
            .fold(self.call("exec"), |call, flag| call.flag(flag))
            .after(words)
    }

    /// `exec [flags] ID sh -c script`.
    #[must_use]
    #[track_caller]
    pub fn exec_sh(&self, flags: &[&str], script: &str) -> Output {
        self.exec(flags, &["sh", "-c", script]).output()
    }

    /// `exec --process` of a shell script, with these properties beside it.
    #[must_use]
    #[track_caller]
    pub fn exec_document(&self, script: &str, more: Value) -> Output {
        let mut process = json!({
            "args": ["sh", "-c", script],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 },
        });
        for (key, value) in more.as_object().unwrap() {
            process[key] = value.clone();
        }
        let file = self.scrap("process.json");
        fs::write(&file, process.to_string()).unwrap();
        self.call("exec").flag("--process").flag(&file).output()
    }

    /// `exec --detach` of a shell script.
    #[track_caller]
    pub fn exec_detached(&self, script: &str) -> Detached {
        self.detached(self.exec(&["--detach"], &["sh", "-c", script]))
    }

    /// Makes a detached call, with a pid file.
    #[track_caller]
    pub fn detached(&self, call: Call<'_>) -> Detached {
        let file = self.scrap("exec.pid");
        call.flag("--pid-file").flag(&file).output().ok();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.bytes().all(|b| b.is_ascii_digit()), "pid file: {text:?}");
        Detached {
            pid: text.parse().unwrap(),
            reaped: Cell::new(false),
        }
    }
}

impl Detached {
    /// Its pid on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end, as a shim does, and gives its exit code, or 128 + the signal that ended it.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        let mut code = None;
        eventually("the detached process to end", || {
            code = match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG))
                .expect("it is no child of the suite")
            {
                WaitStatus::Exited(_, code) => Some(code),
                WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
                _ => None,
            };
            code.is_some()
        });
        self.reaped.set(true);
        code.unwrap()
    }

    /// Waits until it has ended, but leaves it a zombie.
    #[track_caller]
    pub fn until_zombie(&self) {
        eventually("the detached process to end", || !super::alive(self.pid));
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.reaped.get() {
            return;
        }
        let pid = Pid::from_raw(self.pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}
