//! The root file system of a container: what is mounted where, which devices it has, what is hidden and read-only.
//!
//! [`draw`] decides everything from the checked config; it runs in the runtime, before the clone, and opens what only the host
//! can open. The [`RootStep`]s that it returns are carried out by the container's init, in three groups:
//!
//! 1. `prepare`, in the new mount namespace but with the host's root still there: the container's tree is put together;
//! 2. `enter`, after the `createRuntime` and `createContainer` hooks: the tree becomes the root;
//! 3. `seal`: sysctls, read-only and masked paths, read-only root, umask.
//!
//! # Invariants
//! - A path of the container is resolved once, inside its root, to a descriptor ([`resolve`]); every later call goes by descriptor.
//! - A mount is complete (attributes, propagation, id mapping) before it is put into the tree.
//! - What is written to `/proc` goes through a procfs that the runtime itself mounted or verified ([`Room::procfs`]).
//! - No inode of the host is ever chowned or chmodded.

mod attributes;
mod bind;
mod cgroup;
mod console;
mod copyup;
mod devices;
mod draw;
mod enter;
mod filesystem;
mod idmap;
mod kernel;
pub mod live;
mod mount;
pub mod resolve;
mod restore;
mod room;
mod seal;
mod step;
mod target;
mod tree;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::MountContext;

pub use console::{Console, open as open_console};
pub use draw::draw;
pub use enter::{change_to, mount_below, take_down};
pub use idmap::apply as map_ids;
pub use restore::{bound_devices, locate, make_mountpoints, on_own_mount, settle};
pub use room::Room;
pub use step::{Cover, RootStep};

/// What [`draw`] has to know besides the config.
#[derive(Debug, Clone, Default)]
pub struct RootOptions {
    /// Move the tree onto `/` and chroot instead of pivot_root, for roots on a ramdisk (`--no-pivot`).
    pub no_pivot: bool,
    /// The control groups of the container, for mounts of type `cgroup`.
    pub cgroup: CgroupView,
    /// The container has a user namespace of its own, new or joined.
    pub in_userns: bool,
    /// `linux.mountLabel`, where the host has SELinux.
    pub mount_label: Option<MountLabel>,
    /// procfs and sysfs are read-only, wherever they are.
    pub readonly_kernel_files: bool,
    /// The container gets a terminal: a pty of its own devpts, bound to `/dev/console`.
    pub console: bool,
}

/// The SELinux label of what is mounted fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountLabel {
    /// The option that carries it.
    pub context: MountContext,
    /// The label.
    pub text: Arc<str>,
}

/// The control groups of a container as the host sees them.
#[derive(Debug, Clone, Default)]
pub struct CgroupView {
    /// The host has the unified hierarchy only (cgroup v2); otherwise v1 or hybrid.
    pub unified: bool,
    /// The container has a cgroup namespace of its own, so that fresh mounts show its own subtree.
    pub own_namespace: bool,
    /// The runtime may not manage cgroups (rootless without delegation): failing cgroup mounts are masked, not fatal.
    pub rootless: bool,
    /// The v1 hierarchies (named ones too, the unified one of a hybrid host not), or the one of v2.
    pub hierarchies: Vec<Hierarchy>,
}

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Options that name it to mount(8): `["cpu", "cpuacct"]`, `["name=systemd"]`; empty for v2.
    pub options: Vec<String>,
    /// Where the host has it mounted: `/sys/fs/cgroup/cpu,cpuacct`.
    pub mountpoint: PathBuf,
    /// The container's cgroup in it, as a host path: `/sys/fs/cgroup/cpu,cpuacct/docker/ID`.
    pub cgroup: PathBuf,
}

/// The steps that build the root file system, in order.
#[derive(Debug, Default)]
pub struct RootPlan {
    /// Before the `createRuntime` and `createContainer` hooks.
    pub prepare: Vec<RootStep>,
    /// After those hooks: changes to the new root.
    pub enter: Vec<RootStep>,
    /// Inside the new root: closes what the program must not touch.
    pub seal: Vec<RootStep>,
}
