//! Carrying out a plan: the parent, the stage where one is needed, and the container's init.

pub mod channel;
pub mod gate;
