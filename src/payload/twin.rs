//! The twin program, which runs modules: where it lies, and how it starts.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::sys::exe;

/// The file name of the twin.
pub const NAME: &str = "runw-wasm";

/// Becomes the twin: the same arguments, environment and descriptors, with an engine. It keeps the name that the running
/// program goes by, or takes that of the twin if it is to take every bundle as WebAssembly. Returns only on failure.
///
/// # Errors
/// There is no twin.
pub fn start(takes_all: bool) -> Result<Infallible> {
    let own = exe::host_path()?;
    let name = if takes_all { own.with_file_name(NAME) } else { own };
    exe::exec_sealed(&locate()?, &name)
}

/// The twin of the running program.
///
/// # Errors
/// It is not installed.
pub fn locate() -> Result<PathBuf> {
    let twin = exe::host_path()?.with_file_name(exe::LIBRARIES).join(NAME);
    match twin.exists() {
        true => Ok(twin),
        false => Err(Error::unsupported(format!(
            "the program is a WebAssembly module, but {} is missing: install runw-wasm beside runw",
            twin.display()
        ))),
    }
}
