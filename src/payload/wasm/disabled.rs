//! The build without the engine.

use std::convert::Infallible;

use super::Guest;
use crate::aot::Code;
use crate::error::{Error, Result};
use crate::payload::{Payload, Seal};

/// Tells the engine's build from any other; `None` in a program that runs no modules.
pub const ENGINE: Option<fn() -> Result<String>> = None;

/// Lines on the engine for `--version`.
pub fn describe() -> Vec<String> {
    Vec::new()
}

/// The engine on its way into memory, where there is one.
#[derive(Debug)]
pub struct Fetching;

/// There is none.
///
/// # Errors
/// None.
pub fn fetch() -> Result<Fetching> {
    Ok(Fetching)
}

impl Fetching {
    /// See [`fetch`].
    ///
    /// # Errors
    /// None: it is [`Wasm::prepare`] that says what is missing.
    pub fn settle(self) -> Result<()> {
        Ok(())
    }
}

/// A module that this build cannot run.
#[derive(Debug)]
pub struct Wasm(Guest);

impl Wasm {
    /// The module and what it is to see.
    pub fn new(guest: Guest) -> Self {
        Wasm(guest)
    }

    /// Runs this code of the module instead of interpreting it.
    pub fn with_code(self, _code: Option<Code>) -> Self {
        self
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
