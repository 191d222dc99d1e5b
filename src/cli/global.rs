//! The flags before the subcommand: [`GlobalArgs`] is what was typed, [`Global`] what it means.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use clap::ValueEnum;

use super::{absolute, usage};
use crate::container::{CgroupManager, Program, Store};
use crate::error::{Result, ResultExt};
use crate::log::{Format, Level, Target};
use crate::{log, ns, trace};

/// The flags as typed.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Keep the state of containers in this folder [default: /run/runw, or $XDG_RUNTIME_DIR/runw if not root]
    #[arg(long, value_name = "DIR")]
    root: Option<OsString>,
    /// Log to this file; also journald:ID, syslog:ID
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    log: String,
    /// Form of log records
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// How much is logged
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    log_level: LogLevel,
    /// The same as --log-level debug
    #[arg(long)]
    debug: bool,
    /// The same as --cgroup-manager systemd: cgroupsPath is SLICE:PREFIX:NAME
    #[arg(long)]
    systemd_cgroup: bool,
    /// Who makes the container's cgroup
    #[arg(long, value_name = "MANAGER")]
    cgroup_manager: Option<Manager>,
    /// Go on where cgroups cannot be set up for want of permission: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = rootless, hide_possible_values = true)]
    rootless: Rootless,
    /// Write the phases of the command to this file, in the format of chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<OsString>,
    /// Print the version
    #[arg(short = 'v', long, short_alias = 'V')]
    pub version: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    #[value(alias = "info")]
    Warning,
    Debug,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Manager {
    Cgroupfs,
    Systemd,
    Disabled,
}

#[derive(Debug, Clone, Copy)]
struct Rootless(Option<bool>);

fn rootless(text: &str) -> Result<Rootless, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "auto" => Ok(Rootless(None)),
        "true" | "t" | "1" => Ok(Rootless(Some(true))),
        "false" | "f" | "0" => Ok(Rootless(Some(false))),
        _ => Err("expected true, false or auto".to_owned()),
    }
}

/// What the flags mean.
#[derive(Debug)]
pub struct Global {
    /// Which binary was called.
    pub program: Program,
    /// Where state folders are kept: absolute, clean, never `/`.
    pub root: PathBuf,
    /// `root` was not given.
    pub root_is_default: bool,
    /// Who makes cgroups.
    pub manager: CgroupManager,
    /// `None` is auto.
    pub rootless: Option<bool>,
    log: Target,
    log_format: Format,
    log_level: Level,
    trace: Option<PathBuf>,
}

impl Global {
    /// Interprets the flags.
    ///
    /// # Errors
    /// `--root` is empty or comes to `/`.
    pub fn new(args: GlobalArgs, program: Program) -> Result<Global> {
        Ok(Global {
            program,
            root_is_default: args.root.is_none(),
            root: match args.root {
                Some(root) => given_root(&root)?,
                None => default_root(),
            },
            manager: match (args.cgroup_manager, args.systemd_cgroup) {
                (Some(Manager::Cgroupfs), _) | (None, false) => CgroupManager::Cgroupfs,
                (Some(Manager::Systemd), _) | (None, true) => CgroupManager::Systemd,
                (Some(Manager::Disabled), _) => CgroupManager::Disabled,
            },
            rootless: args.rootless.0,
            log: Target::parse(&args.log),
            log_format: match args.log_format {
                LogFormat::Text => Format::Text,
                LogFormat::Json => Format::Json,
            },
            log_level: match args.log_level {
                _ if args.debug => Level::Debug,
                LogLevel::Error => Level::Error,
                LogLevel::Warning => Level::Warning,
                LogLevel::Debug => Level::Debug,
            },
            trace: absolute(args.trace)?,
        })
    }

    /// Opens the log that the flags name.
    pub fn open_log(&self) -> Result<()> {
        log::open(&self.log, self.log_format, self.log_level)
    }

    /// Opens the trace if the flags name one.
    pub fn open_trace(&self, command: &str) -> Result<()> {
        match &self.trace {
            Some(path) => trace::open(path, &format!("runw {command}")),
            None => Ok(()),
        }
    }

    /// Makes the root folder if it is the default one of somebody who is not root, and keeps it from being tidied away.
    ///
    /// # Errors
    /// `$XDG_RUNTIME_DIR` cannot be written to.
    pub fn make_default_root(&self) -> Result<()> {
        if !self.root_is_default || self.root == Path::new(ROOT) {
            return Ok(());
        }
        Store::make(&self.root)?;
        // The XDG base directory specification: only what is sticky escapes a periodic clean-up.
        std::fs::set_permissions(&self.root, Permissions::from_mode(0o1700))
            .call(|| format!("chmod({:?}, 01700)", self.root))
    }
}

/// The default of `--root` for root.
const ROOT: &str = "/run/runw";

/// `--root` as given, made absolute and clean.
fn given_root(root: &OsStr) -> Result<PathBuf> {
    let problem = |text: &str| {
        usage(format!(
            "--root argument should not be {text}; name a folder of its own"
        ))
    };
    if root.is_empty() {
        return Err(problem("empty"));
    }
    let absolute = std::path::absolute(root).call(|| format!("resolve --root {root:?}"))?;
    match clean(&absolute) {
        root if root == Path::new("/") => Err(problem("set to /")),
        root => Ok(root),
    }
}

/// An absolute path without `.`, `..` and double slashes; symbolic links are not looked at.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => (),
        }
    }
    clean
}

fn default_root() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() && is_rootless() => Path::new(&dir).join("runw"),
        _ => ROOT.into(),
    }
}

/// Not root, or root only in a user namespace and not calling himself so.
fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root()
        || (std::env::var_os("USER").is_none_or(|user| user != "root") && ns::in_user_namespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(words: &[&str]) -> Result<Global> {
        let command = GlobalArgs::augment_args(Command::new("runw").no_binary_name(true).args_override_self(true));
        let matches = command.try_get_matches_from(words).unwrap();
        Global::new(GlobalArgs::from_arg_matches(&matches).unwrap(), Program::Runw)
    }

    #[test]
    fn the_calls_of_engines() {
        let containerd = parse(&[
            "--root",
            "/run/x/../y/",
            "--log",
            "/b/log.json",
            "--log-format",
            "json",
            "--systemd-cgroup",
        ])
        .unwrap();
        assert_eq!(containerd.root, Path::new("/run/y"));
        assert_eq!(containerd.log, Target::File("/b/log.json".into()));
        assert_eq!(containerd.log_format, Format::Json);
        assert_eq!(containerd.manager, CgroupManager::Systemd);
        let podman = parse(&["--root=/r", "--cgroup-manager", "disabled", "--rootless=true"]).unwrap();
        assert_eq!(podman.manager, CgroupManager::Disabled);
        assert_eq!(podman.rootless, Some(true));
        let twice = parse(&["--root=/a", "--debug", "--root=/b", "--debug", "--log-level=error"]).unwrap();
        assert_eq!(twice.root, Path::new("/b"));
        assert_eq!(twice.log_level, Level::Debug);
    }

    #[test]
    fn a_root_that_comes_to_slash_is_refused() {
        for bad in ["--root=", "--root=/", "--root=//", "--root=/a/..", "--root=/../.."] {
            let error = parse(&[bad]).unwrap_err().to_string();
            assert!(error.contains("--root argument should not be"), "{bad}: {error}");
        }
    }

    #[test]
    fn rootless_takes_the_words_of_go() {
        assert!(matches!(rootless("FALSE"), Ok(Rootless(Some(false)))));
        assert!(matches!(rootless("1"), Ok(Rootless(Some(true)))));
        assert!(matches!(rootless(""), Ok(Rootless(None))));
        assert!(rootless("maybe").is_err());
    }
}
