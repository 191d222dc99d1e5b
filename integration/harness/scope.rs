//! Containers whose cgroup is that of a scope of systemd's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Bundle, Call, Cgroups, Output, eventually};

/// The host runs systemd.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A container by systemd, in a slice of its own kind.
pub struct Scope(pub Bundle);

impl Scope {
    /// Gives the bundle a scope in `system.slice`.
    pub fn of(c: Bundle) -> Scope {
        let path = format!("system.slice:runw-it:{}", c.id());
        Scope(c.set("linux.cgroupsPath", path))
    }

    /// As [`Bundle::sleeper`].
    pub fn sleeper() -> Scope {
        Scope::of(Bundle::sleeper())
    }

    /// The unit's name.
    pub fn unit(&self) -> String {
        format!("runw-it-{}.scope", self.0.id())
    }

    /// A call with the flag.
    pub fn call(&self, verb: &str) -> Call<'_> {
        self.0.call(verb).global("--systemd-cgroup")
    }

    pub fn create(&self) -> Output {
        self.call("create").output()
    }

    /// Runs it until it says `ready`.
    #[track_caller]
    pub fn launch(&self) -> Output {
        let created = self.create().ok();
        self.0.start().ok();
        eventually("the payload to be ready", || created.stdout_now().contains("ready"));
        created
    }

    /// A property of the unit, as systemd tells it.
    pub fn property(&self, name: &str) -> String {
        property(&self.unit(), name)
    }

    /// The unit's cgroup.
    pub fn folder(&self) -> PathBuf {
        Cgroups::host().folder("memory", &format!("system.slice/{}", self.unit()))
    }

    #[track_caller]
    pub fn file(&self, name: &str) -> String {
        let path = self.folder().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// Neither unit nor cgroup is left.
    #[track_caller]
    pub fn assert_gone(&self) {
        assert!(!self.folder().exists(), "{} is left", self.folder().display());
        assert_eq!(self.property("LoadState"), "not-found");
    }

    /// Kills and deletes the container.
    #[track_caller]
    pub fn end(&self) {
        self.0.kill("KILL").ok();
        self.0.until("stopped");
        self.0.delete().ok();
        self.assert_gone();
    }
}

/// A property of a unit.
pub fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--property", name, "--value", "--", unit])
}

/// What `systemctl` prints.
#[track_caller]
pub fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).output().unwrap();
    assert!(output.status.success(), "systemctl {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The cgroup of a process; on v1 that of the last hierarchy.
pub fn cgroup_of(pid: i32) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    table.trim_end().rsplit(':').next().unwrap().to_owned()
}
