//! Carrying out a plan: the parent, the stage where one is needed, and the container's init or a process that joins it.

mod channel;
mod exec;
pub mod gate;
mod identity;
mod init;
mod parent;
mod stage;

pub use exec::exec;
pub use identity::Identity;
pub use parent::{Launched, launch};
