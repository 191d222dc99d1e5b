//! Native code on its way from the cache into the container.
//!
//! The parent has nothing to do while init makes the container, so that is when it reads the module, looks for native code and
//! checks it. Init, which can see neither the cache nor the module from outside any more, gets an open file by a socket. Nothing of
//! the module is parsed or run by the parent.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::aot::{Ahead, Code, Stamp, Tier};
use crate::error::{Error, Result, ResultExt};
use crate::{log, sys, trace, tty};

/// What the parent does.
#[derive(Debug)]
pub struct Errand {
    ahead: Arc<Ahead>,
    socket: OwnedFd,
}

/// Where init waits for it.
#[derive(Debug)]
pub struct Mailbox {
    socket: OwnedFd,
    /// Init's copy of the other end.
    inherited: RawFd,
}

/// What is said of the file.
type Note = (Tier, Stamp, [u8; blake3::OUT_LEN]);

impl Errand {
    /// An errand that has not begun, and the mailbox for the process that is cloned next.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(ahead: Arc<Ahead>) -> Result<(Errand, Mailbox)> {
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
        let mailbox = Mailbox {
            socket: theirs,
            inherited: socket.as_raw_fd(),
        };
        Ok((Errand { ahead, socket }, mailbox))
    }

    /// Gets the code and sends it. Nothing is sent if there is none: the other side sees the end.
    pub fn run(self) {
        if let Some(code) = self.ahead.code()
            && let Err(e) = self.send(&code)
        {
            log::debug(|| format!("the native code did not arrive: {e}"));
        }
    }

    fn send(&self, code: &Code) -> Result<()> {
        let note: Note = (code.tier, code.stamp, *code.hash.as_bytes());
        let note = serde_json::to_vec(&note).map_err(|e| Error::message(e.to_string()))?;
        tty::send(self.socket.as_fd(), code.file.as_fd(), &note)
    }
}

impl Mailbox {
    /// Waits for the code; to be called in the cloned process. `None` if there is none, or it did not get here.
    pub fn take(self) -> Option<Code> {
        let _span = trace::span("await native code");
        // Or the end of the parent would not be seen.
        sys::process::close_inherited(&[self.inherited]);
        self.receive().unwrap_or_else(|e| {
            log::debug(|| format!("the native code did not arrive: {e}"));
            None
        })
    }

    fn receive(&self) -> Result<Option<Code>> {
        let mut text = [0; 1024];
        let (file, length) = tty::receive_message(self.socket.as_fd(), &mut text)?;
        if length == 0 {
            return Ok(None);
        }
        let (tier, stamp, hash): Note =
            serde_json::from_slice(&text[..length]).map_err(|e| Error::message(e.to_string()))?;
        let file = file.ok_or_else(|| Error::message("it came without a file: too many are open"))?;
        Ok(Some(Code {
            file,
            tier,
            stamp,
            hash: blake3::Hash::from_bytes(hash),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aot::{Mode, Wishes};

    #[test]
    fn without_code_the_other_side_sees_the_end() {
        let (errand, mailbox) = pair();
        errand.run();
        assert!(mailbox.receive().unwrap().is_none());
    }

    #[test]
    fn the_file_and_what_is_said_of_it_arrive() {
        let (errand, mailbox) = pair();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let code = Code {
            stamp: Stamp::of(&file).unwrap(),
            file: file.into(),
            tier: Tier::Optimised,
            hash: blake3::hash(b"module"),
        };
        errand.send(&code).unwrap();
        let arrived = mailbox.receive().unwrap().unwrap();
        assert_eq!(
            (arrived.tier, arrived.stamp, arrived.hash),
            (code.tier, code.stamp, code.hash)
        );
        assert_eq!(Stamp::of(&arrived.file).unwrap(), code.stamp);
    }

    fn pair() -> (Errand, Mailbox) {
        let wishes = Wishes {
            mode: Some(Mode::Background),
            cache: Some("/nowhere".into()),
        };
        let module = std::fs::File::open("/proc/self/exe").unwrap();
        let none = std::collections::BTreeMap::new();
        let ahead = Ahead::new(&wishes, &none, "e".into(), module.into(), "/m".as_ref());
        Errand::new(Arc::new(ahead.unwrap().unwrap())).unwrap()
    }
}
