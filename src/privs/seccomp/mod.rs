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

use crate::sys::seccomp::{FLAG_NEW_LISTENER, Instruction};

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
