//! The command line: clap arguments become options, a verb is carried out, its answer is printed.
//!
//! Each command is one short file: what may be typed (a clap struct), and a [`Verb`] that turns it into options, calls the
//! library and prints. [`command`] ties them together, [`global`] holds the flags before the subcommand.

mod aot;
mod check;
mod checkpoint;
mod command;
mod complete;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod global;
mod kill;
mod list;
mod man;
mod mounts;
mod pause;
mod pick;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod version;
mod wasm;
mod words;

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use crate::container::Program;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::payload::{self, twin};
use crate::sys::exe;
use crate::{log, trace};
use command::{Entry, Parsed};
use global::Global;

/// A command: the arguments that may be typed, and what it does with them.
trait Verb: clap::Args {
    /// Carries the command out; answers the exit code.
    fn run(self, global: &Global) -> Result<u8>;
}

/// The exit code of a command that failed (runc's; clap's own would be 2).
const FAILED: u8 = 1;
/// That of `exec`, whose other codes are those of the program.
const EXEC_FAILED: u8 = 255;

/// The entry of both binaries.
pub fn main(program: Program) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let program = called_as(program, words.first());
    let mut failed = FAILED;
    let result = match seal(program, &words).and_then(|()| command::parse(program, words)) {
        Ok(Parsed::Verb { global, entry, matches }) => {
            failed = entry.failed;
            carry_out(&global, entry, &matches)
        }
        Ok(Parsed::Text(text)) => print(&text).map(|()| 0),
        Err(error) => Err(error),
    };
    match result {
        Ok(code) => {
            log::flush();
            ExitCode::from(code)
        }
        Err(error) => {
            log::error(&error);
            ExitCode::from(failed)
        }
    }
}

/// The twin's name is a second name of `runw`: most commands need no engine, so they don't pay for one. Where the twin runs in
/// place of `runw`, it goes by that one's name.
fn called_as(program: Program, argv0: Option<&OsString>) -> Program {
    match argv0.map(Path::new).and_then(Path::file_name) {
        Some(name) if name == twin::NAME => Program::RunwWasm,
        Some(_) => Program::Runw,
        None => program,
    }
}

/// The commands that make processes inside containers must run from an image that those cannot write to.
///
/// It is done before anything else, so that nothing is done twice: the sealed image starts over. A word that only looks like
/// a command, such as a container named `run`, costs half a millisecond. Where it looks as if the twin will be needed, as this
/// program has no engine, it starts right now, sealed: it runs native programs as well. Where there is none, that is told once it is
/// known to be needed.
fn seal(program: Program, words: &[OsString]) -> Result<()> {
    let makes = words.iter().any(|w| w == "create" || w == "run" || w == "--try");
    if !makes && !words.iter().any(|w| w == "exec") {
        return Ok(());
    }
    let takes_all = program == Program::RunwWasm;
    if makes && (takes_all || mentions_wasm(words)) && !payload::wasm::is_here() && twin::locate().is_ok() {
        match twin::start(takes_all)? {}
    }
    exe::seal()
}

/// Whether the bundle's config.json holds the letters `wasm` anywhere: a guess, for speed alone.
fn mentions_wasm(words: &[OsString]) -> bool {
    let mut folder = Path::new(".");
    for (n, word) in words.iter().enumerate() {
        let word = word.as_bytes();
        if word == b"-b" || word == b"--bundle" {
            folder = words.get(n + 1).map_or(folder, Path::new);
        } else if let Some(value) = word.strip_prefix(b"--bundle=") {
            folder = Path::new(OsStr::from_bytes(value));
        }
    }
    let config = folder.join("config.json");
    if !config.is_file() {
        return false;
    }
    let text = std::fs::read(config).unwrap_or_default();
    text.split(|b| *b == b'w').skip(1).any(|rest| rest.starts_with(b"asm"))
}

fn carry_out(global: &Global, entry: &Entry, matches: &clap::ArgMatches) -> Result<u8> {
    global.open_log()?;
    global.open_trace(entry.name)?;
    let _whole = trace::span(entry.name);
    (entry.run)(matches, global)
}

/// Writes to stdout. That nobody reads it any more is no failure.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).call(|| "write(stdout)"),
        _ => Ok(()),
    }
}

/// The value of a path option: absolute from the caller's working directory; an empty one counts as none.
fn absolute(path: Option<OsString>) -> Result<Option<PathBuf>> {
    path.filter(|p| !p.is_empty())
        .map(|p| std::path::absolute(&p).call(|| format!("resolve {p:?}")))
        .transpose()
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(Kind::Usage(text.into()))
}
