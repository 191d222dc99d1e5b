//! The steps that init carries out.

use std::path::PathBuf;

use rustix::fs::Mode;

use super::idmap::LateSource;
use super::mount::MountStep;
use super::{MountLabel, Room, console, devices, enter, kernel, seal};
use crate::config::{Device, Propagation};
use crate::error::Result;

/// One step of building the root file system.
#[derive(Debug)]
pub enum RootStep {
    /// No bits are masked while files are made for the container, or the umask of its program.
    Umask(u32),
    /// The propagation of `/` in the new mount namespace.
    Propagation(Propagation),
    /// The mount that the root file system lies on becomes private.
    Seclude(PathBuf),
    /// The root file system is opened and, unless nothing will be mounted, covered by a mount of itself.
    Rootfs {
        /// `root.path`.
        path: PathBuf,
        /// Who sees the mount.
        cover: Cover,
    },
    /// The source of the next mount is opened, and left for the parent to map its ids.
    MapSource(Box<LateSource>),
    /// One entry of `mounts`.
    Mount(Box<MountStep>),
    /// Device nodes; with `bind` by mounting the host's.
    Devices {
        /// All of them, the default ones too.
        devices: Vec<Device>,
        /// In a user namespace nodes cannot be made.
        bind: bool,
    },
    /// The links in `/dev`.
    DevLinks {
        /// `/dev/core` too.
        core: bool,
    },
    /// The pty, with its slave end on `/dev/console`.
    Console,
    /// pivot_root(2).
    Pivot(Propagation),
    /// The root is moved onto `/`, then chroot(2) (`--no-pivot`).
    MoveRoot(PathBuf),
    /// chroot(2) alone: the container has no mount namespace.
    Chroot,
    /// Standard streams on `/dev/null` use the container's.
    ReopenNull,
    /// The working directory is made if it is missing.
    WorkingDirectory(PathBuf),
    /// `linux.sysctl`.
    Sysctl(Vec<(String, String)>),
    /// Mounts that had to be writable until now become read-only.
    ReadonlyMounts,
    /// `linux.readonlyPaths`.
    ReadonlyPaths(Vec<PathBuf>),
    /// `linux.maskedPaths`.
    MaskedPaths {
        /// The paths.
        paths: Vec<PathBuf>,
        /// `linux.mountLabel`.
        label: Option<MountLabel>,
    },
    /// `root.readonly`.
    ReadonlyRoot,
    /// Every procfs and sysfs becomes read-only, for a WebAssembly guest.
    ReadonlyKernelFiles,
}

/// Whether the root file system is covered by a mount of itself, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// In the container's own mount namespace.
    Own,
    /// In the runtime's mount namespace, which the container shares: the host sees it until [`super::take_down`].
    Shared,
    /// It is left as it is; nothing will be mounted.
    None,
}

impl RootStep {
    /// The container's cgroup has to be there, and init in it, before this step; or the parent has to be asked, who only answers
    /// once it has made it.
    pub fn needs_cgroup(&self) -> bool {
        match self {
            RootStep::Mount(step) => step.is_cgroup(),
            RootStep::MapSource(_) => true,
            _ => false,
        }
    }

    /// A short fixed name, for traces.
    pub fn name(&self) -> &'static str {
        match self {
            RootStep::Umask(_) => "umask",
            RootStep::Propagation(_) => "propagation",
            RootStep::Seclude(_) => "seclude",
            RootStep::Rootfs { .. } => "rootfs",
            RootStep::MapSource(_) => "map-source",
            RootStep::Mount(_) => "mount",
            RootStep::Devices { .. } => "devices",
            RootStep::DevLinks { .. } => "dev-links",
            RootStep::Console => "console",
            RootStep::Pivot(_) => "pivot",
            RootStep::MoveRoot(_) => "move-root",
            RootStep::Chroot => "chroot",
            RootStep::ReopenNull => "reopen-null",
            RootStep::WorkingDirectory(_) => "cwd",
            RootStep::Sysctl(_) => "sysctl",
            RootStep::ReadonlyMounts => "readonly-mounts",
            RootStep::ReadonlyPaths(_) => "readonly-paths",
            RootStep::MaskedPaths { .. } => "masked-paths",
            RootStep::ReadonlyRoot => "readonly-root",
            RootStep::ReadonlyKernelFiles => "readonly-kernel-files",
        }
    }

    /// What the step does, for messages: `mount proc to rootfs at /proc (mounts[0])`.
    pub fn describe(&self) -> String {
        match self {
            RootStep::Umask(mask) => format!("set the umask to {mask:04o}"),
            RootStep::Propagation(_) => "set the propagation of / (linux.rootfsPropagation)".into(),
            RootStep::Seclude(path) => format!("make the mount of {} private", path.display()),
            RootStep::Rootfs { path, .. } => format!("open the root file system {} (root.path)", path.display()),
            RootStep::MapSource(source) => source.describe(),
            RootStep::Mount(step) => step.describe(),
            RootStep::Devices { .. } => "make devices (linux.devices)".into(),
            RootStep::DevLinks { .. } => "make the links in /dev".into(),
            RootStep::Console => "set up the terminal (process.terminal)".into(),
            RootStep::Pivot(_) => "change the root".into(),
            RootStep::MoveRoot(_) => "move the root".into(),
            RootStep::Chroot => "change the root without a mount namespace".into(),
            RootStep::ReopenNull => "give standard streams the container's /dev/null".into(),
            RootStep::WorkingDirectory(path) => format!("make the working directory {} (process.cwd)", path.display()),
            RootStep::Sysctl(_) => "write sysctls".into(),
            RootStep::ReadonlyMounts => "make mounts read-only".into(),
            RootStep::ReadonlyPaths(_) => "make paths read-only (linux.readonlyPaths)".into(),
            RootStep::MaskedPaths { .. } => "mask paths (linux.maskedPaths)".into(),
            RootStep::ReadonlyRoot => "make the root read-only (root.readonly)".into(),
            RootStep::ReadonlyKernelFiles => "make procfs and sysfs read-only for a WebAssembly guest".into(),
        }
    }

    /// Carries the step out in init. Which step it was is for the caller to add to an error.
    pub fn apply(&self, room: &mut Room) -> Result<()> {
        match self {
            RootStep::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            RootStep::Propagation(propagation) => enter::propagate_root(*propagation),
            RootStep::Seclude(path) => enter::seclude(path),
            RootStep::Rootfs { path, cover } => enter::open_rootfs(path, *cover, room),
            RootStep::MapSource(source) => source.open(room),
            RootStep::Mount(step) => step.apply(room),
            RootStep::Devices { devices, bind } => devices::make(devices, *bind, room),
            RootStep::DevLinks { core } => devices::link(*core, room),
            RootStep::Console => console::make(room),
            RootStep::Pivot(propagation) => enter::pivot(*propagation, room),
            RootStep::MoveRoot(path) => enter::move_root(path, room),
            RootStep::Chroot => enter::chroot(room),
            RootStep::ReopenNull => enter::reopen_null(room),
            RootStep::WorkingDirectory(path) => enter::make_cwd(path, room),
            RootStep::Sysctl(sysctls) => seal::write_sysctls(sysctls, room),
            RootStep::ReadonlyMounts => seal::close_mounts(room),
            RootStep::ReadonlyPaths(paths) => seal::protect(paths, room),
            RootStep::MaskedPaths { paths, label } => seal::mask(paths, label.as_ref(), room),
            RootStep::ReadonlyRoot => seal::close_root(room),
            RootStep::ReadonlyKernelFiles => kernel::close_files(room),
        }
    }
}
