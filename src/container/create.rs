//! `create`: from a bundle to a container whose init stands at its gate.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aot::Ahead;
use crate::cgroup::{self, Cgroup};
use crate::config::{self, Config, NamespaceKind, Workload};
use crate::error::{Result, Wrap};
use crate::launch::{self, Launched};
use crate::oci::Bundle;
use crate::payload::{self, Choice, Guest, Native, Payload, Wasm};
use crate::plan::{self, Plan, Wishes};
use crate::privs::rdt::Resctrl;
use crate::sys::seccomp::FLAG_TSYNC;
use crate::tty::{self, Outlet};
use crate::{log, root, trace};

use super::external::External;
use super::options::Program;
use super::record::{Init, PayloadKind};
use super::terminal::Terminal;
use super::{CgroupManager, CreateOptions, Locked, Record, Store, exec, notify, start, status, tell};

/// A container that has just been created, still locked against `start` and `delete` by others.
#[derive(Debug)]
pub(super) struct Created {
    pub locked: Locked,
    pub record: Record,
    pub launched: Launched,
    /// The terminal's master, when the caller keeps it (`run` in the foreground).
    pub master: Option<OwnedFd>,
}

/// Creates the container and leaves it at its gate.
///
/// # Errors
/// What is wrong with the bundle, or which step failed; then nothing of the container is left.
pub fn create(options: &CreateOptions) -> Result<()> {
    build(options, true).map(|_| ())
}

/// What `create` and `run` share. `detached`: nobody stays to serve a terminal.
pub(super) fn build(options: &CreateOptions, detached: bool) -> Result<Created> {
    let (bundle, config) = read(options)?;
    let choice = choose(options, &config)?;
    let wanted = config.process.as_ref().is_some_and(|p| p.terminal);
    let terminal = Terminal::decide(wanted, options.console_socket.as_deref(), detached)?;
    let store = Store::make(&options.root)?;
    let locked = store.create(&options.id)?;
    // Init would keep it open until the payload runs.
    drop(store);
    let attempt = Attempt {
        options,
        bundle: &bundle,
        locked: &locked,
        choice: &choice,
    };
    match attempt.make(config, terminal) {
        Ok((record, launched, master)) => Ok(Created {
            locked,
            record,
            launched,
            master,
        }),
        Err(e) => {
            if let Err(left) = super::delete::roll_back(locked) {
                log::aside(&format!("after the failed create: {left}"));
            }
            Err(e)
        }
    }
}

pub(super) fn read(options: &CreateOptions) -> Result<(Bundle, Config)> {
    let bundle = {
        let _span = trace::span("parse config.json");
        Bundle::open(&options.bundle, options.config.as_deref())?
    };
    let _span = trace::span("check config.json");
    let config = config::check(&bundle)?;
    config::check_host(&config)?;
    config.warnings.iter().for_each(log::warn);
    log::debug(|| format!("{}: config.json is fine", bundle.dir.display()));
    Ok((bundle, config))
}

/// Chooses the payload; a module makes `runw` become its twin, which starts over.
fn choose(options: &CreateOptions, config: &Config) -> Result<Choice> {
    let _span = trace::span("choose payload");
    let choice = payload::choose(config, options.program == Program::RunwWasm)?;
    log::debug(|| format!("payload: {choice:?}"));
    trace::instant(&format!("payload: {}", choice.workload().name()));
    if choice.workload() == Workload::Wasm && !payload::wasm::is_here() {
        match payload::twin::start(options.program == Program::RunwWasm)? {}
    }
    Ok(choice)
}

/// One attempt to make a container in its new state folder.
pub(super) struct Attempt<'a> {
    pub options: &'a CreateOptions,
    pub bundle: &'a Bundle,
    pub locked: &'a Locked,
    pub choice: &'a Choice,
}

impl Attempt<'_> {
    fn make(&self, mut config: Config, terminal: Terminal) -> Result<(Record, Launched, Option<OwnedFd>)> {
        let kept_for_exec = exec::Kept::of(&config, !self.options.no_new_keyring);
        if notify::of_caller().is_some() {
            notify::set_up(&mut config, self.locked)?;
        }
        match self.choice {
            Choice::Linux => {
                let (args, env) = config
                    .process
                    .as_ref()
                    .map(|p| (p.args.clone(), p.env.as_slice()))
                    .unwrap_or_default();
                let payload = Native::new(args, env);
                self.make_with(config, kept_for_exec, terminal, payload)
            }
            Choice::Wasm(path) => {
                let guest = Guest::of(&config, path.clone());
                let ahead = self.ahead(&config, path)?.map(Arc::new);
                let payload = Wasm::new(guest, ahead.clone());
                let made = self.make_with(config, kept_for_exec, terminal, payload)?;
                if let Some(ahead) = ahead {
                    ahead.begin(made.1.pidfd.as_fd());
                }
                Ok(made)
            }
        }
    }

    /// What is known of native code for the module; `None` if none is wanted, or the module is not to be seen from here.
    fn ahead(&self, config: &Config, module: &Path) -> Result<Option<Ahead>> {
        match (payload::wasm::ENGINE, payload::open(config, module)) {
            (Some(engine), Some(file)) => Ahead::new(&self.options.aot, &config.annotations, engine()?, file, module),
            _ => Ok(None),
        }
    }

    fn make_with<P: Payload>(
        &self,
        config: Config,
        kept_for_exec: Option<exec::Kept>,
        terminal: Terminal,
        payload: P,
    ) -> Result<(Record, Launched, Option<OwnedFd>)> {
        let cgroup = self.locate_cgroup(&config)?;
        log::debug(|| format!("cgroup: {cgroup:?}"));
        let resctrl = config.intel_rdt.as_ref().map(|_| Resctrl::find()).transpose()?;
        let mut record = self.record(&config, &cgroup)?;
        // Saved before anything exists that a later delete would have to know.
        self.locked.save(&record)?;
        let (console, kept) = terminal.outlet()?;
        let plan = self.plan::<P>(&config, cgroup, console)?;
        if let Some(filter) = plan.seccomp() {
            // TSYNC is left out, as runc has it: there is but one thread.
            log::debug(|| format!("seccomp filter flags: {}", filter.flags & !FLAG_TSYNC));
        }
        if let Some(kept) = kept_for_exec {
            kept.save(self.locked, plan.seccomp())?;
        }
        let identity = start::identity(&record);
        let launched = launch::launch(plan, payload, &identity, self.locked.as_fd(), |pid| {
            let pid = pid.as_raw_nonzero().get();
            if let (Some(resctrl), Some(rdt)) = (&resctrl, &config.intel_rdt) {
                record.intel_rdt = Some(resctrl.join(rdt, &record.id.to_string(), pid)?);
            }
            record.init = Init {
                pid,
                start_time: status::start_time(pid).unwrap_or_default(),
            };
            self.locked.save(&record)
        })
        .wrap(|| "unable to start container process")?;
        log::debug(|| format!("init has pid {} and stands at its gate", launched.pid));
        let master = kept.map(|socket| tty::receive(socket.as_fd())).transpose()?;
        tell::tell(&launched, self.pidfd_socket(&config), self.options.pid_file.as_deref())?;
        self.locked.commit()?;
        Ok((record, launched, master))
    }

    /// Who gets a pidfd of init: the command line goes before the annotation.
    pub(super) fn pidfd_socket<'c>(&'c self, config: &'c Config) -> Option<&'c Path> {
        let annotated = config.annotated.pidfd_receiver.as_ref();
        self.options.pidfd_socket.as_ref().or(annotated).map(PathBuf::as_path)
    }

    pub(super) fn locate_cgroup(&self, config: &Config) -> Result<Cgroup> {
        let rootless = self
            .options
            .rootless
            .unwrap_or_else(|| !rustix::process::geteuid().is_root());
        let path = config.cgroups_path.as_deref();
        let id = self.options.id.as_str();
        let cgroup = match self.options.manager {
            CgroupManager::Cgroupfs => Cgroup::locate(path, id, &cgroup::layout()?)?,
            CgroupManager::Systemd => Cgroup::of_unit(path, id, &config.annotations, &cgroup::layout()?)?,
            CgroupManager::Disabled => return Ok(Cgroup::disabled()),
        };
        let cgroup = cgroup.rootless(rootless);
        cgroup.refuse_in_use()?;
        Ok(cgroup)
    }

    fn plan<P: Payload>(&self, config: &Config, cgroup: Cgroup, console: Option<Outlet>) -> Result<Plan> {
        let _span = trace::span("plan");
        plan::draw(
            config,
            cgroup,
            Wishes {
                id: self.options.id.as_str(),
                no_pivot: self.options.no_pivot,
                no_new_keyring: self.options.no_new_keyring,
                listen_fds: notify::listen_fds_of_caller(),
                preserve_fds: self.options.preserve_fds,
                seal: P::SEAL,
                console,
                seccomp_cache: seccomp_cache(),
            },
        )
    }

    pub(super) fn record(&self, config: &Config, cgroup: &Cgroup) -> Result<Record> {
        Ok(Record {
            id: self.options.id.clone(),
            oci_version: config.oci_version.clone(),
            bundle: self.bundle.dir.clone(),
            rootfs: config.rootfs.clone(),
            created: crate::clock::now(),
            annotations: config.annotations.clone(),
            owner: rustix::process::getuid().as_raw(),
            init: Init { pid: 0, start_time: 0 },
            payload: match self.choice {
                Choice::Linux => PayloadKind::Linux,
                Choice::Wasm(_) => PayloadKind::Wasm,
            },
            cgroup: cgroup.clone(),
            own_pid_namespace: config.namespaces.is_new(NamespaceKind::Pid),
            mount_below: match config.namespaces.is_own(NamespaceKind::Mount) {
                true => None,
                false => root::mount_below(&config.rootfs),
            },
            hooks: config.hooks.clone(),
            intel_rdt: None,
            external: External::of(config, cgroup),
            notify_socket: notify::of_caller(),
        })
    }
}

/// Compiled seccomp profiles are kept where only the runtime's user can write.
pub(super) fn seccomp_cache() -> Option<std::path::PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/run/runw-seccomp".into());
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("runw-seccomp"))
}
