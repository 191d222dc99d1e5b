//! `exec`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::aot::AotArgs;
use super::global::Global;
use super::{Result, Verb, absolute, usage};
use crate::config::{ExecOverrides, capabilities};
use crate::container::{self, ExecOptions, NewProcess};
use crate::log;

/// The arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Name of the container, then the program to run in it and its arguments; all flags come before
    #[arg(value_name = "ID COMMAND", required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
    /// Unix socket that gets the terminal's pty
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<OsString>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<OsString>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User and group by number
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// One more group by number; may be repeated
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// Run what this file describes, a process object as in config.json, instead of a command
    #[arg(short, long, value_name = "FILE")]
    process: Option<OsString>,
    /// Return when the process runs
    #[arg(short, long)]
    detach: bool,
    /// File for the pid of the process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<OsString>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Let the process gain no privileges by execve
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability to the effective, permitted and bounding sets; may be repeated
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// Pass this many file descriptors above stderr to the process
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Enter a cgroup below the container's; on cgroup v1 CONTROLLER[,CONTROLLER]:PATH, which may be repeated
    #[arg(long, value_name = "[CTRL:]PATH")]
    cgroup: Vec<String>,
    /// Start it in a paused container, too; it runs when that is resumed
    #[arg(long)]
    ignore_paused: bool,
    #[command(flatten)]
    aot: AotArgs,
}

/// Numbers only, each of them whole (CVE-2026-30892).
fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u32>().map_err(|e| format!("{text:?}: {e}")),
        false => Err(format!("{text:?} is not a number")),
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

impl Verb for Exec {
    fn run(self, global: &Global) -> Result<u8> {
        let mut words = self.words.into_iter().map(text);
        let id = words.next().transpose()?.unwrap_or_default().parse()?;
        let args = words.collect::<Result<Vec<_>>>()?;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let process = match absolute(self.process)? {
            Some(file) => NewProcess::Document(file),
            None => NewProcess::Flags(ExecOverrides {
                args,
                cwd: self.cwd.filter(|cwd| !cwd.as_os_str().is_empty()),
                env: self.env,
                terminal: self.tty,
                user: self.user,
                additional_gids: self.additional_gids,
                selinux_label: filled(self.process_label),
                apparmor_profile: filled(self.apparmor),
                no_new_privileges: self.no_new_privs,
                capabilities: mask(&self.cap),
            }),
        };
        container::exec(&ExecOptions {
            id,
            root: global.root.clone(),
            program: global.program,
            process,
            console_socket: absolute(self.console_socket)?,
            pidfd_socket: absolute(self.pidfd_socket)?,
            pid_file: absolute(self.pid_file)?,
            detach: self.detach,
            preserve_fds: self.preserve_fds,
            cgroup: self.cgroup,
            ignore_paused: self.ignore_paused,
            aot: self.aot.wishes()?,
        })
    }
}

fn text(word: OsString) -> Result<String> {
    word.into_string()
        .map_err(|word| usage(format!("{word:?} is not valid UTF-8")))
}

/// The bits of capabilities by name; unknown ones are passed over with a warning, as in config.json.
fn mask(names: &[String]) -> u64 {
    names.iter().fold(0, |mask, name| match capabilities::bit(name) {
        Some(bit) => mask | bit,
        None => {
            log::warn(format!("--cap: ignoring unknown capability {name:?}"));
            mask
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(words: &[&str]) -> Exec {
        let command = Exec::augment_args(Command::new("exec").no_binary_name(true).args_override_self(true));
        Exec::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    #[test]
    fn flags_end_at_the_first_word() {
        let exec = parse(&["-t", "-e", "A=1", "ctr", "sh", "-c", "x", "--tty", "--", "-d"]);
        assert_eq!(exec.words, ["ctr", "sh", "-c", "x", "--tty", "--", "-d"]);
        assert!(exec.tty && !exec.detach);
        assert_eq!(parse(&["ctr", "-d", "ls"]).words, ["ctr", "-d", "ls"]);
    }

    #[test]
    fn lists_grow_and_the_rest_is_overridden() {
        let exec = parse(&[
            "-d",
            "-d",
            "-e",
            "A=1",
            "--env=B=2",
            "-c",
            "CAP_KILL",
            "--cap",
            "net_admin",
            "-g",
            "1",
            "-g2,3",
            "-u",
            "1",
            "-u",
            "2:3",
            "--cgroup",
            "cpu,cpuacct:a",
            "--cgroup=memory:b",
            "ctr",
            "x",
        ]);
        assert_eq!(exec.env, ["A=1", "B=2"]);
        assert_eq!(exec.cgroup, ["cpu,cpuacct:a", "memory:b"]);
        assert_eq!(exec.additional_gids, [1, 2, 3]);
        assert_eq!(exec.user, Some((2, Some(3))));
        assert_eq!(mask(&exec.cap), 1 << 5 | 1 << 12);
    }

    #[test]
    fn a_user_is_a_number_from_end_to_end() {
        assert_eq!(user("0"), Ok((0, None)));
        assert_eq!(user("4294967294:1"), Ok((4_294_967_294, Some(1))));
        for bad in [
            "",
            "-1",
            "+1",
            "1x",
            "root",
            "1:",
            ":1",
            "1:2:3",
            " 1",
            "0x10",
            "4294967296",
        ] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }
}
