//! The kernel's own files, read-only for a WebAssembly guest.
//!
//! The engine runs in the container's process, so `/proc/self/mem` is the engine's memory. A guest that could open it for
//! writing would be free of the engine's walls.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

use super::enter::unescape;
use super::seal::READ_ONLY;
use super::{Room, resolve, tree};
use crate::error::{Result, ResultExt, Wrap};

/// `SYSFS_MAGIC` (statfs(2)).
const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;

/// Makes every procfs and sysfs that the process sees read-only, wherever it is mounted.
pub(super) fn close_files(room: &mut Room) -> Result<()> {
    // Room for most tables at once: a file of procfs has no size that would be known before.
    let mut table = String::with_capacity(16 << 10);
    let file = room.open_proc("self/mountinfo", OFlags::RDONLY)?;
    std::fs::File::from(file)
        .read_to_string(&mut table)
        .call(|| "read(mountinfo)")?;
    for path in writable(&table) {
        close(&path, room).wrap(|| format!("make {:?} read-only", path.display()))?;
    }
    Ok(())
}

fn close(path: &Path, room: &mut Room) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).call(|| "open(\"/\")")?;
    let mount = match resolve::open_in(
        root.as_fd(),
        path,
        OFlags::PATH | OFlags::NOFOLLOW,
        ResolveFlags::empty(),
    ) {
        // Something is mounted over it or above it, so that nobody can get there.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.call(|| "openat2()")?,
    };
    match rustix::fs::fstatfs(&mount).call(|| "fstatfs()")?.f_type {
        PROC_SUPER_MAGIC | SYSFS_MAGIC => tree::alter(mount.as_fd(), READ_ONLY, room),
        _ => Ok(()),
    }
}

/// The mountpoints of writable procfs and sysfs mounts, or parts of them, in a mountinfo table (proc_pid_mountinfo(5)).
fn writable(table: &str) -> Vec<PathBuf> {
    let line = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (path, options) = (fields.get(4)?, fields.get(5)?);
        let fstype = filesystem.split(' ').next()?;
        let open = matches!(fstype, "proc" | "sysfs") && options.split(',').all(|option| option != "ro");
        open.then(|| PathBuf::from(OsStr::from_bytes(&unescape(path))))
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_writable() {
        let table = "22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw\n\
                     23 27 0:22 / /sys ro,nosuid - sysfs sysfs rw\n\
                     24 22 0:21 /sys /proc/sys ro - proc proc rw\n\
                     25 27 0:21 / /host/a\\040b/proc rw master:2 - proc proc rw\n\
                     26 27 0:30 / /tmp rw - tmpfs tmpfs rw\n\
                     nonsense";
        assert_eq!(writable(table), [Path::new("/proc"), Path::new("/host/a b/proc")]);
    }
}
