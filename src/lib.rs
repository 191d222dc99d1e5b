//! runw: an OCI container runtime that runs native and WebAssembly containers through one lifecycle.
//!
//! # Road of data
//! `config.json` is read by [`oci`], checked by [`config`] into a [`config::Config`] that holds no contradictions any more,
//! drawn by [`plan`] into step lists for the parent, an optional stage process and the container's init, and carried out by
//! [`launch`]. After the clone there are no decisions, only steps. What a container is now (created, running, stopped) is
//! observed by [`container`], never stored.
//!
//! # Layers
//! A module imports only from lower layers; `tests/layers.rs` checks it.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | `error`, `clock`, `log`, `trace`, `sys` (the only unsafe code) |
//! | 1 | `oci`, `config`, `settings` |
//! | 2 | `ns`, `root`, `cgroup`, `privs`, `tty`, `hooks`, `aot`, `criu` |
//! | 3 | `plan` |
//! | 4 | `payload` |
//! | 5 | `launch` |
//! | 6 | `container`, `check` |
//! | 7 | `cli` |

pub mod aot;
pub mod cgroup;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod container;
pub mod criu;
pub mod error;
pub mod hooks;
pub mod launch;
pub mod log;
pub mod ns;
pub mod oci;
pub mod payload;
pub mod plan;
pub mod privs;
pub mod root;
pub mod settings;
#[allow(unsafe_code)]
pub mod sys;
pub mod trace;
pub mod tty;

pub use error::{Error, Result};
