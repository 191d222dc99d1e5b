//! The engine as the dynamic loader finds it, with all that it needs: LLVM above all.

use std::ffi::{CStr, c_void};
use std::path::{Path, PathBuf};

use nix::libc;

use super::installed;
pub use super::reach::by_path;
use crate::error::{Error, Result};
use crate::sys::exe;

/// What ld.so(8) looks for where the engine's file is not known.
const SONAME: &str = "libwasmedge.so.0";

/// The opened engine.
#[derive(Debug, Clone, Copy)]
pub struct Handle(*mut c_void);

/// Whether this program can load an engine.
pub fn is_here() -> bool {
    true
}

/// The file it is loaded from.
pub fn file() -> Option<PathBuf> {
    installed::library().map(Path::to_owned)
}

/// Loads it.
///
/// # Errors
/// What dlopen(3) said.
pub fn open() -> Result<Handle> {
    let path = installed::library().unwrap_or(Path::new(SONAME));
    let name = exe::c_string(path.as_os_str())?;
    // SAFETY: the name is a C string. What the constructors of the engine and its libraries do is theirs; they are the
    // administrator's, as this program is.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    match handle.is_null() {
        true => Err(Error::unsupported(format!(
            "the WebAssembly engine cannot be loaded: {}; install libwasmedge0",
            problem()
        ))),
        false => Ok(Handle(handle)),
    }
}

impl Handle {
    /// Address of a function of it or of what it needs.
    ///
    /// # Errors
    /// What dlsym(3) said.
    pub fn symbol(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: the handle is an open library, and the name a C string.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        match found.is_null() {
            true => Err(Error::message(problem())),
            false => Ok(found),
        }
    }
}

/// What dlopen(3) or dlsym(3) has to say.
fn problem() -> String {
    // SAFETY: dlerror gives null or a string that lives until the next call in this thread.
    unsafe {
        let text = libc::dlerror();
        match text.is_null() {
            true => "no reason was given".to_owned(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        }
    }
}
