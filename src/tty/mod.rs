//! Terminals.
mod socket;
use crate::error::Result;
pub use socket::*;
use std::os::fd::*;
/// (being written)
pub fn receive_master(fd: OwnedFd) -> Result<OwnedFd> {
    receive(fd.as_fd())
}
/// (being written)
pub fn foreground(pidfd: BorrowedFd<'_>, _master: Option<OwnedFd>) -> Result<crate::sys::process::Ended> {
    crate::sys::process::wait(pidfd)
}
