//! The socket pair between the parent and the container's init (or stage) process.
//!
//! ```text
//! stage   init                            parent
//!  │ Spawned{pid} ─────────────────────────► opens a pidfd          (only with a stage)
//!            │ MapIds ─────────────────────► writes uid_map, gid_map
//!            │ ◄──────────────────────── Go
//!            │ ◄──────────────── CgroupReady  unasked, as soon as it is so
//!            │ NetDevices ─────────────────► moves them
//!            │ ◄──────────────── Devices(list)
//!            │ MapSource{fds} ─────────────► maps the ids of a mount    (for each such)
//!            │ ◄──────────────────────── Go
//!            │ Hooks ──────────────────────► prestart and createRuntime hooks
//!            │ ◄──────────────────────── Go
//!            │ Seccomp(announcement) ──────► fetches the notify fd, hands it to the agent, releases init
//!            │ Created ────────────────────► the record is saved
//!            │ ◄──────────────────────── Go
//!            │ Failed(error) ──────────────► rolls back
//! ```
//! Every message but `MapSource` is legal once, in this order; any may be left out when the plan has no need of it. The end of the stream
//! before `Created` means that the other side died: init then leaves, the parent reports init's exit status.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Result, ResultExt};
use crate::ns::devices::Moved;
use crate::privs::Announcement;

/// What init and stage tell the parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToParent {
    /// The stage cloned init; its pid as the parent sees it.
    Spawned(i32),
    /// Init is in its new user namespace and needs the id maps.
    MapIds,
    /// Init needs the network devices of `linux.netDevices`.
    NetDevices,
    /// Init has opened the source of a mount whose ids it may not map: the numbers of its descriptors.
    MapSource {
        /// The mount, attached nowhere yet.
        tree: i32,
        /// The user namespace with the mappings.
        namespace: i32,
        /// What is mounted below it, too.
        recursive: bool,
    },
    /// Namespaces and mounts are there, the root is not yet pivoted.
    Hooks,
    /// Init is about to load a seccomp filter with a notify descriptor; it goes on when it is released, not when it is told.
    Seccomp(Announcement),
    /// All is set up; init stands at the gate once it is told to go on.
    Created,
    /// A step failed.
    Failed(Error),
}

/// What the parent tells init: that the request is done.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// Go on.
    Go,
    /// The cgroup is made and limited; init is in it, or goes there now by itself.
    CgroupReady,
    /// The network devices have arrived.
    Devices(Vec<Moved>),
}

/// One end of a channel that sends `S` and receives `R`.
#[derive(Debug)]
pub struct Channel<S, R> {
    socket: OwnedFd,
    types: PhantomData<(S, R)>,
}

/// The longest message: an error report with a hook's output.
const MESSAGE_MAX: usize = 64 * 1024;

/// A pair of channel ends that talk to each other.
pub fn pair<S: Serialize, R: Serialize>() -> Result<(Channel<S, R>, Channel<R, S>)> {
    let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
    Ok((
        Channel {
            socket: a,
            types: PhantomData,
        },
        Channel {
            socket: b,
            types: PhantomData,
        },
    ))
}

impl<S: Serialize, R: DeserializeOwned> Channel<S, R> {
    /// A channel over a connected `SOCK_SEQPACKET` socket.
    pub fn over(socket: OwnedFd) -> Self {
        Channel {
            socket,
            types: PhantomData,
        }
    }

    /// Another handle on the same end.
    pub fn duplicate(&self) -> Result<Self> {
        let socket = self.socket.try_clone().call(|| "dup(channel)")?;
        Ok(Channel {
            socket,
            types: PhantomData,
        })
    }

    /// Sends a message.
    pub fn send(&self, message: &S) -> Result<()> {
        let bytes = serde_json::to_vec(message).map_err(|e| Error::message(format!("encode a message: {e}")))?;
        let bytes = bytes.get(..MESSAGE_MAX).unwrap_or(&bytes);
        loop {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::sys("send(channel)", e)),
            }
        }
    }

    /// Waits for a message; `None` when the other side is gone.
    pub fn receive(&self) -> Result<Option<R>> {
        match self.next(RecvFlags::empty())? {
            Received::Message(message) => Ok(Some(message)),
            Received::Nothing | Received::End => Ok(None),
        }
    }

    /// A message that has arrived already, if there is one.
    pub fn pending(&self) -> Result<Option<R>> {
        match self.next(RecvFlags::DONTWAIT)? {
            Received::Message(message) => Ok(Some(message)),
            Received::Nothing | Received::End => Ok(None),
        }
    }

    fn next(&self, flags: RecvFlags) -> Result<Received<R>> {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer[..], flags) {
                Ok((_, 0)) => return Ok(Received::End),
                Ok((_, n)) => {
                    let bytes = buffer.get(..n).unwrap_or(&buffer);
                    return serde_json::from_slice(bytes)
                        .map(Received::Message)
                        .map_err(|e| Error::message(format!("decode a message: {e}")));
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(Received::Nothing),
                // The other side left without reading all; said once, before what it had sent itself.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(e) => return Err(Error::sys("recv(channel)", e)),
            }
        }
    }
}

/// What one look at the socket brings.
enum Received<R> {
    Message(R),
    /// Nothing has arrived, and the look was not to wait.
    Nothing,
    End,
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_whole_and_the_end_is_seen() {
        let (init, parent) = pair::<ToParent, ToInit>().unwrap();
        let error = Error::sys("mount", 13).wrap("mount /proc (mounts[0])");
        init.send(&ToParent::Failed(error.clone())).unwrap();
        match parent.receive().unwrap() {
            Some(ToParent::Failed(e)) => assert_eq!(e, error),
            other => panic!("{other:?}"),
        }
        assert!(parent.pending().unwrap().is_none());
        drop(init);
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn a_last_word_is_heard_although_the_other_side_left_mail_unread() {
        let (init, parent) = pair::<ToParent, ToInit>().unwrap();
        parent.send(&ToInit::CgroupReady).unwrap();
        let error = Error::sys("mount", 13);
        init.send(&ToParent::Failed(error.clone())).unwrap();
        drop(init);
        assert!(parent.send(&ToInit::Go).is_err());
        assert!(matches!(parent.pending().unwrap(), Some(ToParent::Failed(e)) if e == error));
        assert!(parent.receive().unwrap().is_none());
    }
}
