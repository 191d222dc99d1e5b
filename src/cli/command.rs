//! From words to a command.
//!
//! Parsing is part of every start, so it is done in two steps: the flags in front, then the arguments of the one command that
//! was named. The parser of all commands together is only built to show help, completions and manual pages. Besides, errors
//! in the second step reach the log that the first one named.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::global::{Global, GlobalArgs};
use super::{EXEC_FAILED, FAILED, Program, Result, Verb, usage, words};
use super::{
    check, checkpoint, complete, create, delete, events, exec, features, kill, list, man, mounts, pause, ps, restore,
    run, spec, start, state, update, wasm,
};

/// One subcommand.
pub struct Entry {
    /// The word that calls it.
    pub name: &'static str,
    /// What it does, in half a line.
    about: &'static str,
    hidden: bool,
    augment: fn(Command) -> Command,
    /// The exit code when it fails.
    pub failed: u8,
    /// Reads its arguments and carries it out.
    pub run: fn(&ArgMatches, &Global) -> Result<u8>,
}

const fn entry<V: Verb>(name: &'static str, about: &'static str) -> Entry {
    Entry {
        name,
        about,
        hidden: false,
        failed: FAILED,
        augment: V::augment_args,
        run: |matches, global| V::from_arg_matches(matches).map_err(|e| complaint(&e))?.run(global),
    }
}

const fn hidden<V: Verb>(name: &'static str, about: &'static str) -> Entry {
    Entry {
        hidden: true,
        ..entry::<V>(name, about)
    }
}

/// All subcommands, in the order of a container's life.
const ENTRIES: &[Entry] = &[
    entry::<create::Create>("create", "Create a container from a bundle; it waits for start"),
    entry::<start::Start>("start", "Start the program of a created container"),
    entry::<run::Run>("run", "Create a container, start it and wait for its end"),
    Entry {
        failed: EXEC_FAILED,
        ..entry::<exec::Exec>("exec", "Start another process in a running container")
    },
    entry::<state::State>("state", "Print the state of a container as JSON"),
    entry::<list::List>("list", "List containers"),
    entry::<ps::Ps>("ps", "List the processes of a container"),
    entry::<events::Events>("events", "Print what a container uses, and when it runs out of memory"),
    entry::<update::Update>("update", "Change the limits of a container"),
    entry::<mounts::Mounts>("mounts", "Add mounts to a running container, or remove them"),
    entry::<pause::Pause>("pause", "Stop all processes of a container until resume"),
    entry::<pause::Resume>("resume", "Let the processes of a paused container run again"),
    entry::<kill::Kill>("kill", "Send a signal to the first process of a container"),
    entry::<delete::Delete>("delete", "Delete a container that has stopped"),
    entry::<checkpoint::Checkpoint>("checkpoint", "Write a running container to files"),
    entry::<restore::Restore>(
        "restore",
        "Create a container from the files of a checkpoint; it runs on",
    ),
    entry::<spec::Spec>("spec", "Write a config.json to start from"),
    entry::<check::Check>("check", "Tell what on this host, or in a bundle, would fail"),
    entry::<features::Features>("features", "Print what this runtime can do as JSON"),
    entry::<wasm::Wasm>("wasm", "Look after the native code of WebAssembly modules"),
    hidden::<complete::Complete>("completion", "Print completions for a shell"),
    hidden::<man::Man>("man", "Write manual pages into a folder"),
];

/// What the words ask for.
pub enum Parsed {
    /// To carry a command out.
    Verb {
        /// The flags in front.
        global: Global,
        /// The command.
        entry: &'static Entry,
        /// Its arguments.
        matches: ArgMatches,
    },
    /// To print a text, such as help.
    Text(String),
}

/// Parses a command line, program name included.
///
/// # Errors
/// It makes no sense; the error is one line. If the flags in front make sense, the log they name is open by then.
pub fn parse(program: Program, words: Vec<OsString>) -> Result<Parsed> {
    let name = program.name();
    let front = base(name).allow_external_subcommands(true);
    let matches = match words::parse(front, words.clone()) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => return Ok(Parsed::Text(help(name))),
        Err(e) => return Err(complaint(&e)),
    };
    let args = GlobalArgs::from_arg_matches(&matches).map_err(|e| complaint(&e))?;
    if args.version {
        return Ok(Parsed::Text(super::version::text(name)));
    }
    let global = Global::new(args, program)?;
    let Some((verb, rest)) = matches.subcommand() else {
        return Err(usage(format!("no command given; see {name} --help")));
    };
    let Some(entry) = ENTRIES.iter().find(|entry| entry.name == verb) else {
        return other(name, verb, words);
    };
    let rest = rest.get_many::<OsString>("").into_iter().flatten().cloned();
    let words = std::iter::once(verb.into()).chain(rest).collect();
    match words::parse(entry.command(name), words) {
        Ok(matches) => Ok(Parsed::Verb { global, entry, matches }),
        Err(e) if !e.use_stderr() => Ok(Parsed::Text(e.render().to_string())),
        Err(e) => {
            global.open_log()?;
            Err(complaint(&e))
        }
    }
}

/// A word that is no command: `help`, or a mistake.
fn other(name: &'static str, verb: &str, words: Vec<OsString>) -> Result<Parsed> {
    if verb != "help" {
        return Err(usage(format!(
            "No help topic for '{verb}': {verb:?} is not a command; see {name} --help"
        )));
    }
    match all(name).try_get_matches_from(words) {
        Err(e) if !e.use_stderr() => Ok(Parsed::Text(e.render().to_string())),
        Err(e) => Err(complaint(&e)),
        Ok(_) => Ok(Parsed::Text(help(name))),
    }
}

/// The name comes first, under the heading that runc's help has: scripts look for it there.
const HELP: &str = "NAME:\n   {name} - {about}\n\n{usage-heading} {usage}\n\n{all-args}";

impl Entry {
    fn command(&self, program: &str) -> Command {
        let command = Command::new(self.name)
            .bin_name(format!("{program} {}", self.name))
            .display_name(format!("{program} {}", self.name))
            .hide(self.hidden)
            .help_template(HELP)
            .args_override_self(true);
        // The structs' own doc comments are meant for readers of the source.
        (self.augment)(command).about(self.about)
    }
}

fn base(name: &'static str) -> Command {
    GlobalArgs::augment_args(Command::new(name).args_override_self(true))
        .help_template(HELP)
        .about("An OCI container runtime for native and WebAssembly containers")
}

/// The parser of all commands together.
pub fn all(name: &'static str) -> Command {
    base(name)
        .subcommand_required(true)
        .subcommands(ENTRIES.iter().map(|entry| entry.command(name)))
}

fn help(name: &'static str) -> String {
    all(name).render_help().to_string()
}

/// A complaint of clap as one line: what is wrong, without the usage that follows it.
fn complaint(error: &clap::Error) -> crate::Error {
    if let Some(option) = without_value(error) {
        return usage(format!("flag needs an argument: {option}; see --help"));
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(rest) = line.strip_prefix("error: ") {
        line = rest.to_owned();
    }
    usage(format!("{line}; see --help"))
}

/// The option that ends the line although it takes a value. Engines find out by the words of Go's flag package whether an
/// option is known.
fn without_value(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if error.kind() != ErrorKind::InvalidValue || !text(ContextKind::InvalidValue)?.is_empty() {
        return None;
    }
    text(ContextKind::InvalidArg)?.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        std::iter::once("runw")
            .chain(text.split_whitespace())
            .map(OsString::from)
            .collect()
    }

    fn verb(text: &str) -> &'static str {
        match parse(Program::Runw, words(text)) {
            Ok(Parsed::Verb { entry, .. }) => entry.name,
            Ok(Parsed::Text(text)) => panic!("{text}"),
            Err(e) => panic!("{text}: {e}"),
        }
    }

    fn refusal(text: &str) -> String {
        match parse(Program::Runw, words(text)) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("{text} was accepted"),
        }
    }

    #[test]
    fn clap_finds_no_fault_with_the_commands() {
        all("runw").debug_assert();
    }

    #[test]
    fn calls_of_engines_are_understood() {
        for (call, name) in [
            (
                "--root /r --log /dev/null --log-format json create --bundle /b --pid-file /p --no-pivot x",
                "create",
            ),
            ("--rootless=true run -d -b /b x", "run"),
            ("kill --all x 9", "kill"),
            ("kill x SIGTERM --all", "kill"),
            ("delete --force x", "delete"),
            ("delete x --force", "delete"),
            ("run -no-subreaper x", "run"),
            (
                "checkpoint --image-path /i --work-path /w --parent-path ../1 --tcp-established --ext-unix-sk --shell-job \
                 --file-locks --empty-ns network --empty-ns network --leave-running --status-fd -1 x",
                "checkpoint",
            ),
            (
                "restore --image-path /i --work-path /w --detach --pid-file /p --no-pivot -no-subreaper --bundle /b x",
                "restore",
            ),
            ("run -bundle /b x", "run"),
            ("-root /r list -q", "list"),
            (
                "create x --bundle=/b --preserve-fds 3 --config c.json --console-socket=",
                "create",
            ),
        ] {
            assert_eq!(verb(call), name, "{call}");
        }
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (call, words) in [
            ("", "no command given"),
            ("crate x", "\"crate\" is not a command"),
            ("create", "required arguments were not provided: <ID>"),
            ("create x y", "unexpected argument 'y'"),
            ("start --fast x", "unexpected argument '--fast'"),
            (
                "--log-format yaml list",
                "invalid value 'yaml' for '--log-format <FORMAT>' [possible values: text, json]",
            ),
            ("--rootless=maybe list", "expected true, false or auto"),
            ("list -f xml", "invalid value 'xml'"),
            ("create --preserve-fds many x", "invalid value 'many'"),
            (
                "restore --lsm-mount-context",
                "flag needs an argument: --lsm-mount-context",
            ),
            ("restore --manage-cgroups-mode all x", "invalid value 'all'"),
            ("checkpoint --empty-ns pid x", "invalid value 'pid'"),
        ] {
            let text = refusal(call);
            assert!(text.contains(words), "{call}: {text}");
            assert!(!text.contains('\n') && !text.contains("Usage"), "{call}: {text}");
        }
    }
}
