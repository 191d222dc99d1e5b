//! The network namespace's own part: the loopback device.

use crate::error::{Result, ResultExt};

/// Brings `lo` up in the calling process' network namespace (netdevice(7), `SIOCSIFFLAGS`).
pub fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use std::os::fd::AsFd;
    let socket =
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).call(|| "socket(AF_INET)")?;
    crate::sys::net::set_up(socket.as_fd(), "lo")
}
