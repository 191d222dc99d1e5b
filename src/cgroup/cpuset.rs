//! The cpuset controller of v1: a new cpuset has neither CPUs nor memory nodes, and takes no process before it has both.

use std::path::Path;

use rustix::io::Errno;

use super::apply::is;
use super::dir::Dir;
use crate::config::Cpu;
use crate::error::{Result, Wrap};

/// The two lists, in files whose names have no prefix on mounts with `noprefix`.
const FILES: [(&str, &str); 2] = [("cpuset.cpus", "cpus"), ("cpuset.mems", "mems")];

/// Gives `dir` its parent's CPUs and memory nodes as far as it has none and config.json gives none; the cgroups between it and
/// the root likewise. `new` says that the cpuset was made just now.
pub(super) fn populate(dir: &Dir, mountpoint: &Path, new: bool, given: &Cpu) -> Result<()> {
    let step = || "set up the cpuset";
    let Some(parent) = dir.path().parent().filter(|_| dir.path() != mountpoint) else {
        return Ok(());
    };
    let inherited = populated(parent, mountpoint).wrap(step)?;
    let given = [&given.cpus, &given.mems].map(|list| list.as_deref().is_some_and(|l| !l.is_empty()));
    for (index, value) in inherited.iter().enumerate() {
        if !given[index] && (new || read(dir, index)?.is_empty()) {
            write(dir, index, value).wrap(step)?;
        }
    }
    Ok(())
}

/// The lists of a cgroup above, filled in if they were empty.
fn populated(path: &Path, mountpoint: &Path) -> Result<[String; 2]> {
    let dir = Dir::open(path)?;
    let mut lists = [read(&dir, 0)?, read(&dir, 1)?];
    if path == mountpoint || lists.iter().all(|l| !l.is_empty()) {
        return Ok(lists);
    }
    let inherited = populated(path.parent().unwrap_or(mountpoint), mountpoint)?;
    for (index, value) in inherited.into_iter().enumerate() {
        if lists[index].is_empty() {
            write(&dir, index, &value)?;
            lists[index] = value;
        }
    }
    Ok(lists)
}

fn read(dir: &Dir, index: usize) -> Result<String> {
    let (name, noprefix) = FILES[index];
    let text = match dir.read(name) {
        Err(e) if is(&e, Errno::NOENT) => dir.read(noprefix),
        other => other,
    };
    text.map(|t| t.trim_end().to_owned())
}

fn write(dir: &Dir, index: usize, value: &str) -> Result<()> {
    let (name, noprefix) = FILES[index];
    match dir.write(name, value) {
        Err(e) if is(&e, Errno::NOENT) => dir.write(noprefix, value),
        other => other,
    }
}
