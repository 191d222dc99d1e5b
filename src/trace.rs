//! Where start-up time goes: `--trace FILE` writes the phases of a command as Chrome trace events.
//!
//! The file is a JSON array of complete events (`"ph":"X"`, times in microseconds) that `chrome://tracing`, Perfetto and
//! `python3 -m json.tool` read. It is valid after every event: under a lock, an event takes the place of the closing bracket
//! and brings a new one. So parent and init may both write, a killed command leaves a readable file, and a later command
//! (`start` after `create`) given the same file adds to it.
//!
//! Each command is one process of the trace; parent, stage and init are its threads. Times are of CLOCK_REALTIME, the one
//! clock that a time namespace leaves alone.
//!
//! Without `--trace` a [`span`] costs one relaxed load. After [`stop`] nothing is written any more: init calls it before it
//! closes its file descriptors, because the number could soon name another file.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result, ResultExt};

/// The processes of a launch, each a thread of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The runtime command itself.
    Parent = 1,
    /// The process between it and init, where there is one.
    Stage = 2,
    /// The container's first process.
    Init = 3,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Parent => "parent",
            Role::Stage => "stage",
            Role::Init => "init",
        }
    }
}

struct Trace {
    file: File,
    pid: u32,
}

/// How the file ends after every event.
const TAIL: &[u8] = b"\n]\n";

static ON: AtomicBool = AtomicBool::new(false);
static ROLE: AtomicU32 = AtomicU32::new(Role::Parent as u32);
static TRACE: OnceLock<Trace> = OnceLock::new();

/// Starts the trace of this command, named `command`, at the end of `path`.
///
/// # Errors
/// The file cannot be opened, or it has content that is not a trace.
pub fn open(path: &Path, command: &str) -> Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .call(|| format!("open trace {path:?}"))?;
    let length = file.metadata().call(|| format!("stat trace {path:?}"))?.len();
    if length > 0 && !ends_as_trace(&file, length) {
        return Err(Error::message(format!(
            "--trace: {path:?} is not a trace; name a new file"
        )));
    }
    let pid = std::process::id();
    TRACE.get_or_init(|| Trace { file, pid });
    ON.store(true, Relaxed);
    name("process_name", command);
    enter(Role::Parent);
    Ok(())
}

/// Says which process of the launch writes from now on; to be called once in each, after the clone.
pub fn enter(role: Role) {
    ROLE.store(role as u32, Relaxed);
    name("thread_name", role.name());
}

/// Ends the trace in this process.
pub fn stop() {
    ON.store(false, Relaxed);
}

/// Whether a trace is being written.
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Begins a phase that lasts as long as the answer lives.
#[must_use = "the phase ends when the span is dropped"]
pub fn span(name: impl Into<Cow<'static, str>>) -> Span {
    Span(is_on().then(|| (name.into(), now())))
}

/// Like [`span`], for a name that is dear to build.
#[must_use = "the phase ends when the span is dropped"]
pub fn span_with(name: impl FnOnce() -> String) -> Span {
    Span(is_on().then(|| (name().into(), now())))
}

/// A point in time.
pub fn instant(name: &str) {
    if is_on() {
        append(&event(name, "i", now(), ",\"s\":\"t\""));
    }
}

/// A phase under way; see [`span`].
pub struct Span(Option<(Cow<'static, str>, Duration)>);

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((name, began)) = self.0.take()
            && is_on()
        {
            let duration = now().saturating_sub(began);
            append(&event(&name, "X", began, &format!(",\"dur\":{}", micros(duration))));
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Microseconds with three decimals.
fn micros(d: Duration) -> String {
    format!("{}.{:03}", d.as_micros(), d.subsec_nanos() % 1000)
}

/// A metadata event that names a process or a thread of the trace.
fn name(what: &str, value: &str) {
    if is_on() {
        let args = format!(",\"args\":{{\"name\":{}}}", serde_json::Value::from(value));
        append(&event(what, "M", now(), &args));
    }
}

/// One event as JSON, `more` being further members.
fn event(name: &str, phase: &str, at: Duration, more: &str) -> String {
    let pid = TRACE.get().map_or(0, |t| t.pid);
    let tid = ROLE.load(Relaxed);
    let name = serde_json::Value::from(name);
    let at = micros(at);
    format!("{{\"name\":{name},\"cat\":\"runw\",\"ph\":\"{phase}\",\"ts\":{at},\"pid\":{pid},\"tid\":{tid}{more}}}")
}

/// Puts an event at the end of the array. A trace that cannot be written does not fail the command.
fn append(event: &str) {
    let Some(trace) = TRACE.get() else { return };
    // A lock of fcntl(2) belongs to the process: flock(2) would not part a parent from its child.
    if rustix::fs::fcntl_lock(&trace.file, FlockOperation::LockExclusive).is_ok() {
        let _ = append_locked(&trace.file, event);
        let _ = rustix::fs::fcntl_lock(&trace.file, FlockOperation::Unlock);
    }
}

fn append_locked(file: &File, event: &str) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    let tail = TAIL.len() as u64;
    let (at, lead) = match length.checked_sub(tail) {
        Some(at) => (at, ",\n"),
        None => (0, "[\n"),
    };
    let mut text = Vec::with_capacity(event.len() + 8);
    text.extend_from_slice(lead.as_bytes());
    text.extend_from_slice(event.as_bytes());
    text.extend_from_slice(TAIL);
    file.write_all_at(&text, at)
}

fn ends_as_trace(file: &File, length: u64) -> bool {
    let mut end = [0; TAIL.len()];
    length
        .checked_sub(TAIL.len() as u64)
        .is_some_and(|at| file.read_exact_at(&mut end, at).is_ok() && end == TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_valid_json_after_each_event() {
        let path = std::env::temp_dir().join(format!("runw-trace-{}.json", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        for n in 1..4 {
            append_locked(
                &file,
                &event("a \"b\"", "X", Duration::from_nanos(1_234_567), ",\"dur\":1.5"),
            )
            .unwrap();
            let events: Vec<serde_json::Value> =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(events.len(), n);
            assert_eq!(events[n - 1]["name"], "a \"b\"");
            assert_eq!(events[n - 1]["ts"], 1234.567);
            assert_eq!(events[n - 1]["dur"], 1.5);
        }
        assert!(ends_as_trace(&file, file.metadata().unwrap().len()));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn off_means_silent() {
        assert!(!is_on());
        drop(span("x"));
        instant("y");
    }

    #[test]
    fn microseconds_keep_their_decimals() {
        assert_eq!(micros(Duration::from_nanos(5)), "0.005");
        assert_eq!(micros(Duration::from_nanos(1_000_000_050)), "1000000.050");
    }
}
