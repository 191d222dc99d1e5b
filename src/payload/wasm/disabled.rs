//! The build without the engine.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::payload::{Payload, Seal};

/// Name and version of the engine that is linked in, if any.
pub const ENGINE: Option<fn() -> String> = None;

/// A module that this build cannot run.
#[derive(Debug)]
pub struct Wasm {
    module: PathBuf,
}

impl Wasm {
    /// The module at `module` inside the container.
    pub fn new(module: PathBuf, _args: Vec<String>) -> Self {
        Wasm { module }
    }
}

impl Payload for Wasm {
    const SEAL: Seal = Seal::Now;

    fn prepare(&mut self) -> Result<()> {
        Err(Error::unsupported(format!(
            "{} is a WebAssembly module and this runw was built without an engine; install runw-wasm beside it",
            self.module.display()
        )))
    }

    fn run(self, _env: Vec<String>, _hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        Err(Error::unsupported("this runw was built without a WebAssembly engine"))
    }
}
