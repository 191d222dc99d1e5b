//! The way to an open file, for a loader that wants a path.
//!
//! It may have lost its name, so the path is the kernel's own, in `/proc/self/fd`, and it is made sure that it ends at that very
//! file.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Error, Result, ResultExt};

/// Of `/proc` (statfs(2)).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Calls `load` with a path that leads to `file`.
///
/// # Errors
/// There is no `/proc`, or another one than the kernel's.
pub fn by_path<T>(file: BorrowedFd<'_>, load: impl FnOnce(&CStr) -> T) -> Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty()).call(|| "open(\"/proc/self/fd\")")?;
    let kind = rustix::fs::fstatfs(&folder).call(|| "fstatfs(\"/proc/self/fd\")")?;
    if kind.f_type != PROC_SUPER_MAGIC {
        return Err(Error::message("/proc is no procfs"));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let there = rustix::fs::stat(&path).call(|| format!("stat({path:?})"))?;
    let ours = rustix::fs::fstat(file).call(|| "fstat(artifact)")?;
    if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
        return Err(Error::message(format!("{path} is another file")));
    }
    let path = CString::new(path).map_err(|e| Error::message(e.to_string()))?;
    Ok(load(&path))
}
