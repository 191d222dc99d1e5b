//! The twin of this program that has the engine linked in.

use super::Program;
use crate::error::{Error, Result};
use crate::payload;
use crate::sys::exe;

/// Makes `runw`, if it has no engine itself, become `runw-wasm`, which starts over with the same arguments, environment and
/// descriptors.
///
/// # Errors
/// The twin is not installed or cannot be started.
pub(super) fn become_twin(program: Program) -> Result<()> {
    if program == Program::RunwWasm || payload::wasm::ENGINE.is_some() {
        return Ok(());
    }
    let twin = exe::host_path()?.with_file_name("runw-wasm");
    if !twin.exists() {
        return Err(Error::unsupported(format!(
            "the program is a WebAssembly module, but {} is missing: install runw-wasm beside runw",
            twin.display()
        )));
    }
    match exe::exec_sealed(&twin)? {}
}
