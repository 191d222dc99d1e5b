//! A CRIU process that serves one request over a socket (`criu swrk`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown,
    SocketFlags, SocketType,
};

use super::request::{Request, Response, kind};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::log;
use crate::sys::fd;

/// The longest message of CRIU.
const MESSAGE_MAX: usize = 40 * 1024;
/// Where distributions install it; engines may call with a PATH that lacks them.
const FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How CRIU is started.
#[derive(Debug, Default)]
pub struct Start<'a> {
    /// It, and so what it restores, has the standard streams of this process.
    pub streams: bool,
    /// Descriptors of this process that it inherits under the same numbers.
    pub inherits: &'a [OwnedFd],
}

/// A CRIU process.
#[derive(Debug)]
pub struct Service {
    process: Child,
    socket: Option<OwnedFd>,
}

/// What CRIU tells on its way.
#[derive(Debug)]
pub struct Notification<'a> {
    /// The point that it has reached, such as `post-dump`, `setup-namespaces`, `post-restore`.
    pub script: &'a str,
    /// The pid of the tree's root, if it has one yet.
    pub pid: i32,
    /// A descriptor that came along.
    pub fd: Option<OwnedFd>,
}

impl Service {
    /// Starts CRIU.
    ///
    /// # Errors
    /// It is not installed, or cannot be started.
    pub fn start(how: &Start<'_>) -> Result<Service> {
        let program = find(std::env::var_os("PATH").unwrap_or_default())?;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
        let mut keep: Vec<RawFd> = how.inherits.iter().map(AsRawFd::as_raw_fd).collect();
        keep.push(theirs.as_raw_fd());
        let mut command = Command::new(&program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if !how.streams {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        fd::inherit_nothing_but(&mut command, keep);
        let process = command.spawn().call(|| format!("exec {program:?}"))?;
        Ok(Service {
            process,
            socket: Some(ours),
        })
    }

    /// Its pid.
    pub fn pid(&self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(self.process.id() as i32)
    }

    /// Sends the request and waits until it is done. On the way `notified` hears what CRIU tells; if it fails, so does CRIU.
    ///
    /// # Errors
    /// What `notified` said, or what CRIU did.
    pub fn call(
        mut self,
        request: &Request<'_>,
        mut notified: impl FnMut(Notification<'_>) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        let mut failed = None;
        let response = loop {
            let (response, fd) = self.receive()?;
            if response.kind != kind::NOTIFY || !response.success {
                break response;
            }
            log::debug(|| format!("criu: {} (pid {})", response.script, response.pid));
            let heard = notified(Notification {
                script: &response.script,
                pid: response.pid,
                fd,
            });
            let well = heard.is_ok();
            failed = failed.or(heard.err());
            self.send(&Request::Notified(well))?;
        };
        self.finish(request)?;
        match failed {
            Some(e) => Err(e),
            None => Ok(response),
        }
    }

    /// Closes the line, whereupon CRIU ends, and reaps it.
    fn finish(&mut self, request: &Request<'_>) -> Result<()> {
        if let Some(socket) = self.socket.take() {
            let _ = rustix::net::shutdown(&socket, Shutdown::Write);
        }
        let status = self.process.wait().call(|| "wait(criu)")?;
        // A pre-dump is a session: CRIU waits for the next one and takes the end of the line for a failure.
        if !status.success() && !matches!(request, Request::PreDump(_)) {
            log::debug(|| format!("criu ended with {status}"));
        }
        Ok(())
    }

    fn send(&self, request: &Request<'_>) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let bytes = request.encode();
        rustix::io::retry_on_intr(|| {
            let mut none = SendAncillaryBuffer::default();
            rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut none, SendFlags::NOSIGNAL)
        })
        .map(drop)
        .call(|| "send(criu)")
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let Some(socket) = &self.socket else { return Err(died()) };
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let n = loop {
            let mut into = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(socket.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Ok(message) if message.bytes == 0 => return Err(died()),
                other => break other.call(|| "recvmsg(criu)")?.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((Response::decode(bytes.get(..n).unwrap_or_default())?, fd))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Without a line to its caller CRIU gives up and undoes what it has begun.
        if self.socket.take().is_some() {
            let _ = self.process.wait();
        }
    }
}

fn died() -> Error {
    Error::message("criu ended without an answer")
}

/// Asks CRIU something that needs no preparation.
pub(super) fn ask(request: &Request<'_>) -> Result<Response> {
    let service = Service::start(&Start::default())?;
    service.call(request, |_| Ok(())).wrap(|| "ask criu")
}

/// The program, in the folders of `path` or those of system programs.
fn find(path: impl AsRef<std::ffi::OsStr>) -> Result<PathBuf> {
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders
        .map(|folder| folder.join("criu"))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Error::unsupported("criu is not installed: checkpoint and restore need it (package criu, https://criu.org)")
        })
}
