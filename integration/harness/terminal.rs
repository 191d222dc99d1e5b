//! Terminals: a pty to run the runtime on, and the socket that receives a container's own.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};

use super::call::Call;
use super::{Bundle, eventually};

/// The master side of a pty, with what has been read from it.
pub struct Terminal {
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    child: Option<Child>,
}

impl Terminal {
    /// Makes a call with a terminal as its stdin, stdout, stderr and controlling terminal, as a login shell would.
    #[track_caller]
    pub fn of_call(call: Call<'_>, rows: u16, columns: u16) -> Terminal {
        let pair = nix::pty::openpty(None, None).unwrap();
        let mut terminal = Terminal::of_master(pair.master);
        terminal.resize(rows, columns);
        let plain = call.command();
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(plain.get_program()).args(plain.get_args());
        command.current_dir(plain.get_current_dir().unwrap());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let stream = || Stdio::from(pair.slave.try_clone().unwrap());
        let child = command
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        terminal.child = Some(child);
        terminal
    }

    /// The terminal of the container that `call`, a `create` or a detached `run`, makes: it comes by a console socket.
    #[track_caller]
    pub fn by_socket(c: &Bundle, call: Call<'_>) -> Terminal {
        let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
        call.flag("--console-socket").flag(socket.path()).output().ok();
        let (_, mut fds) = socket.receive();
        Terminal::of_master(fds.remove(0))
    }

    /// A terminal that came from elsewhere: the master a console socket received.
    pub fn of_master(master: OwnedFd) -> Terminal {
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (master.try_clone().unwrap(), Arc::clone(&seen));
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The read fails with EIO when the last slave is closed.
            while let Ok(count) = source.read(&mut piece) {
                if count == 0 {
                    break;
                }
                sink.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Terminal {
            master,
            seen,
            reader,
            child: None,
        }
    }

    /// What has come out so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until the text has come out.
    #[track_caller]
    pub fn until(&self, part: &str) {
        let deadline = Instant::now() + super::patience();
        while !self.text().contains(part) {
            assert!(
                Instant::now() < deadline,
                "no {part:?} on the terminal:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types these keys.
    pub fn type_in(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the window's size; the kernel sends SIGWINCH to the foreground group.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// The modes that the terminal is in.
    pub fn attributes(&self) -> rustix::termios::Termios {
        rustix::termios::tcgetattr(&self.master).unwrap()
    }

    /// Waits for the end of the call and gives its exit code. All that came out until then is in `text`, unless
    /// somebody who outlives the call holds the terminal.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let child = self.child.as_mut().unwrap();
        let mut status = None;
        eventually("the call on the terminal to end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.reader.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        status.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The socket that `--console-socket` names.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    pub fn listen(path: &Path) -> ConsoleSocket {
        ConsoleSocket {
            listener: UnixListener::bind(path).unwrap(),
            path: path.to_owned(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes one message: the text, and the fds that came with it.
    #[track_caller]
    pub fn receive(&self) -> (String, Vec<OwnedFd>) {
        self.listener.set_nonblocking(true).unwrap();
        let mut stream = None;
        eventually("a connection to the console socket", || {
            stream = self.listener.accept().ok();
            stream.is_some()
        });
        let (stream, _) = stream.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(super::patience())).unwrap();
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        });
        (
            String::from_utf8_lossy(&text[..message.bytes]).into_owned(),
            fds.collect(),
        )
    }
}
