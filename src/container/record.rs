//! What is kept of a container from `create` to `delete`: the record in its state folder.
//!
//! It holds whatever later commands need, so that config.json may change, or go, after `create`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Id;
use super::external::External;
use crate::cgroup::Cgroup;
use crate::config::Hooks;
use crate::privs::rdt::Group;

/// The kind of the container's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadKind {
    /// A program that the kernel executes.
    Linux,
    /// A WebAssembly module.
    Wasm,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    /// In the runtime's pid namespace.
    pub pid: i32,
    /// Clock ticks since boot, field 22 of proc_pid_stat(5).
    pub start_time: u64,
}

/// The record of one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container's id.
    pub id: Id,
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// When `create` began: RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// `annotations` of config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user id that `create` ran under.
    pub owner: u32,
    /// The container's first process; pid 0 until there is one.
    pub init: Init,
    /// Native or WebAssembly.
    pub payload: PayloadKind,
    /// The container's cgroups.
    pub cgroup: Cgroup,
    /// The container has a pid namespace of its own: the death of init ends all its processes.
    pub own_pid_namespace: bool,
    /// The container shares the runtime's mount namespace: the id of the mount that its root file system lies on, which tells
    /// whether what `create` put on top is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_below: Option<u64>,
    /// The hooks that run after `create`.
    #[serde(default)]
    pub hooks: Hooks,
    /// Its place in resctrl, with the groups that `create` made and `delete` removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<Group>,
    /// What `checkpoint` has to know.
    #[serde(default)]
    pub external: External,
    /// The NOTIFY_SOCKET of systemd that `create` was given (sd_notify(3)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_socket: Option<PathBuf>,
}

#[cfg(test)]
pub(super) fn sample(id: &str) -> Record {
    Record {
        id: id.parse().unwrap(),
        oci_version: "1.2.0".into(),
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        created: "2026-08-30T12:00:00.000000001Z".into(),
        annotations: BTreeMap::new(),
        owner: 0,
        init: Init { pid: 1, start_time: 0 },
        payload: PayloadKind::Linux,
        cgroup: Cgroup::disabled(),
        own_pid_namespace: true,
        mount_below: None,
        hooks: Hooks::default(),
        intel_rdt: None,
        external: External::default(),
        notify_socket: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_saved() {
        let mut record = sample("x");
        record.annotations.insert("a".into(), "b".into());
        record.notify_socket = Some("/run/notify".into());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
