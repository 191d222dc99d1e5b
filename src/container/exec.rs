//! `exec`: one more process for a running container.
//!
//! It never looks at config.json: `create` keeps what is needed in the state folder, the seccomp filter compiled.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::terminal::Terminal;
use super::{ExecOptions, Folder, Init, Locked, NewProcess, Record, Status, Store, start, status, tell};
use crate::aot::Ahead;
use crate::config::{Config, ExecConfig, NamespaceKind, Process, workload};
use crate::error::{Error, Kind, Result, ResultExt, Wrap};
use crate::launch::{self, Launched};
use crate::payload::{self, Choice, Guest, Native, Payload, Wasm};
use crate::plan::{self, ExecWishes};
use crate::privs::seccomp::Program as Filter;
use crate::sys;
use crate::sys::process::{self, Child};
use crate::tty::{self, Outlet, Relay, Signals};
use crate::{log, oci, trace};

/// What is kept in the state folder: a [`Kept`], and the compiled filter.
const CONFIG: &str = "exec.json";
const SECCOMP: &str = "seccomp.bpf";

/// What later processes of a container need.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    config: ExecConfig,
    guest: Guest,
}

impl Kept {
    /// What is to be kept of `config`; `None` without a process.
    pub fn of(config: &Config, session_keyring: bool) -> Option<Kept> {
        Some(Kept {
            config: ExecConfig::of(config, session_keyring)?,
            guest: Guest::of(config, PathBuf::new()),
        })
    }

    /// Has later processes join this namespace of init, too.
    pub fn add_namespace(&mut self, kind: NamespaceKind) {
        if !self.config.namespaces.contains(&kind) {
            self.config.namespaces.push(kind);
        }
    }

    /// Keeps it, and the filter of the container.
    pub fn save(&self, locked: &Locked, filter: Option<&Filter>) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::message(e.to_string()))?;
        locked.keep(CONFIG, &text)?;
        match filter {
            Some(filter) => locked.keep(SECCOMP, &filter.to_bytes()),
            None => Ok(()),
        }
    }

    fn load(folder: &Folder) -> Result<Kept> {
        let text = folder.kept(CONFIG)?.ok_or_else(|| {
            Error::message(format!(
                "{:?} has no {CONFIG}: the container has no process, or was created by an older version",
                folder.path()
            ))
        })?;
        serde_json::from_slice(&text).map_err(|e| Error::message(format!("{:?}: {CONFIG}: {e}", folder.path())))
    }
}

/// Starts a process in a running container and answers its exit code; detached: 0 once it runs.
///
/// # Errors
/// The container does not run, or the process could not be started.
pub fn exec(options: &ExecOptions) -> Result<u8> {
    join(options).wrap(|| "exec failed")
}

fn join(options: &ExecOptions) -> Result<u8> {
    let Some(store) = Store::open(&options.root)? else {
        return Err(Error::new(Kind::NotFound {
            id: options.id.to_string(),
        }));
    };
    let folder = store.folder(&options.id)?;
    let (record, status) = folder.status()?;
    check(status, options.ignore_paused)?;
    let init = pin(record.init)?;
    let Kept { config, guest } = Kept::load(&folder)?;
    let mut process = process_of(config.clone(), &options.process)?;
    preserved(options.preserve_fds)?;
    let terminal = Terminal::decide(process.terminal, options.console_socket.as_deref(), options.detach)?;
    if matches!(terminal, Terminal::Kept) {
        process.console_size = process.console_size.or_else(tty::own_size);
    }
    let attempt = Attempt {
        options,
        folder: &folder,
        record: &record,
        config,
        guest,
        root: open_root(init.0)?,
        init,
    };
    attempt.make(process, terminal)
}

fn check(status: Status, ignore_paused: bool) -> Result<()> {
    let problem = match status {
        Status::Running | Status::Created => return Ok(()),
        Status::Paused if ignore_paused => return Ok(()),
        Status::Paused => "cannot exec in a paused container (use --ignore-paused to override)",
        Status::Stopped => "cannot exec in a stopped container",
        Status::Creating => "cannot exec in a container that is still being created",
    };
    Err(Error::new(Kind::State(problem.to_owned())))
}

/// A pidfd that is sure to be init's.
fn pin(init: Init) -> Result<(Pid, OwnedFd)> {
    let stopped = || Error::new(Kind::State("cannot exec in a stopped container".to_owned()));
    let pid = Pid::from_raw(init.pid).ok_or_else(stopped)?;
    let pidfd = process::pidfd_open(pid).map_err(|_| stopped())?;
    match status::is_alive(init) {
        true => Ok((pid, pidfd)),
        false => Err(stopped()),
    }
}

/// The container's root. The pid is pinned: it is init's, whatever becomes of init.
fn open_root(init: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).call(|| format!("open({path:?})"))
}

fn process_of(config: ExecConfig, wanted: &NewProcess) -> Result<Process> {
    let path = match wanted {
        NewProcess::Flags(said) => return config.by_flags(said.clone()),
        NewProcess::Document(path) => path,
    };
    let text = std::fs::read(path).map_err(|e| {
        Error::message(format!(
            "{} cannot be read (--process): {}",
            path.display(),
            oci::reason(&e)
        ))
    })?;
    let (given, mut warnings) = oci::process_document(&text).wrap(|| format!("--process {}", path.display()))?;
    let process = config
        .by_document(&given, &mut warnings)
        .wrap(|| format!("--process {}", path.display()))?;
    warnings.iter().for_each(log::warn);
    Ok(process)
}

/// Every descriptor that is to be preserved has to be there.
fn preserved(count: u32) -> Result<()> {
    for n in 0..count {
        let path = format!("/proc/self/fd/{}", 3 + u64::from(n));
        if let Err(e) = rustix::fs::readlink(&path, Vec::new()) {
            return Err(Error::sys(format!("unable to stat preserved-fd {n} (of {count})"), e));
        }
    }
    Ok(())
}

/// One attempt to start a process.
struct Attempt<'a> {
    options: &'a ExecOptions,
    folder: &'a Folder,
    record: &'a Record,
    config: ExecConfig,
    guest: Guest,
    root: OwnedFd,
    init: (Pid, OwnedFd),
}

impl Attempt<'_> {
    fn make(self, process: Process, terminal: Terminal) -> Result<u8> {
        let choice = {
            let _span = trace::span("choose payload");
            match workload::is_sandbox(&self.record.annotations) {
                true => Choice::Linux,
                false => payload::choose_in(self.root.as_fd(), &process)?,
            }
        };
        log::debug(|| format!("payload: {choice:?}"));
        match choice {
            Choice::Linux => {
                let payload = Native::new(process.args.clone(), &process.env);
                self.make_with(&process, terminal, payload, None)
            }
            Choice::Wasm(path) => {
                if !payload::wasm::is_here() {
                    match payload::twin::start(false)? {}
                }
                let ahead = self.ahead(&path)?.map(Arc::new);
                let payload = Wasm::new(self.guest.clone().beside(&process, path), ahead.clone());
                self.make_with(&process, terminal, payload, ahead)
            }
        }
    }

    /// What is known of native code for the module.
    fn ahead(&self, module: &Path) -> Result<Option<Ahead>> {
        let inside = module.strip_prefix("/").unwrap_or(module);
        match (payload::wasm::ENGINE, payload::open_in(self.root.as_fd(), inside)) {
            (Some(engine), Some(file)) => {
                Ahead::new(&self.options.aot, &self.record.annotations, engine()?, file, module)
            }
            _ => Ok(None),
        }
    }

    fn make_with<P: Payload>(
        self,
        process: &Process,
        terminal: Terminal,
        payload: P,
        ahead: Option<Arc<Ahead>>,
    ) -> Result<u8> {
        let (options, record) = (self.options, self.record);
        let (console, kept) = terminal.outlet()?;
        // From here on a signal is for the process.
        let signals = (!options.detach).then(Signals::block).transpose()?;
        let launched = self.launch(process, console, payload)?;
        let child = Child {
            pid: launched.pid,
            pidfd: launched.pidfd.try_clone().call(|| "dup(pidfd)")?,
        };
        let told = finish(options, record, &launched, kept);
        let relay = told.inspect_err(|_| {
            let _ = process::signal(child.pidfd.as_fd(), nix::libc::SIGKILL);
            let _ = process::wait(child.pidfd.as_fd());
        })?;
        if let Some(ahead) = ahead {
            // The compiler is none of the container's processes, and outlives it.
            match sys::namespace::bear_children_at_home() {
                Ok(()) => ahead.begin(child.pidfd.as_fd()),
                Err(e) => log::debug(|| format!("nothing is compiled: {e}")),
            }
        }
        match signals {
            Some(signals) => tty::foreground(&child, &signals, relay).map(process::Ended::code),
            None => Ok(0),
        }
    }

    fn launch<P: Payload>(self, process: &Process, console: Option<Outlet>, payload: P) -> Result<Launched> {
        let plan = {
            let _span = trace::span("plan");
            let wishes = ExecWishes {
                id: self.options.id.as_str(),
                init: self.init,
                root: self.root,
                cgroup: self.record.cgroup.below(&self.options.cgroup)?,
                exact_cgroup: !self.options.cgroup.is_empty(),
                seccomp: filter(self.folder)?,
                preserve_fds: self.options.preserve_fds,
                seal: P::SEAL,
                console,
            };
            plan::draw_exec(&self.config, process, wishes)?
        };
        launch::exec(plan, payload, &start::identity(self.record)).wrap(|| "unable to start container process")
    }
}

fn filter(folder: &Folder) -> Result<Option<Filter>> {
    let Some(bytes) = folder.kept(SECCOMP)? else {
        return Ok(None);
    };
    match Filter::from_bytes(&bytes) {
        Some(filter) => Ok(Some(filter)),
        None => Err(Error::message(format!(
            "{:?} is damaged: the process would run without its seccomp filter",
            folder.path().join(SECCOMP)
        ))),
    }
}

/// Everything that is left once the process runs; answers the relay of a terminal that this process serves.
fn finish(options: &ExecOptions, record: &Record, launched: &Launched, kept: Option<OwnedFd>) -> Result<Option<Relay>> {
    if let Some(group) = &record.intel_rdt {
        group.add(launched.pid.as_raw_nonzero().get())?;
    }
    let master = kept.map(|socket| tty::receive(socket.as_fd())).transpose()?;
    tell::tell(launched, options.pidfd_socket.as_deref(), options.pid_file.as_deref())?;
    master.map(Relay::new).transpose()
}
