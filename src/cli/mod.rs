//! The command line: clap arguments become options, a verb is carried out, its answer is printed.

use std::process::ExitCode;

/// Which of the two binaries is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `runw`
    Runw,
    /// `runw-wasm`
    RunwWasm,
}

/// The entry of both binaries.
pub fn main(_program: Program) -> ExitCode {
    ExitCode::from(1)
}
