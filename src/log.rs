//! The runtime's log: what engines read when a command fails.
//!
//! Engines differ in what they read, so an error is written twice: one record to the `--log` file and one plain line to
//! stderr. containerd takes the last record of level `error` in the file; Podman takes the whole file as one record; conmon
//! reads stderr alone. Hence the rule of this module: **in the usual level a failed command writes exactly one record**.
//! Warnings are therefore held back until the command has succeeded, and dropped if it fails. Under `--debug` (or
//! `--log-level debug`) everything is written at once. Where no log was named nobody counts: then stderr has the warnings in
//! front of the failure, and each line says which it is.
//!
//! stderr of `create`, `run` and `exec` is the container's own stream: where a log was named, nothing but a failure goes there.
//! Without one, warnings do, as with runc: lines for a person, records where it is no terminal.
//!
//! A process cloned from this one may go on writing: each record is one `write` to a file opened for appending.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use crate::error::{Error, Result, ResultExt};

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Errors; warnings of a command that succeeded.
    #[default]
    Error,
    /// Warnings as they come.
    Warning,
    /// Everything.
    Debug,
}

impl Level {
    /// The name logrus gives the level: engines compare it exactly.
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Debug => "debug",
        }
    }

    /// The priority of syslog(3).
    fn priority(self) -> u8 {
        match self {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Debug => 7,
        }
    }
}

/// The form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// Nowhere but stderr.
    #[default]
    Stderr,
    /// Appended to a file.
    File(PathBuf),
    /// systemd's journal, under this identifier (crun's `journald:ID`).
    Journal(String),
    /// The system log, under this identifier (crun's `syslog:ID`).
    Syslog(String),
}

impl Target {
    /// Reads the value of `--log`: a path, or one of crun's `file:PATH`, `journald:ID`, `syslog:ID`.
    pub fn parse(text: &str) -> Target {
        match text.split_once(':') {
            Some(("file", path)) => Target::File(path.into()),
            Some(("journald", id)) => Target::Journal(id.to_owned()),
            Some(("syslog", id)) => Target::Syslog(id.to_owned()),
            _ if text.is_empty() => Target::Stderr,
            _ => Target::File(text.into()),
        }
    }
}

/// Socket of the journal's native protocol, see <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Socket of the system log, syslog(3).
const SYSLOG_SOCKET: &str = "/dev/log";

enum Sink {
    File(File),
    Journal(UnixDatagram, String),
    Syslog(UnixDatagram, String),
}

struct Log {
    sink: Option<Sink>,
    format: Format,
    level: Level,
    held: Mutex<Vec<String>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log for the life of the process; only the first call counts.
///
/// # Errors
/// The file cannot be opened for appending (it is made with mode 0644 if missing), or the socket is not there.
pub fn open(target: &Target, format: Format, level: Level) -> Result<()> {
    let sink = match target {
        Target::Stderr => None,
        Target::File(path) => Some(Sink::File(append_to(path)?)),
        Target::Journal(id) => Some(Sink::Journal(connect(JOURNAL_SOCKET)?, id.clone())),
        Target::Syslog(id) => Some(Sink::Syslog(connect(SYSLOG_SOCKET)?, id.clone())),
    };
    let held = Mutex::default();
    LOG.get_or_init(|| Log {
        sink,
        format,
        level,
        held,
    });
    Ok(())
}

/// Reports the failure of the command: one record in the log and one plain line on stderr; without a log, stderr alone.
pub fn error(error: &Error) {
    let text = error.to_string();
    match LOG.get() {
        Some(log) if log.sink.is_some() => {
            log.write(Level::Error, &text);
            to_stderr("", &text);
        }
        other => {
            // What was odd about the config may be why it failed.
            other
                .map(Log::release)
                .unwrap_or_default()
                .iter()
                .for_each(|w| to_stderr("warning: ", w));
            // runc's init says itself that it cannot execute the program, and nothing else.
            let bare = error.is_refused_program() && text == error.kind().to_string();
            to_stderr(if bare { "" } else { "error: " }, &text);
        }
    }
}

/// Notes an oddity that does not stop the command; see the module for when it is written.
pub fn warn(text: impl Into<String>) {
    let text = text.into();
    match LOG.get() {
        Some(log) if log.level >= Level::Warning => log.show(Level::Warning, &text),
        Some(log) => {
            if let Ok(mut held) = log.held.lock() {
                held.push(text);
            }
        }
        None => (),
    }
}

/// Notes what else went wrong while a failure was being dealt with: a line on stderr before that of the failure. The log gets
/// it only if more than the one record is wanted.
pub fn aside(text: &str) {
    if let Some(log) = LOG.get().filter(|log| log.level >= Level::Warning) {
        log.write(Level::Warning, text);
    }
    to_stderr("warning: ", text);
}

/// Notes a step; `text` is built only if it is going to be written.
pub fn debug<T: AsRef<str>>(text: impl FnOnce() -> T) {
    if let Some(log) = LOG.get().filter(|log| log.level >= Level::Debug) {
        log.show(Level::Debug, text().as_ref());
    }
}

/// The command has succeeded: writes the warnings held back so far.
pub fn flush() {
    let Some(log) = LOG.get() else { return };
    for text in log.release() {
        log.show(Level::Warning, &text);
    }
}

impl Log {
    /// The warnings held back so far.
    fn release(&self) -> Vec<String> {
        let held = self.held.lock().map(|mut held| std::mem::take(&mut *held));
        held.unwrap_or_default()
    }

    /// To the log if there is one, else to stderr.
    fn show(&self, level: Level, text: &str) {
        match self.sink {
            Some(_) => self.write(level, text),
            None => self.plainly(level, text),
        }
    }

    /// A line on stderr, for a person; a record for everybody else.
    fn plainly(&self, level: Level, text: &str) {
        match std::io::stderr().is_terminal() {
            true => to_stderr(&format!("{}: ", level.name()), text),
            false => {
                let record = record(self.format, level, &crate::clock::now(), text);
                let _ = std::io::stderr().write_all(record.as_bytes());
            }
        }
    }

    /// Writes a record to the log if there is one. A log that cannot be written must not fail the command.
    fn write(&self, level: Level, text: &str) {
        let _ = match &self.sink {
            Some(Sink::File(file)) => {
                let record = record(self.format, level, &crate::clock::now(), text);
                (&*file).write_all(record.as_bytes())
            }
            Some(Sink::Journal(socket, id)) => socket.send(&journal_entry(level, id, text)).map(drop),
            Some(Sink::Syslog(socket, id)) => {
                let message = format!("<{}>{id}: {text}", 8 + level.priority());
                socket.send(message.as_bytes()).map(drop)
            }
            None => Ok(()),
        };
    }
}

/// One plain line. The program's name stands in front only for a person: engines put the text into messages of their own.
fn to_stderr(prefix: &str, text: &str) {
    let mut stderr = std::io::stderr();
    let program = if stderr.is_terminal() { "runw: " } else { "" };
    let _ = stderr.write_all(format!("{program}{prefix}{text}\n").as_bytes());
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .call(|| format!("open log {path:?}"))
}

fn connect(path: &str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().call(|| "socket(AF_UNIX, SOCK_DGRAM)")?;
    socket.connect(path).call(|| format!("connect({path:?})"))?;
    Ok(socket)
}

/// One line, newline included.
fn record(format: Format, level: Level, time: &str, text: &str) -> String {
    let level = level.name();
    // serde_json cannot fail on a string.
    let quoted = serde_json::Value::from(text).to_string();
    match format {
        Format::Json => format!("{{\"level\":\"{level}\",\"msg\":{quoted},\"time\":\"{time}\"}}\n"),
        Format::Text => format!("time=\"{time}\" level={level} msg={quoted}\n"),
    }
}

/// The fields of a journal entry; a value with a newline would need another form, so newlines become blanks.
fn journal_entry(level: Level, id: &str, text: &str) -> Vec<u8> {
    let text = text.replace('\n', " ");
    format!(
        "MESSAGE={text}\nPRIORITY={}\nSYSLOG_IDENTIFIER={id}\n",
        level.priority()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-08-30T12:00:00.000000001Z";

    #[test]
    fn json_record_has_the_keys_of_logrus() {
        let line = record(Format::Json, Level::Error, TIME, "exec: \"foo\": not\nfound");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "exec: \"foo\": not\nfound");
        assert_eq!(value["time"], TIME);
        assert_eq!(line.matches('\n').count(), 1, "one line per record");
    }

    #[test]
    fn text_record_is_one_line() {
        assert_eq!(
            record(Format::Text, Level::Warning, TIME, "a \"b\"\nc"),
            format!("time=\"{TIME}\" level=warning msg=\"a \\\"b\\\"\\nc\"\n")
        );
    }

    #[test]
    fn targets_of_crun() {
        assert_eq!(Target::parse("/x/log:1"), Target::File("/x/log:1".into()));
        assert_eq!(Target::parse("file:/x"), Target::File("/x".into()));
        assert_eq!(Target::parse("journald:abc"), Target::Journal("abc".into()));
        assert_eq!(Target::parse("syslog:abc"), Target::Syslog("abc".into()));
        assert_eq!(Target::parse(""), Target::Stderr);
    }

    #[test]
    fn journal_entries_keep_to_one_line_a_field() {
        let entry = String::from_utf8(journal_entry(Level::Error, "ctr", "a\nb")).unwrap();
        assert_eq!(entry, "MESSAGE=a b\nPRIORITY=3\nSYSLOG_IDENTIFIER=ctr\n");
    }
}
