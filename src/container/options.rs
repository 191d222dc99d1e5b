//! What the caller wants of `create` and `run`, from the command line or from a program that uses the library.

use std::path::PathBuf;

use super::Id;
use crate::aot;
use crate::config::ExecOverrides;

/// Which of the two binaries is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `runw`
    Runw,
    /// `runw-wasm`
    RunwWasm,
}

impl Program {
    /// The name it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Program::Runw => "runw",
            Program::RunwWasm => "runw-wasm",
        }
    }
}

/// Who makes the container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// This program, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd, as a scope unit.
    Systemd,
    /// Nobody: the container stays in the cgroup of its caller.
    Disabled,
}

/// How to make a container.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Its name.
    pub id: Id,
    /// `--root`: where state folders are kept, absolute.
    pub root: PathBuf,
    /// Which binary was called: by the name `runw-wasm` every bundle is taken as WebAssembly.
    pub program: Program,
    /// Who makes the cgroup.
    pub manager: CgroupManager,
    /// Whether failures to set up cgroups are ignored for want of permission; `None`: when not root.
    pub rootless: Option<bool>,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The configuration, absolute, if it is not `config.json` in the bundle.
    pub config: Option<PathBuf>,
    /// A unix socket to which the pty's master is sent (SCM_RIGHTS).
    pub console_socket: Option<PathBuf>,
    /// A unix socket to which a pidfd of init is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// A file for init's pid, absolute.
    pub pid_file: Option<PathBuf>,
    /// MS_MOVE and chroot in the place of pivot_root(2).
    pub no_pivot: bool,
    /// The container keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// File descriptors above stderr that the container gets, beside those of LISTEN_FDS.
    pub preserve_fds: u32,
    /// Whether a WebAssembly module is compiled, and where its native code is kept.
    pub aot: aot::Wishes,
}

/// What `run` does after `create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// Return when the container has started.
    pub detach: bool,
    /// Leave the stopped container there.
    pub keep: bool,
    /// Do not become a child subreaper (prctl(2)) while the container runs.
    pub no_subreaper: bool,
}

/// How to start one more process in a running container.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// The container's name.
    pub id: Id,
    /// `--root`: where state folders are kept, absolute.
    pub root: PathBuf,
    /// Which binary was called.
    pub program: Program,
    /// What to run.
    pub process: NewProcess,
    /// A unix socket to which the pty's master is sent (SCM_RIGHTS).
    pub console_socket: Option<PathBuf>,
    /// A unix socket to which a pidfd of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// A file for the process' pid, absolute.
    pub pid_file: Option<PathBuf>,
    /// Return when the process runs.
    pub detach: bool,
    /// File descriptors above stderr that the process gets.
    pub preserve_fds: u32,
    /// `--cgroup`, each `[CONTROLLER[,CONTROLLER…]:]PATH` below the container's cgroup.
    pub cgroup: Vec<String>,
    /// Go on although the container is paused: the process then starts when it is resumed.
    pub ignore_paused: bool,
    /// Whether a WebAssembly module is compiled, and where its native code is kept.
    pub aot: aot::Wishes,
}

/// What `exec` runs.
#[derive(Debug, Clone)]
pub enum NewProcess {
    /// What the flags say; the rest is as in the container's own process.
    Flags(ExecOverrides),
    /// What a document, a `process` object in JSON, says (`--process`); absolute.
    Document(PathBuf),
}
