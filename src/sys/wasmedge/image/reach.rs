//! The way to an open file, for a loader that wants a path: a name that no file has, for which this program's own open(2), stat(2)
//! and dlopen(3) give that file. So a container needs no `/proc` for it, and nobody can put another file there.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::libc;

use crate::error::{Result, ResultExt};

/// Nothing can be made in `/proc`.
const NAME: &CStr = c"/proc/runw/artifact";

/// The file that goes by the name now; -1 for none.
static FILE: AtomicI32 = AtomicI32::new(-1);

/// Calls `load` with a path that leads to `file`.
///
/// # Errors
/// None; another way to a file has some.
pub fn by_path<T>(file: BorrowedFd<'_>, load: impl FnOnce(&CStr) -> T) -> Result<T> {
    FILE.store(file.as_raw_fd(), Relaxed);
    let loaded = load(NAME);
    FILE.store(-1, Relaxed);
    Ok(loaded)
}

/// Another descriptor of the file, if it goes by this name now.
pub(super) fn named(path: &CStr) -> Option<Result<OwnedFd>> {
    let file = FILE.load(Relaxed);
    (file >= 0 && path == NAME).then(|| {
        // SAFETY: `by_path`, which has borrowed it, has not come to its end.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        file.try_clone_to_owned().call(|| "dup(artifact)")
    })
}

/// In the place of open(2).
///
/// # Safety
/// `path` is a C string. `mode` is looked at only with flags that make a file.
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's promise.
    match named(unsafe { CStr::from_ptr(path) }) {
        Some(Ok(file)) => file.into_raw_fd(),
        Some(Err(_)) => -1,
        // SAFETY: the caller's promise.
        None => unsafe { libc::open(path, flags, mode) },
    }
}

/// In the place of stat(2).
///
/// # Safety
/// `path` is a C string, and `stat` can be written to.
pub unsafe extern "C" fn stat(path: *const c_char, stat: *mut libc::stat) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match named(CStr::from_ptr(path)) {
            Some(Ok(file)) => libc::fstat(file.as_raw_fd(), stat),
            Some(Err(_)) => -1,
            None => libc::stat(path, stat),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::{AsFd, FromRawFd};

    use super::*;

    #[test]
    fn the_name_leads_to_the_file_as_long_as_it_is_asked_for() {
        let path = std::env::temp_dir().join(format!("runw-reach-{}", std::process::id()));
        std::fs::write(&path, b"artifact").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // SAFETY: the name is a C string.
        let by_name = |name: &CStr| unsafe { open(name.as_ptr(), libc::O_RDONLY, 0) };
        let opened = by_path(file.as_fd(), by_name).unwrap();
        assert!(opened > file.as_raw_fd());
        let mut text = String::new();
        // SAFETY: it has just been opened, and nobody else has it.
        let mut opened = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(opened) });
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "artifact");
        assert_eq!(by_name(NAME), -1);
    }
}
