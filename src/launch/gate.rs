//! The gate between `create` and `start`: a listening socket in the container's state folder.
//!
//! Init inherits the listener and waits in accept(2). `start` connects. Init then sends [`Answer::Began`] just before the payload
//! takes over, or [`Answer::Failed`]; the end of the stream after `Began` means that execve(2) succeeded, because the
//! connection is close-on-exec. Two `start`s cannot both win, and neither can hang on an init that has died: the listener died
//! with it.
//!
//! Beside the socket lies a FIFO that init has open for reading until the payload takes over: whoever opens it for writing learns
//! at once whether there is a reader. So whether a container is still *created* can be observed at any time, whatever became of
//! the process that ran `start`. It has the name of runc's, so that who looks through init's descriptors knows what it is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use crate::error::{Error, Result, ResultExt};

/// The socket's name in the state folder.
pub const SOCKET: &str = "gate";
/// The FIFO's name in the state folder.
pub const FIFO: &str = "exec.fifo";

/// What init answers to `start`.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// All that can fail before the payload is behind; the end of the stream follows when it runs.
    Began,
    /// The payload could not be started.
    Failed(Error),
}

/// Init's side of the gate.
#[derive(Debug)]
pub struct Gate {
    listener: OwnedFd,
    fifo: OwnedFd,
}

/// A gate that `start` has opened; dropped when the payload takes over.
#[derive(Debug)]
pub struct Opened {
    start: Channel<Answer, ()>,
    fifo: OwnedFd,
}

impl Gate {
    /// Makes the gate in the state folder `dir`. The process that makes it drops it after cloning init.
    pub fn make(dir: BorrowedFd<'_>) -> Result<Gate> {
        rustix::fs::mknodat(dir, FIFO, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .call(|| format!("mknodat({FIFO:?})"))?;
        let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = rustix::fs::openat(dir, FIFO, reading, Mode::empty()).call(|| format!("openat({FIFO:?})"))?;
        let listener = socket()?;
        rustix::net::bind(&listener, &address(dir)?).call(|| format!("bind({SOCKET:?})"))?;
        rustix::net::listen(&listener, 4).call(|| format!("listen({SOCKET:?})"))?;
        Ok(Gate { listener, fifo })
    }

    /// Waits until `start` connects.
    pub fn wait(self) -> Result<Opened> {
        let connection = loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(fd) => break fd,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(e) => return Err(Error::sys("accept(gate)", e)),
            }
        };
        Ok(Opened {
            start: Channel::over(connection),
            fifo: self.fifo,
        })
    }
}

impl Opened {
    /// The descriptors that have to stay open until the payload takes over.
    pub fn descriptors(&self) -> [std::os::fd::RawFd; 2] {
        [self.start.as_fd().as_raw_fd(), self.fifo.as_raw_fd()]
    }

    /// Tells `start` that the payload takes over now. If `start` was killed meanwhile, the gate was opened all the same.
    pub fn begin(&self) -> Result<()> {
        match self.start.send(&Answer::Began) {
            Err(e) if matches!(e.errno(), Some(nix::libc::EPIPE | nix::libc::ECONNRESET)) => Ok(()),
            other => other,
        }
    }

    /// Tells `start` why the payload cannot run.
    pub fn fail(&self, error: Error) -> Result<()> {
        self.start.send(&Answer::Failed(error))
    }
}

/// Whether init still holds the gate of the state folder `dir`: the container is created and not started.
pub fn is_held(dir: BorrowedFd<'_>) -> bool {
    let writing = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, FIFO, writing, Mode::empty()).is_ok()
}

/// What became of a container whose gate was opened.
#[derive(Debug)]
pub enum Outcome {
    /// The payload runs.
    Runs,
    /// Why it does not: what init said, or that init died on the way. Init may not have ended yet.
    Failed(Error),
}

/// Opens the gate from outside and waits until the payload runs, or cannot.
///
/// # Errors
/// The gate cannot be opened, and init is where it was.
pub fn open(dir: BorrowedFd<'_>) -> Result<Outcome> {
    let socket = socket()?;
    rustix::net::connect(&socket, &address(dir)?).call(|| format!("connect({SOCKET:?})"))?;
    let init: Channel<(), Answer> = Channel::over(socket);
    let mut began = false;
    loop {
        match init.receive()? {
            Some(Answer::Began) => began = true,
            Some(Answer::Failed(error)) => return Ok(Outcome::Failed(error)),
            None if began => return Ok(Outcome::Runs),
            None => {
                let died = Error::message("the container's init died before its process could start");
                return Ok(Outcome::Failed(died));
            }
        }
    }
}

fn socket() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_UNIX, SOCK_SEQPACKET)")
}

/// The socket's address by way of the folder's descriptor: a state folder's own path may be longer than sun_path.
fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_fd().as_raw_fd());
    SocketAddrUnix::new(path).call(|| "sockaddr_un")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(test: &str) -> (std::path::PathBuf, OwnedFd, Gate) {
        let dir = std::env::temp_dir().join(format!("gate-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let gate = Gate::make(fd.as_fd()).unwrap();
        (dir, fd, gate)
    }

    #[test]
    fn start_learns_the_reason_and_nobody_reads_the_fifo_after() {
        let (dir, fd, gate) = gate("reason");
        assert!(is_held(fd.as_fd()));
        let init = std::thread::spawn(move || gate.wait().unwrap().fail(Error::message("no")).unwrap());
        let outcome = open(fd.as_fd()).unwrap();
        assert!(
            matches!(&outcome, Outcome::Failed(why) if why.to_string() == "no"),
            "{outcome:?}"
        );
        init.join().unwrap();
        assert!(!is_held(fd.as_fd()));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_start_that_is_gone_has_opened_the_gate() {
        let (dir, fd, gate) = gate("gone");
        let start = socket().unwrap();
        rustix::net::connect(&start, &address(fd.as_fd()).unwrap()).unwrap();
        drop(start);
        gate.wait().unwrap().begin().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
