//! Control groups: where a container's cgroup lies, making and joining it, its limits, freezing, killing and removing it.
//!
//! The pure half is [`layout`] (what the host has), `place` (what `linux.cgroupsPath` means there) and `v1`/`v2` (which values
//! go to which files). The apply half carries that out with as few system calls as it can: a hierarchy is touched once however
//! many controllers it carries, and nothing is read back.
//!
//! With the systemd manager the cgroup is that of a unit ([`Cgroup::of_unit`]): systemd makes it around init and is told the
//! limits that it knows; everything else is the same.
//!
//! On hosts with cgroup v1 a container gets a cgroup in every hierarchy, the systemd one and a unified one (hybrid) included,
//! as runc does it: engines find the cgroup by `/proc/PID/cgroup` of its init.

mod apply;
mod cpuset;
mod create;
mod delegate;
mod devices;
mod dir;
mod exec;
mod freeze;
mod layout;
mod oom;
mod place;
mod procs;
mod remove;
pub mod stats;
mod systemd;
mod update;
mod v1;
mod v2;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use layout::{Hierarchy, Layout, MOUNTPOINT, Mode, layout};
pub use oom::OomWatch;

use crate::error::Error;

/// Who makes and removes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// runw itself, through the file system.
    Cgroupfs,
    /// systemd, asked over D-Bus.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller and has no limits.
    Disabled,
}

/// The cgroup of a container: one folder in each hierarchy. It is kept in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    manager: Manager,
    mode: Mode,
    places: Vec<Place>,
    /// `linux.cgroupsPath` was given: then even a rootless runtime must be able to use it.
    explicit: bool,
    /// The caller is not the host's root: what it may not do is no error unless it was asked for.
    rootless: bool,
    /// It was there, empty, before the container came.
    #[serde(skip)]
    taken: bool,
    /// The unit that it belongs to, if systemd manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<systemd::Unit>,
}

/// A cgroup in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The controllers of the hierarchy as `/proc/self/cgroup` names them (`cpu`, `cpuacct`; `name=systemd`); empty for
    /// cgroup v2.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted on the host.
    pub mountpoint: PathBuf,
    /// The cgroup below the mountpoint, beginning with a slash.
    pub path: String,
}

impl Place {
    /// The folder on the host.
    pub fn dir(&self) -> PathBuf {
        self.mountpoint.join(self.path.trim_start_matches('/'))
    }

    /// The name of the hierarchy's folder below `/sys/fs/cgroup`, such as `cpu,cpuacct`, `systemd`, `unified`.
    pub fn name(&self) -> &str {
        self.mountpoint.file_name().and_then(|n| n.to_str()).unwrap_or_default()
    }

    /// The hierarchy is cgroup v2.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    fn carries(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Cgroup {
    /// No cgroup: every operation succeeds and does nothing.
    pub fn disabled() -> Cgroup {
        Cgroup {
            manager: Manager::Disabled,
            mode: Mode::Legacy,
            places: Vec::new(),
            explicit: false,
            rootless: false,
            taken: false,
            unit: None,
        }
    }

    /// Tells whether the caller is somebody else than the host's root (runc's `--rootless`): then a cgroup that was not asked
    /// for by `linux.cgroupsPath` and cannot be made for lack of permission is done without.
    #[must_use]
    pub fn rootless(mut self, rootless: bool) -> Cgroup {
        self.rootless = rootless;
        self
    }

    /// Who manages it.
    pub fn manager(&self) -> Manager {
        self.manager
    }

    /// How the host's hierarchies are set up.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its folder in each hierarchy; what mounting `/sys/fs/cgroup` in the container needs. (runc leaves a unified hierarchy
    /// of a hybrid host out of that mount.)
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// There is none: disabled, or a rootless runtime that could not make one.
    pub fn is_none(&self) -> bool {
        self.places.is_empty()
    }

    /// The folder of cgroup v2, on unified and hybrid hosts.
    pub fn unified_dir(&self) -> Option<PathBuf> {
        self.places.iter().find(|p| p.is_unified()).map(Place::dir)
    }

    /// The folder that has the files of `controller`.
    pub fn controller_dir(&self, controller: &str) -> Option<PathBuf> {
        match self.mode {
            Mode::Unified => self.unified_dir(),
            Mode::Legacy | Mode::Hybrid => self.places.iter().find(|p| p.carries(controller)).map(Place::dir),
        }
    }

    /// The hierarchy that answers questions about processes: `devices` on v1, because every container must have it.
    fn main_dir(&self) -> Option<PathBuf> {
        self.controller_dir("devices")
            .or_else(|| self.places.first().map(Place::dir))
    }

    /// Its main folder is there.
    pub fn exists(&self) -> bool {
        self.main_dir().is_some_and(|dir| dir.is_dir())
    }

    /// A permission error may be passed over.
    fn is_lenient(&self) -> bool {
        self.rootless && !self.explicit
    }
}

/// What a failed write to a cgroup means in the words of the user's configuration.
fn missing_controller(at: &str, controller: &str, dir: &Path) -> Error {
    Error::config(
        at,
        format!(
            "controller {controller:?} not available in {}: enable it on the host or leave this limit out",
            dir.display()
        ),
    )
}
