//! The container as a whole: root, mounts, namespaces, devices, hooks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Annotated, IntelRdt, NetDevice, Process, Resources};

/// A checked config.json.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ociVersion` as written.
    pub oci_version: String,
    /// `root.path`, absolute (joined to the bundle if it was relative).
    pub rootfs: PathBuf,
    /// `root.readonly`.
    pub readonly_root: bool,
    /// `mounts` in the order of config.json.
    pub mounts: Vec<Mount>,
    /// `process`; a bundle without one can be created but not started.
    pub process: Option<Process>,
    /// `hostname`, only with a UTS namespace of the container's own.
    pub hostname: Option<String>,
    /// `domainname`, likewise.
    pub domainname: Option<String>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// What some of them ask for.
    pub annotated: Annotated,
    /// `linux.namespaces`.
    pub namespaces: Namespaces,
    /// `linux.uidMappings`; empty without a user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// `linux.gidMappings`; empty without a user namespace.
    pub gid_mappings: Vec<IdMapping>,
    /// `linux.timeOffsets`.
    pub time_offsets: Vec<TimeOffset>,
    /// `linux.devices`, without the default devices.
    pub devices: Vec<Device>,
    /// `linux.netDevices`: host name of the device and what becomes of it.
    pub net_devices: Vec<NetDevice>,
    /// `linux.cgroupsPath` as written; `None` when absent or empty.
    pub cgroups_path: Option<String>,
    /// `linux.resources`.
    pub resources: Resources,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt>,
    /// `linux.sysctl`, each name on the allow-list and owned by a namespace of the container; dots, not slashes.
    pub sysctl: Vec<(String, String)>,
    /// `linux.seccomp`, checked.
    pub seccomp: Option<Box<oci_spec::runtime::LinuxSeccomp>>,
    /// `linux.rootfsPropagation`; `rslave` by default as in runc.
    pub rootfs_propagation: Propagation,
    /// `linux.maskedPaths`, absolute.
    pub masked_paths: Vec<PathBuf>,
    /// `linux.readonlyPaths`, absolute.
    pub readonly_paths: Vec<PathBuf>,
    /// `linux.mountLabel`.
    pub mount_label: Option<String>,
    /// Oddities that do not stop the container, for the log (an unknown capability, say).
    pub warnings: Vec<String>,
}

/// The namespaces of Linux that a container can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// `CLONE_NEWUSER`
    User,
    /// `CLONE_NEWIPC`
    Ipc,
    /// `CLONE_NEWUTS`
    Uts,
    /// `CLONE_NEWNET`
    Network,
    /// `CLONE_NEWPID`
    Pid,
    /// `CLONE_NEWNS`
    Mount,
    /// `CLONE_NEWCGROUP`
    Cgroup,
    /// `CLONE_NEWTIME`
    Time,
}

impl NamespaceKind {
    /// All of them, in the order in which they are joined (after user).
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::User,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
        NamespaceKind::Pid,
        NamespaceKind::Mount,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];

    /// The clone flag (clone(2), namespaces(7)).
    pub fn clone_flag(self) -> u64 {
        match self {
            NamespaceKind::User => 0x1000_0000,
            NamespaceKind::Ipc => 0x0800_0000,
            NamespaceKind::Uts => 0x0400_0000,
            NamespaceKind::Network => 0x4000_0000,
            NamespaceKind::Pid => 0x2000_0000,
            NamespaceKind::Mount => 0x0002_0000,
            NamespaceKind::Cgroup => 0x0200_0000,
            NamespaceKind::Time => 0x0000_0080,
        }
    }

    /// Its name in config.json.
    pub fn config_name(self) -> &'static str {
        match self {
            NamespaceKind::Network => "network",
            NamespaceKind::Mount => "mount",
            other => other.proc_name(),
        }
    }

    /// The name of its file in `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Network => "net",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Mount => "mnt",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }
}

/// Where a namespace of the container comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NamespaceSource {
    /// Not listed: the runtime's own one.
    #[default]
    Inherited,
    /// Listed without a path: a new one.
    New,
    /// Listed with a path.
    Path(PathBuf),
}

/// `linux.namespaces`, each kind at most once.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    sources: [NamespaceSource; 8],
}

impl Namespaces {
    /// Where `kind` comes from.
    pub fn source(&self, kind: NamespaceKind) -> &NamespaceSource {
        &self.sources[kind as usize]
    }

    /// Sets where `kind` comes from and returns what was there.
    pub fn set(&mut self, kind: NamespaceKind, source: NamespaceSource) -> NamespaceSource {
        std::mem::replace(&mut self.sources[kind as usize], source)
    }

    /// The container gets a new namespace of this kind.
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        *self.source(kind) == NamespaceSource::New
    }

    /// The container does not share this namespace with the runtime: it is new or joined.
    pub fn is_own(&self, kind: NamespaceKind) -> bool {
        *self.source(kind) != NamespaceSource::Inherited
    }

    /// The clone flags of all new namespaces.
    pub fn new_flags(&self) -> u64 {
        NamespaceKind::ALL
            .into_iter()
            .filter(|k| self.is_new(*k))
            .fold(0, |flags, k| flags | k.clone_flag())
    }
}

/// One line of `uidMappings` or `gidMappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// Number of ids.
    pub size: u32,
}

/// One entry of `linux.timeOffsets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// Mount propagation (mount_namespaces(7)) and whether it covers the mounts below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// The type.
    pub kind: PropagationKind,
    /// `rshared` and its like.
    pub recursive: bool,
}

/// The four types of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationKind {
    /// Events go both ways.
    Shared,
    /// Events come in only.
    Slave,
    /// No events.
    Private,
    /// Private and not to be bind-mounted.
    Unbindable,
}

/// One entry of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Index in config.json, for messages.
    pub index: usize,
    /// Absolute path inside the container (relative ones are taken from `/`).
    pub destination: PathBuf,
    /// What is mounted there.
    pub source: MountSource,
    /// Mount attributes to switch on (`MOUNT_ATTR_*`, mount_setattr(2)).
    pub attr_set: u64,
    /// Mount attributes that the options switch off explicitly (`rw`, `suid`, `dev`, …).
    pub attr_clear: u64,
    /// The same for the mount and all below it (`rro` and its like).
    pub rec_attr_set: u64,
    /// See `rec_attr_set`.
    pub rec_attr_clear: u64,
    /// Super block flags: `sync`, `dirsync`, `lazytime`, `mand`, `iversion`, `silent` (`MS_*`, mount(2)).
    pub sb_flags: u64,
    /// Super block flags that the options clear explicitly (`async`, `nolazytime`, …).
    pub sb_clear: u64,
    /// Propagation changes, in order.
    pub propagation: Vec<Propagation>,
    /// Options for the file system itself, as written (`size=64k`), joined by nothing.
    pub data: Vec<String>,
    /// `tmpcopyup`: copy what the mount covers into it.
    pub copy_up: bool,
    /// `idmap` or `ridmap` with the mappings to use.
    pub idmap: Option<IdMap>,
    /// crun's `copy-symlink`, `src-nofollow`, `dest-nofollow`.
    pub symlink: SymlinkRule,
    /// The options name `remount`.
    pub remount: bool,
}

/// What to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A bind mount of a host path (absolute; relative ones were joined to the bundle).
    Bind {
        /// The host path.
        path: PathBuf,
        /// `rbind`.
        recursive: bool,
    },
    /// A new mount of a file system.
    Filesystem {
        /// `type`.
        fstype: String,
        /// `source` as written; `none` if absent.
        device: String,
    },
    /// The cgroup file systems (type `cgroup` or `cgroup2`), laid out as the host has them.
    Cgroup,
}

/// How symbolic links at either end of a mount are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SymlinkRule {
    /// Followed (inside the container for the destination).
    #[default]
    Follow,
    /// `copy-symlink`: a source that is a link is made anew, not mounted.
    Copy,
    /// `src-nofollow`: a source that is a link is mounted itself.
    SourceNoFollow,
    /// `dest-nofollow`: a destination that is a link is covered itself.
    DestinationNoFollow,
    /// `src-nofollow` and `dest-nofollow` together.
    NoFollow,
}

/// An id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// `ridmap`.
    pub recursive: bool,
    /// Own mappings, or `None`: those of the container's user namespace.
    pub mappings: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
}

/// The file types a device entry can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`
    Char,
    /// `b`
    Block,
    /// `p`
    Fifo,
}

/// One entry of `linux.devices`, or a default device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Absolute path inside the container.
    pub path: PathBuf,
    /// Type.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits, 0666 by default.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// `hooks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Runtime namespace, before pivot_root (deprecated, same point as `create_runtime`, runs first).
    pub prestart: Vec<Hook>,
    /// Runtime namespace, before pivot_root.
    pub create_runtime: Vec<Hook>,
    /// Container namespace, before pivot_root.
    pub create_container: Vec<Hook>,
    /// Container namespace, in `start`, before the payload.
    pub start_container: Vec<Hook>,
    /// Runtime namespace, after the payload began.
    pub poststart: Vec<Hook>,
    /// Runtime namespace, after `delete`.
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Its argv including argv[0]; empty: the path alone.
    pub args: Vec<String>,
    /// Its environment; `None`: the runtime's own (the process' for `startContainer`).
    pub env: Option<Vec<String>>,
    /// Seconds, greater than 0.
    pub timeout: Option<u64>,
}
