//! `restore`: has CRIU make a container from files.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::checkpoint::{config_file, make_folder, open_folder, refuse_wasm, warn_rootless};
use super::create::{self, Attempt, seccomp_cache};
use super::external::{self, External};
use super::record::{Init, PayloadKind};
use super::terminal::Terminal;
use super::{CreateOptions, Locked, Record, RunOptions, Store, exec, run, start, status, tell};
use crate::config::{Config, NamespaceKind};
use crate::criu::{self, Choices, Notification, Options, Request, Service, Start};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::launch::Launched;
use crate::payload::{self, Choice};
use crate::privs::rdt::Resctrl;
use crate::privs::seccomp;
use crate::sys::process;
use crate::tty::{self, Relay, Signals};
use crate::{hooks, log, root, trace};

const LOG: &str = "restore.log";

/// How to restore a container.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// As for `create`.
    pub create: CreateOptions,
    /// What is done once it runs.
    pub run: RunOptions,
    /// The folder of the images, absolute.
    pub image: PathBuf,
    /// The folder for the log, absolute; that of the images if there is none.
    pub work: Option<PathBuf>,
    /// What is CRIU's to do or not.
    pub choices: Choices,
}

/// Restores a container and answers its exit code; detached: 0 once it runs.
///
/// # Errors
/// It is a WebAssembly container, or CRIU cannot: then nothing of it is left.
pub fn restore(options: &RestoreOptions) -> Result<u8> {
    let detach = options.run.detach;
    if !detach && !options.run.no_subreaper {
        process::become_subreaper()?;
    }
    let signals = (!detach).then(Signals::block).transpose()?;
    let (bundle, config) = create::read(&options.create)?;
    if let Choice::Wasm(_) = payload::choose(&config, options.create.program == super::Program::RunwWasm)? {
        refuse_wasm(PayloadKind::Wasm, "restore")?;
    }
    let wanted = config.process.as_ref().is_some_and(|process| process.terminal);
    let terminal = Terminal::decide(wanted, options.create.console_socket.as_deref(), detach)?;
    warn_rootless("restore");
    criu::require()?;
    let locked = Store::make(&options.create.root)?.create(&options.create.id)?;
    let attempt = Attempt {
        options: &options.create,
        bundle: &bundle,
        locked: &locked,
        choice: &Choice::Linux,
    };
    let restored = Restoration {
        options,
        attempt: &attempt,
        config: &config,
        terminal,
    }
    .make();
    match restored {
        Ok((record, launched, master)) => {
            drop(locked);
            match signals {
                None => Ok(0),
                Some(signals) => {
                    let relay = master.map(Relay::new).transpose()?;
                    run::attend(&options.create, options.run, &record, launched, relay, &signals)
                }
            }
        }
        Err(e) => {
            if let Err(left) = super::delete::roll_back(locked) {
                log::aside(&format!("after the failed restore: {left}"));
            }
            Err(e)
        }
    }
}

/// One attempt to restore a container into its new state folder.
struct Restoration<'a> {
    options: &'a RestoreOptions,
    attempt: &'a Attempt<'a>,
    config: &'a Config,
    terminal: Terminal,
}

impl Restoration<'_> {
    fn make(self) -> Result<(Record, Launched, Option<OwnedFd>)> {
        let config = self.config;
        let mut cgroup = self.attempt.locate_cgroup(config)?;
        let mut record = self.attempt.record(config, &cgroup)?;
        // Saved before anything exists that a later delete would have to know.
        self.locked().save(&record)?;
        root::make_mountpoints(&config.rootfs, &config.mounts)?;
        cgroup.prepare(&config.resources)?;
        record.cgroup = cgroup;
        let (pid, master) = self.call(&mut record).wrap(|| "restore")?;
        let launched = Launched {
            pid,
            pidfd: process::pidfd_open(pid)?,
        };
        tell::tell(
            &launched,
            self.attempt.pidfd_socket(config),
            self.options.create.pid_file.as_deref(),
        )?;
        self.locked().commit()?;
        Ok((record, launched, master))
    }

    /// What `exec` will need, as `create` keeps it.
    fn keep_for_exec(&self, pid: i32) -> Result<()> {
        let Some(mut kept) = exec::Kept::of(self.config, !self.options.create.no_new_keyring) else {
            return Ok(());
        };
        // CRIU restores into a time namespace, so that clocks go on from where they were.
        let time = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/time")).ok();
        if time(&pid.to_string()) != time("self") {
            kept.add_namespace(NamespaceKind::Time);
        }
        let filter = seccomp::of(self.config, seccomp_cache().as_deref())?;
        kept.save(self.locked(), filter.as_ref())
    }

    fn locked(&self) -> &Locked {
        self.attempt.locked
    }

    /// Has CRIU do it; answers init's pid, and the terminal's master if it is to be kept.
    fn call(&self, record: &mut Record) -> Result<(Pid, Option<OwnedFd>)> {
        let _span = trace::span("criu restore");
        let images = &self.options.image;
        let (names, namespaces): (Vec<_>, Vec<_>) = external::open_namespaces(self.config)?.into_iter().unzip();
        let rootfs = self.config.rootfs.canonicalize();
        let rootfs = rootfs.call(|| format!("resolve {:?}", self.config.rootfs))?;
        let (mut request, service) = root::on_own_mount(&rootfs, || {
            let start = Start {
                streams: true,
                inherits: &namespaces,
            };
            Ok((self.prepare(record, &rootfs)?, Service::start(&start)?))
        })?;
        request.inherit = external::saved_streams(images)?;
        let numbers = namespaces.iter().map(AsRawFd::as_raw_fd);
        request.inherit.extend(names.into_iter().zip(numbers));
        request.root = Some(rootfs);
        let criu = service.pid().ok_or_else(|| Error::message("criu has no pid"))?;
        self.enter_cgroup(record, criu)?;
        request.cgroup_roots = memberships(criu)?;
        let mut master = None;
        let outcome = service.call(&Request::Restore(&request), |told| self.hear(told, record, &mut master));
        let log = self.options.work.as_ref().unwrap_or(images).join(LOG);
        let pid = criu::explain(outcome, &log)?.pid;
        let pid = Pid::from_raw(pid).ok_or_else(|| Error::message("criu named no pid"))?;
        Ok((pid, master))
    }

    /// Makes the cgroup, with CRIU in it, which makes the container's processes there.
    fn enter_cgroup(&self, record: &mut Record, criu: Pid) -> Result<()> {
        let resources = &self.config.resources;
        let there = record.cgroup.adopt(criu, resources)?;
        record.cgroup.limit(resources)?;
        self.locked().save(record)?;
        record.cgroup.join(criu, there)
    }

    fn prepare(&self, record: &Record, rootfs: &Path) -> Result<Options> {
        let mut external_mounts = external::mounts(self.config, &record.cgroup);
        for (name, _) in &mut external_mounts {
            *name = root::settle(rootfs, name)?;
        }
        external_mounts.extend(external::mask(self.config));
        Ok(Options {
            images: Some(open_folder(&self.options.image)?),
            work: self.options.work.as_deref().map(make_folder).transpose()?,
            log_file: LOG,
            config_file: config_file(&self.config.annotations),
            external_mounts,
            join_namespaces: external::other_namespaces(self.config)?,
            empty_namespaces: NamespaceKind::Network.clone_flag(),
            choices: self.options.choices.clone(),
            ..Options::default()
        })
    }

    fn hear(&self, told: Notification<'_>, record: &mut Record, master: &mut Option<OwnedFd>) -> Result<()> {
        match (told.script, told.fd) {
            ("setup-namespaces", _) => self.runtime_hooks(record, told.pid),
            ("post-restore", _) => self.born(record, told.pid),
            ("orphan-pts-master", Some(fd)) => match &self.terminal {
                Terminal::Socket(socket) => tty::send(socket.as_fd(), fd.as_fd(), b"/dev/ptmx"),
                Terminal::Kept => {
                    *master = Some(fd);
                    Ok(())
                }
                Terminal::None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn runtime_hooks(&self, record: &Record, pid: i32) -> Result<()> {
        let state = start::identity(record).state("created", Some(pid))?;
        let setting = hooks::Setting {
            state: &state,
            env: None,
            dir: Some(&record.bundle),
            outlets: &hooks::Outlets::open(&record.annotations)?,
        };
        hooks::run("prestart", &record.hooks.prestart, setting)?;
        hooks::run("createRuntime", &record.hooks.create_runtime, setting)
    }

    /// Init is there, and stands still until this returns.
    fn born(&self, record: &mut Record, pid: i32) -> Result<()> {
        if let Some(rdt) = &self.config.intel_rdt {
            record.intel_rdt = Some(Resctrl::find()?.join(rdt, &record.id.to_string(), pid)?);
        }
        record.init = Init {
            pid,
            start_time: status::start_time(pid).unwrap_or_default(),
        };
        record.external = External::of(self.config, &record.cgroup);
        self.keep_for_exec(pid)?;
        self.locked().save(record)
    }
}

/// The cgroups of a process: controller and path, one entry for each controller.
fn memberships(pid: Pid) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(&path).call(|| format!("read {path:?}"))?;
    Ok(parse_memberships(&text))
}

/// Reads a file such as cgroups(7) describes for `/proc/PID/cgroup`.
fn parse_memberships(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    lines
        .flat_map(|(controllers, path)| controllers.split(',').map(|one| (one.to_owned(), path.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_its_path() {
        let text = "12:name=systemd:/\n3:cpu,cpuacct:/a:b\n0::/user.slice\n";
        let expected = [
            ("name=systemd", "/"),
            ("cpu", "/a:b"),
            ("cpuacct", "/a:b"),
            ("", "/user.slice"),
        ];
        assert_eq!(
            parse_memberships(text),
            expected.map(|(controller, path)| (controller.to_owned(), path.to_owned()))
        );
    }
}
