//! Descriptors over unix sockets: the terminal's master on the way to whoever serves it, a pidfd to whoever asked for it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Error, Result, ResultExt};

/// Connects to the listening stream socket at `path`.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_UNIX)")?;
    let address = SocketAddrUnix::new(path).call(|| format!("connect({path:?})"))?;
    rustix::net::connect(&socket, &address).call(|| format!("connect({path:?})"))?;
    Ok(socket)
}

/// Two connected stream sockets.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .call(|| "socketpair(AF_UNIX)")
}

/// Sends one descriptor with `payload` as one message (unix(7), `SCM_RIGHTS`).
pub fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>, payload: &[u8]) -> Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Error::message("no room for a descriptor in a message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(payload)], &mut control, SendFlags::NOSIGNAL)
        .call(|| "sendmsg(SCM_RIGHTS)")
        .map(drop)
}

/// Connects to `path` and sends one descriptor there.
pub fn send_fd(path: &Path, fd: BorrowedFd<'_>, payload: &[u8]) -> Result<()> {
    send(connect(path)?.as_fd(), fd, payload)
}

/// Receives one descriptor.
pub fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (fd, _) = receive_message(socket, &mut [0; 4096])?;
    fd.ok_or_else(|| Error::message("a message without a descriptor"))
}

/// Receives one message: the descriptor that came with it, and how many bytes of `text` it fills. 0 bytes are the end.
pub fn receive_message(socket: BorrowedFd<'_>, text: &mut [u8]) -> Result<(Option<OwnedFd>, usize)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(text)];
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC));
    let bytes = received.call(|| "recvmsg(SCM_RIGHTS)")?.bytes;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((fd, bytes))
}
