//! Native code for WebAssembly modules: the cache of what was compiled ahead of time, and the compiler's process.
//!
//! Compiling needs LLVM, which is large and slow to load; so it is done by a program of its own, `runw-aot`, and what it makes is
//! kept on disk. A module that is seen for the first time is interpreted at once and compiled in the background; from its second
//! start on its native code runs.
//!
//! # Who may do what
//! - The cache belongs to the runtime's user. A folder or file that somebody else owns or may write to is not read.
//! - An artifact is named by what was compiled, by which engine and for which CPU ([`Key`]), and ends with a checksum
//!   ([`artifact`]); one that does not fit is removed.
//! - Nothing here loads native code. The runtime checks an artifact and hands an open file to the container's init, which loads it
//!   behind all the container's walls, as the container's user.
//! - LLVM reads the module, which comes from an image, in a process without privileges, network or access to the cache
//!   (`worker`). Were it taken over, it could spoil only the code of that very module.
//! - Native code that an image brings along is never used: custom sections are stripped before a module is compiled
//!   ([`strip`](strip::strip)).

pub mod artifact;
pub mod cache;
mod key;
mod order;
mod request;
#[cfg(feature = "wasm")]
mod serve;
mod source;
#[cfg(feature = "wasm")]
mod strip;
#[cfg(feature = "wasm")]
mod unroll;
#[cfg(feature = "wasm")]
mod worker;

pub use cache::{Cache, Code};
pub use key::Key;
pub use order::{ANNOTATION, Limits, Mode, Tier, Wishes};
pub use request::{Ahead, Compiler, most};
#[cfg(feature = "wasm")]
pub use serve::main;
pub use source::{Source, Stamp};
