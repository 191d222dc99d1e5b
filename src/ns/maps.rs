//! Writing the id maps of a new user namespace (user_namespaces(7)).

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::config::IdMapping;
use crate::error::{Error, Result, Wrap};

/// Writes both maps for the process `pid`, which has just entered a new user namespace.
///
/// Root writes them itself. Without privilege a single id can be mapped to itself; everything else is done by newuidmap(1) and
/// newgidmap(1), which know what `/etc/subuid` and `/etc/subgid` allow.
pub fn write(pid: Pid, uid: &[IdMapping], gid: &[IdMapping]) -> Result<()> {
    let privileged = rustix::process::geteuid().is_root();
    write_map(pid, "uid_map", "newuidmap", uid, privileged).wrap(|| "linux.uidMappings")?;
    write_map(pid, "gid_map", "newgidmap", gid, privileged).wrap(|| "linux.gidMappings")
}

fn write_map(pid: Pid, file: &str, program: &str, map: &[IdMapping], privileged: bool) -> Result<()> {
    if map.is_empty() {
        return Ok(());
    }
    let own = if file == "uid_map" {
        rustix::process::geteuid().as_raw()
    } else {
        rustix::process::getegid().as_raw()
    };
    let alone = matches!(map, [one] if one.size == 1 && one.host == own);
    if !privileged && !alone {
        return run_mapper(pid, program, map);
    }
    if !privileged && file == "gid_map" {
        // The kernel allows an unprivileged gid map only where setgroups(2) is given up.
        put(pid, "setgroups", "deny")?;
    }
    match put(pid, file, &lines(map)) {
        Err(e) if privileged && e.errno() == Some(nix::libc::EPERM) => run_mapper(pid, program, map).map_err(|_| e),
        other => other,
    }
}

/// The map as the kernel reads it.
fn lines(map: &[IdMapping]) -> String {
    let mut text = String::new();
    for m in map {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", m.container, m.host, m.size);
    }
    text
}

fn put(pid: Pid, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    std::fs::write(&path, text).map_err(|e| Error::sys(format!("write({path:?}, {text:?})"), e))
}

fn run_mapper(pid: Pid, program: &str, map: &[IdMapping]) -> Result<()> {
    let numbers = map
        .iter()
        .flat_map(|m| [m.container, m.host, m.size])
        .map(|n| n.to_string());
    let output = Command::new(program)
        .arg(pid.as_raw_nonzero().to_string())
        .args(numbers)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            Error::sys(
                format!("start {program} (package uidmap) to map more than one's own id"),
                e,
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(Error::message(format!(
        "{program}: {}",
        reason.trim().replace('\n', "; ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_range() {
        let map = [
            IdMapping {
                container: 0,
                host: 100_000,
                size: 65536,
            },
            IdMapping {
                container: 65536,
                host: 7,
                size: 1,
            },
        ];
        assert_eq!(lines(&map), "0 100000 65536\n65536 7 1\n");
    }
}
