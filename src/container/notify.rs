//! The notification socket of systemd (sd_notify(3)): a container that is a service says itself when it is ready.
//!
//! When `create` or `run` is called with `NOTIFY_SOCKET`, the container gets a folder at `/run/notify` with a socket of its own.
//! `start` listens on it and passes `READY=1` on to the caller's socket, together with the pid of the container's init.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::record::Init;
use super::{Folder, Record};
use crate::config::{Config, Mount, MountSource, SymlinkRule};
use crate::error::{Result, ResultExt, Wrap};
use crate::sys::process;
use crate::tty;

/// The variable that names the socket.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// The folder in the state folder, and its place in the container.
const FOLDER: &str = "notify";
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// How long systemd may take to have seen everything (sd_notify_barrier(3)), in seconds.
const BARRIER_LIMIT: i64 = 30;

/// `MOUNT_ATTR_RDONLY`, `NOSUID`, `NODEV` and `NOEXEC` (mount_setattr(2)).
const ATTRIBUTES: u64 = 0x1 | 0x2 | 0x4 | 0x8;

/// The caller's notification socket, if it has one.
pub(super) fn of_caller() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// How many sockets from descriptor 3 on the caller has for the payload to listen on: `LISTEN_FDS`, if `LISTEN_PID` says that
/// it is meant for this process (sd_listen_fds(3)).
pub(super) fn listen_fds_of_caller() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}

/// Makes the folder for the container's own socket and has it mounted.
pub(super) fn set_up(config: &mut Config, state: &Folder) -> Result<()> {
    let folder = state.path().join(FOLDER);
    std::fs::create_dir(&folder).call(|| format!("mkdir({folder:?})"))?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).call(|| format!("chmod({folder:?})"))?;
    config.mounts.push(Mount {
        index: config.mounts.len(),
        destination: INSIDE.into(),
        source: MountSource::Bind {
            path: folder,
            recursive: false,
        },
        attr_set: ATTRIBUTES,
        attr_clear: 0,
        rec_attr_set: 0,
        rec_attr_clear: 0,
        sb_flags: 0,
        sb_clear: 0,
        propagation: Vec::new(),
        data: Vec::new(),
        copy_up: false,
        idmap: None,
        symlink: SymlinkRule::Follow,
        remount: false,
    });
    if let Some(process) = &mut config.process {
        process.env.retain(|e| !e.starts_with("NOTIFY_SOCKET="));
        process.env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
    }
    Ok(())
}

/// The socket that the container talks to while it starts.
pub(super) struct Notifications {
    ours: UnixDatagram,
    host: PathBuf,
    init: Init,
}

impl Notifications {
    /// Binds the container's socket; `None` if it was created without one.
    pub fn listen(state: &Folder, record: &Record) -> Result<Option<Notifications>> {
        let Some(host) = record.notify_socket.clone() else {
            return Ok(None);
        };
        let path = state.path().join(FOLDER).join(SOCKET);
        let ours = UnixDatagram::bind(&path).call(|| format!("bind({path:?})"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).call(|| format!("chmod({path:?})"))?;
        Ok(Some(Notifications {
            ours,
            host,
            init: record.init,
        }))
    }

    /// Waits until the container is ready or has ended, and tells systemd.
    pub fn forward(self) -> Result<()> {
        if !self.wait_until_ready()? {
            return Ok(());
        }
        let host = connect(&self.host).wrap(|| format!("notify systemd at {}", self.host.display()))?;
        let main = format!("MAINPID={}", self.init.pid);
        for text in ["READY=1", main.as_str()] {
            host.send(text.as_bytes()).call(|| format!("send({text:?})"))?;
        }
        barrier(&host)
    }

    /// False if init ended without a word.
    fn wait_until_ready(&self) -> Result<bool> {
        let pidfd = Pid::from_raw(self.init.pid).and_then(|pid| process::pidfd_open(pid).ok());
        let Some(pidfd) = pidfd else { return Ok(false) };
        let mut message = [0; 4096];
        loop {
            let mut fds = [
                PollFd::new(&self.ours, PollFlags::IN),
                PollFd::new(&pidfd, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).call(|| "poll(notify socket)")?;
            let said = fds.first().is_some_and(|f| f.revents().contains(PollFlags::IN));
            if !said {
                return Ok(false);
            }
            let size = self.ours.recv(&mut message).call(|| "recv(notify socket)")?;
            if message
                .get(..size)
                .unwrap_or_default()
                .split(|b| *b == b'\n')
                .any(|line| line == b"READY=1")
            {
                return Ok(true);
            }
        }
    }
}

fn connect(path: &Path) -> Result<UnixDatagram> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    let socket = UnixDatagram::unbound().call(|| "socket(AF_UNIX, SOCK_DGRAM)")?;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name).call(|| "sockaddr_un")?;
            socket.connect_addr(&address).call(|| format!("connect({path:?})"))?;
        }
        None => socket.connect(path).call(|| format!("connect({path:?})"))?,
    }
    Ok(socket)
}

/// Waits until systemd has read everything: it closes the descriptor that it gets.
fn barrier(host: &UnixDatagram) -> Result<()> {
    let (read, write): (OwnedFd, OwnedFd) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call(|| "pipe2")?;
    tty::send(host.as_fd(), write.as_fd(), b"BARRIER=1")?;
    drop(write);
    let mut fds = [PollFd::new(&read, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: BARRIER_LIMIT,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&limit)).call(|| "poll(barrier)").map(drop)
}
