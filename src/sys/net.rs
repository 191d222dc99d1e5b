//! Network devices by ioctl (netdevice(7)).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Error, Result};

/// Sets `IFF_UP` on the device `name` of the socket's network namespace.
pub fn set_up(socket: BorrowedFd<'_>, name: &str) -> Result<()> {
    // SAFETY: an all-zero ifreq is a valid value of this plain C struct.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::message(format!("network device name {name:?} is too long")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as nix::libc::c_char;
    }
    for (call, text) in [
        (nix::libc::SIOCGIFFLAGS, "SIOCGIFFLAGS"),
        (nix::libc::SIOCSIFFLAGS, "SIOCSIFFLAGS"),
    ] {
        // SAFETY: both calls take a pointer to an ifreq with a NUL-terminated name, which `request` is.
        if unsafe { nix::libc::ioctl(socket.as_raw_fd(), call as _, &raw mut request) } < 0 {
            return Err(Error::sys(
                format!("ioctl({text}, {name:?})"),
                nix::errno::Errno::last(),
            ));
        }
        // SAFETY: SIOCGIFFLAGS filled the flags member of the union; all members are plain integers.
        unsafe { request.ifr_ifru.ifru_flags |= nix::libc::IFF_UP as i16 };
    }
    Ok(())
}
