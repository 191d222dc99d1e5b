//! Handing the notification descriptor to the agent of `SCMP_ACT_NOTIFY`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;

use crate::error::{Error, Result, ResultExt};

/// What the agent is told along with the descriptor (runtime-spec, config-linux.md, "Container Process State").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// `ociVersion` of the specification.
    pub oci_version: String,
    /// The names of the descriptors sent, in order; always `seccompFd`.
    pub fds: Vec<String>,
    /// Pid of the process as the runtime sees it.
    pub pid: i32,
    /// `listenerMetadata` as configured.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container's state.
    pub state: serde_json::Value,
}

impl ContainerProcessState {
    /// The state of process `pid` in a container whose own state is `state`.
    pub fn new(oci_version: &str, pid: i32, metadata: Option<&str>, state: serde_json::Value) -> Self {
        ContainerProcessState {
            oci_version: oci_version.to_owned(),
            fds: vec!["seccompFd".to_owned()],
            pid,
            metadata: metadata.unwrap_or_default().to_owned(),
            state,
        }
    }
}

/// Sends `listener` and `state` to the agent at the unix socket `path`, as one message, and closes the connection.
///
/// # Errors
/// `linux.seccomp.listenerPath`: nobody listens there.
pub fn send_listener(path: &Path, listener: BorrowedFd<'_>, state: &ContainerProcessState) -> Result<()> {
    let text = serde_json::to_vec(state).map_err(|e| Error::message(format!("seccomp agent's message: {e}")))?;
    let refused = |e: rustix::io::Errno| {
        let problem = format!(
            "failed to connect with seccomp agent at {path:?}: {}",
            crate::error::errno_text(e.raw_os_error())
        );
        Error::config("linux.seccomp.listenerPath", problem)
    };
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .call(|| "socket(AF_UNIX)")?;
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).map_err(refused)?;
    rustix::net::connect(&socket, &address).map_err(refused)?;
    let descriptors = [listener];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let call = || format!("sendmsg({path:?})");
    let mut sent =
        rustix::net::sendmsg(&socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL).call(call)?;
    while sent < text.len() {
        // A stream may take a long message in pieces; the descriptor went with the first.
        sent += rustix::net::send(&socket, &text[sent..], SendFlags::NOSIGNAL).call(call)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    use std::io::IoSliceMut;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_agent_gets_the_descriptor_and_the_state() {
        let path = std::env::temp_dir().join(format!("runw-agent-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let server = UnixListener::bind(&path).unwrap();
        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        let state = ContainerProcessState::new("1.3.0", 42, Some("m"), serde_json::json!({"id": "c"}));
        send_listener(&path, write_end.as_fd(), &state).unwrap();
        std::fs::remove_file(&path).unwrap();

        let (peer, _) = server.accept().unwrap();
        let mut text = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            &peer,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::empty(),
        )
        .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text[..got.bytes]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 42, "metadata": "m", "state": {"id": "c"}})
        );
        let Some(RecvAncillaryMessage::ScmRights(mut fds)) = control.drain().next() else {
            panic!("no descriptor");
        };
        drop(write_end);
        rustix::io::write(fds.next().unwrap(), b"x").unwrap();
        assert_eq!(rustix::io::read(&read_end, &mut [0u8; 2]).unwrap(), 1);
    }

    #[test]
    fn an_absent_agent_is_an_error_of_the_config() {
        let (_, fd) = rustix::pipe::pipe().unwrap();
        let state = ContainerProcessState::new("1.3.0", 1, None, serde_json::Value::Null);
        let e = send_listener(Path::new("/nonexistent/agent"), fd.as_fd(), &state).unwrap_err();
        assert!(e.to_string().contains("linux.seccomp.listenerPath"), "{e}");
        assert!(e.to_string().contains("no such file or directory"), "{e}");
    }
}
