//! What runs inside the container once everything is set up: a native program or a WebAssembly module.

mod choose;
mod native;
pub mod twin;
pub mod wasm;

use std::convert::Infallible;

pub use choose::{Choice, choose, choose_in, open, open_in};
pub use native::Native;
pub use wasm::{Errand, Guest, Wasm};

pub use crate::privs::Seal;

use crate::error::Result;

/// A kind of container process. The kind is chosen once, before any fork; everything after that is static dispatch.
pub trait Payload {
    /// When the walls must be complete.
    const SEAL: Seal;

    /// Called before the clone: what needs files of the host is loaded here. Answers what the parent is to do for the payload once
    /// init is on its way.
    fn settle(&mut self) -> Result<Option<Errand>> {
        Ok(None)
    }

    /// Called in init before its walls are up, whose filter may be against it: loads what the payload's own code is, and takes what
    /// the errand brings.
    fn collect(&mut self) -> Result<()> {
        Ok(())
    }

    /// Called in init, inside the pivoted root and as the container's user, before the container counts as created. What
    /// cannot run is found here: no such program, not a module, an import that nobody provides.
    fn prepare(&mut self) -> Result<()>;

    /// Called once the start gate is open; returns only on failure. Calls `hand_over` before the program runs: that tells `start`,
    /// closes every descriptor that the payload is not to have, and puts up the last walls.
    fn run(self, env: Vec<String>, hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible>;
}
