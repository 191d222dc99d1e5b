//! The build without the engine.

use std::convert::Infallible;
use std::sync::Arc;

use super::Guest;
use crate::aot::Ahead;
use crate::error::{Error, Result};
use crate::payload::{Payload, Seal};

/// Tells the engine's build from any other; `None` in a program that runs no modules.
pub const ENGINE: Option<fn() -> Result<String>> = None;

/// Whether this program runs modules, so that its twin is not needed.
pub fn is_here() -> bool {
    false
}

/// Lines on the engine for `--version`.
pub fn describe() -> Vec<String> {
    Vec::new()
}

/// A module that this build cannot run.
#[derive(Debug)]
pub struct Wasm(Guest);

impl Wasm {
    /// The module and what it is to see.
    pub fn new(guest: Guest, _ahead: Option<Arc<Ahead>>) -> Self {
        Wasm(guest)
    }
}

impl Payload for Wasm {
    const SEAL: Seal = Seal::Now;

    fn prepare(&mut self) -> Result<()> {
        Err(Error::unsupported(format!(
            "{} is a WebAssembly module and this runw was built without an engine; install runw-wasm beside it",
            self.0.module().display()
        )))
    }

    fn run(self, _env: Vec<String>, _hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        Err(Error::unsupported("this runw was built without a WebAssembly engine"))
    }
}
