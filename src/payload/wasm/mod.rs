//! A WebAssembly module (WASI preview 1), run by WasmEdge in the container's own init process.
//!
//! Engine types never leave this folder. A build without the `wasm` feature has the same type, which says what is missing.

#[cfg_attr(
    not(feature = "wasm"),
    allow(dead_code, reason = "without an engine nobody looks at anything")
)]
mod errand;
#[cfg_attr(
    not(feature = "wasm"),
    allow(dead_code, reason = "without an engine nobody looks at anything")
)]
mod guest;
#[cfg(feature = "wasm")]
mod outline;
mod pages;
#[cfg_attr(
    not(feature = "wasm"),
    allow(dead_code, reason = "without an engine nobody needs room")
)]
mod room;

#[cfg(feature = "wasm")]
mod enabled;
#[cfg(feature = "wasm")]
use enabled as imp;

#[cfg(not(feature = "wasm"))]
mod disabled;
#[cfg(not(feature = "wasm"))]
use disabled as imp;

pub use errand::Errand;
pub use guest::Guest;
pub use imp::{ENGINE, Wasm, describe, is_here};
pub use pages::guest_pages;

/// The exit code of a guest that trapped: that of abort(3) in a shell, never 0 and never 137.
pub const TRAP_CODE: i32 = 134;
