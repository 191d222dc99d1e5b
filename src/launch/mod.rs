//! Carrying out a plan: the parent, the stage where one is needed, and the container's init.

mod channel;
pub mod gate;
mod identity;
mod init;
mod parent;
mod stage;

pub use identity::Identity;
pub use parent::{Launched, launch};
