//! `linux.seccomp`: from the profile to a BPF program, once per profile and machine.
//!
//! The parent compiles ([`program`]: from the [cache](cache) or by libseccomp), init only loads the finished bytes as its
//! last act before execve, so that a profile need allow nothing of the runtime's own but execve.

mod cache;
mod compile;
mod engine;
mod enosys;
mod listener;
mod shrink;

pub use cache::program;
pub use compile::compile;
pub use engine::engine;
pub use listener::{ContainerProcessState, send_listener};

use std::path::Path;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::sys::seccomp::{FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, Instruction};

/// The program for a container: the finished filter that an annotation brings, or that of `linux.seccomp`, kept in the folder
/// `cache` if there is one.
///
/// # Errors
/// Those of [`compile`]; a system call that libseccomp does not know, where the container wants that to be one.
pub fn of(config: &Config, cache: Option<&Path>) -> Result<Option<Program>> {
    let profile = config.seccomp.as_deref();
    if let Some(filter) = &config.annotated.filter {
        return Ok(Some(Program {
            // A filter that notifies is of no use: there is nobody who knows what it asks.
            flags: profile.map_or(FLAG_SPEC_ALLOW, compile::flags),
            instructions: filter.clone(),
        }));
    }
    let Some(profile) = profile else { return Ok(None) };
    if config.annotated.unknown_syscalls_fail
        && let Some((i, name)) = compile::unknown(profile)
    {
        return Err(Error::config(
            format!("linux.seccomp.syscalls[{i}].names"),
            format!("{name:?} is no system call that this libseccomp knows"),
        ));
    }
    program(profile, cache).map(Some)
}

/// A compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `SECCOMP_FILTER_FLAG_*` for the load.
    pub flags: u32,
    /// The filter.
    pub instructions: Vec<Instruction>,
}

impl Program {
    /// Whether the profile uses `SCMP_ACT_NOTIFY`, so that loading it gives a descriptor for the agent.
    pub fn notifies(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }

    /// The program as it is kept on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        cache::encode(self)
    }

    /// A program that was kept on disk; `None` if it is not what was written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Program> {
        cache::decode(bytes)
    }
}
