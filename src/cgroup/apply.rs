//! Carries out drawn writes.

use rustix::io::Errno;

use super::dir::{Dir, Writer, is_forbidden};
use super::missing_controller;
use super::write::{IfMissing, Write};
use crate::error::{Error, Result};

/// Writes in order; those that wait for others are tried again at the end. A file that takes several writes in a row is
/// opened once.
///
/// # Errors
/// The first write that the kernel refuses, naming its place in config.json.
pub(super) fn apply<'a>(dir: &Dir, writes: impl IntoIterator<Item = &'a Write>) -> Result<()> {
    let mut waiting = Vec::new();
    let mut open = Open::default();
    for write in writes {
        match open.write(dir, write) {
            Err(e) if write.may_wait && is(&e, Errno::INVAL) => waiting.push(write),
            Err(e) => return Err(explain(dir, write, e)),
            Ok(()) => {}
        }
    }
    for write in waiting {
        open.write(dir, write).map_err(|e| explain(dir, write, e))?;
    }
    Ok(())
}

/// The file written last.
#[derive(Default)]
struct Open<'a> {
    file: Option<(&'a str, Writer)>,
}

impl<'a> Open<'a> {
    fn write(&mut self, dir: &Dir, write: &'a Write) -> Result<()> {
        let first = self.put(dir, &write.file, &write.value);
        let result = match (&write.instead, first) {
            (Some((file, value)), Err(e)) if is(&e, Errno::NOENT) => self.put(dir, file, value),
            (_, first) => first,
        };
        match result {
            Err(e) if write.if_missing == IfMissing::Skip && is(&e, Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn put(&mut self, dir: &Dir, file: &'a str, value: &str) -> Result<()> {
        match &self.file {
            Some((name, writer)) if *name == file => writer.write(value),
            _ => {
                let writer = dir.writer(file)?;
                writer.write(value)?;
                self.file = Some((file, writer));
                Ok(())
            }
        }
    }
}

/// A refusal in the words of the configuration: a missing file is a missing controller or an old kernel, and a memory limit
/// below the usage says so.
fn explain(dir: &Dir, write: &Write, error: Error) -> Error {
    let controller = &*write.controller;
    let missing = is(&error, Errno::NOENT);
    if missing || is_forbidden(&error) {
        let available = dir.read("cgroup.controllers");
        let enabled = |list: &str| controller == "cgroup" || list.split_whitespace().any(|c| c == controller);
        if available.as_deref().is_ok_and(|list| !enabled(list)) {
            return missing_controller(&write.at, controller, dir.path());
        }
    }
    if missing {
        let other = write
            .instead
            .iter()
            .map(|(file, _)| format!(" or {file}"))
            .collect::<String>();
        let file = &write.file;
        let problem = format!("this kernel's {controller} controller has no {file}{other}: leave this limit out");
        return Error::config(write.at.clone(), problem);
    }
    if is(&error, Errno::BUSY) && write.file == "memory.limit_in_bytes" {
        let value = |file| dir.read(file).unwrap_or_default().trim_end().to_owned();
        let (usage, peak) = (value("memory.usage_in_bytes"), value("memory.max_usage_in_bytes"));
        let limit = &write.value;
        return Error::config(
            write.at.clone(),
            format!("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"),
        );
    }
    match is(&error, Errno::INVAL).then(|| contradiction(dir, write)).flatten() {
        Some(problem) => Error::config(write.at.clone(), problem),
        None => error.wrap(format!("set {}", write.at)),
    }
}

/// What a value that is valid by itself does not go with.
fn contradiction(dir: &Dir, write: &Write) -> Option<String> {
    let now = |file| dir.read(file).unwrap_or_default();
    match &*write.file {
        "cpu.shares" | "cpu.weight" if now("cpu.idle").trim_end() == "1" => {
            Some("the container is idle (cpu.idle), where shares count for nothing: set cpu.idle to 0, too".to_owned())
        }
        "cpu.cfs_burst_us" | "cpu.max.burst" => Some(format!(
            "{} is more than the quota in force: raise cpu.quota, too, or lower the burst",
            write.value
        )),
        _ => None,
    }
}

/// The error is this one of the kernel's.
pub(super) fn is(error: &Error, errno: Errno) -> bool {
    error.errno() == Some(errno.raw_os_error())
}
