//! Where a mount goes: its mountpoint inside the root, found or made, and checked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, PROC_SUPER_MAGIC};

use super::resolve::{self, Found};
use crate::config::{Mount, MountSource, SymlinkRule};
use crate::error::{Error, Result, ResultExt};

/// A mountpoint.
pub(super) struct Target {
    pub fd: OwnedFd,
    /// It was there before.
    pub existed: bool,
}

/// Files below `/proc` that lxcfs and its like may replace.
const REPLACEABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Refuses mounts that would put something else in the place of `/proc` or its files (CVE-2019-19921), and mounts on `/`.
/// `destination` is clean. Pure: a bind on `/proc` itself can only be judged when its source is open.
pub(super) fn check_destination(mount: &Mount, destination: &Path) -> Result<()> {
    let at = || format!("mounts[{}].destination", mount.index);
    let shown = destination.display();
    if destination == Path::new("/") && !mount.remount {
        return Err(Error::config(
            at(),
            "a mount cannot cover the container's root; use root.path",
        ));
    }
    let Ok(inner) = destination.strip_prefix("/proc") else {
        return Ok(());
    };
    if inner.as_os_str().is_empty() {
        return match &mount.source {
            MountSource::Filesystem { fstype, .. } if fstype == "proc" => Ok(()),
            MountSource::Bind { .. } => Ok(()),
            _ => Err(Error::config(
                at(),
                format!("{shown} cannot be mounted because it is not of type proc"),
            )),
        };
    }
    if REPLACEABLE.iter().any(|path| destination == Path::new(path)) {
        return Ok(());
    }
    Err(Error::config(
        at(),
        format!("{shown} cannot be mounted because it is inside /proc"),
    ))
}

/// Finds the mountpoint of `mount`, or makes it: a file if `source` is something else than a directory, else a directory.
pub(super) fn open(root: BorrowedFd<'_>, mount: &Mount, source: Option<BorrowedFd<'_>>) -> Result<Target> {
    let path = mount.destination.as_path();
    if let MountSource::Filesystem { fstype, .. } = &mount.source
        && (fstype == "proc" || fstype == "sysfs")
    {
        return open_real_directory(root, path, fstype);
    }
    if matches!(mount.symlink, SymlinkRule::DestinationNoFollow | SymlinkRule::NoFollow) {
        let found = resolve::find_no_follow(root, path).call(|| call("openat2", path))?;
        let fd = found.ok_or_else(|| Error::sys(call("openat2", path), rustix::io::Errno::NOENT))?;
        return Ok(Target { fd, existed: true });
    }
    let found = resolve::find(root, path).call(|| call("openat2", path))?;
    let existed = found.is_some();
    let found = match found {
        Some(found) => found,
        None => make(root, path, source)?,
    };
    if found.through_link {
        check_where_it_led(root, &found.fd, path)?;
    }
    let fd = found.fd;
    Ok(Target { fd, existed })
}

fn make(root: BorrowedFd<'_>, path: &Path, source: Option<BorrowedFd<'_>>) -> Result<Found> {
    let wants_file = match source {
        Some(fd) => resolve::file_type(fd).call(|| "fstat(source)")? != FileType::Directory,
        None => false,
    };
    if wants_file {
        resolve::make_file(root, path).call(|| call("create", path))
    } else {
        resolve::make_dir(root, path).call(|| call("mkdir", path))
    }
}

fn call(name: &str, path: &Path) -> String {
    format!("{name}(rootfs, {:?})", path.display())
}

/// procfs and sysfs go on a directory that is no symbolic link (CVE-2023-27561, CVE-2025-54867).
fn open_real_directory(root: BorrowedFd<'_>, path: &Path, fstype: &str) -> Result<Target> {
    let found = resolve::find_no_follow(root, path).call(|| call("openat2", path))?;
    let existed = found.is_some();
    let fd = match found {
        Some(fd) => fd,
        None => resolve::make_dir(root, path).call(|| call("mkdir", path))?.fd,
    };
    match resolve::file_type(fd.as_fd()).call(|| call("fstat", path))? {
        FileType::Directory => Ok(Target { fd, existed }),
        _ => Err(Error::message(format!(
            "filesystem {fstype:?} must be mounted on ordinary directory, {} is not one",
            path.display()
        ))),
    }
}

/// What was reached through symbolic links is judged by what it is, not by its name.
fn check_where_it_led(root: BorrowedFd<'_>, fd: &OwnedFd, path: &Path) -> Result<()> {
    let here = rustix::fs::fstat(fd).call(|| call("fstat", path))?;
    let top = rustix::fs::fstat(root).call(|| "fstat(rootfs)")?;
    if (here.st_dev, here.st_ino) == (top.st_dev, top.st_ino) {
        return Err(Error::message(format!(
            "{} leads to the container's root, which no mount can cover",
            path.display()
        )));
    }
    let on_proc = rustix::fs::fstatfs(fd).call(|| call("fstatfs", path))?.f_type == PROC_SUPER_MAGIC;
    if on_proc && !REPLACEABLE.iter().any(|allowed| path == Path::new(allowed)) {
        return Err(Error::message(format!(
            "{} cannot be mounted because it is inside /proc",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::mount::tests::{bind, filesystem};
    use super::*;

    fn check(mount: &Mount) -> Result<()> {
        check_destination(mount, &resolve::clean(&mount.destination))
    }

    #[test]
    fn proc_takes_only_proc() {
        check(&filesystem("proc", "/proc")).unwrap();
        check(&bind("/proc", "/proc")).unwrap();
        check(&bind("/x", "/proc/uptime")).unwrap();
        check(&filesystem("tmpfs", "/process")).unwrap();
        let wrong = check(&filesystem("tmpfs", "/proc/")).unwrap_err().to_string();
        assert!(
            wrong.contains("mounts[0].destination") && wrong.contains("not of type proc"),
            "{wrong}"
        );
        let wrong = check(&bind("/x", "/proc/../proc/self")).unwrap_err().to_string();
        assert!(
            wrong.contains("/proc/self cannot be mounted because it is inside /proc"),
            "{wrong}"
        );
    }

    #[test]
    fn nothing_covers_the_root() {
        let wrong = check(&filesystem("tmpfs", "/a/..")).unwrap_err().to_string();
        assert!(wrong.contains("cannot cover the container's root"), "{wrong}");
    }
}
