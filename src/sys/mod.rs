//! The kernel interface: the only unsafe code of the crate. Each file is one intent; each function is one safe, typed verb.

pub mod bpf;
pub mod cpu;
pub mod cred;
pub mod exe;
#[cfg(feature = "wasm")]
pub mod fault;
pub mod fd;
pub mod landlock;
pub mod mm;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod process;
pub mod remap;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod spawn;
#[cfg(feature = "wasm")]
pub mod title;
#[cfg(feature = "wasm")]
pub mod wasmedge;
