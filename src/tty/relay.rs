//! The relay between the caller's stdio and the container's pty.
//!
//! One buffer each way and poll(2): the pty's end is non-blocking, the caller's descriptors stay as they are (their file
//! descriptions belong to others, too), so they are touched only when poll says that they will not block, and in pieces that a pipe
//! takes whole.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Termios};

use super::Signals;
use super::console::{clear_onlcr, set_size};
use crate::error::{Result, ResultExt};

/// What is read at once, and the most that waits in a buffer.
const BUFFER: usize = 16 * 1024;
/// What a pipe that is ready for writing takes without blocking (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;
/// How long a pty without a reader or writer inside is left alone before the next look at it.
const PAUSE: Duration = Duration::from_millis(50);

/// Copies between the caller's stdio and a pty; restores the caller's terminal when dropped.
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    input: OwnedFd,
    output: OwnedFd,
    to_pty: Vec<u8>,
    from_pty: Vec<u8>,
    input_open: bool,
    output_open: bool,
    /// Nobody inside holds the pty at the moment; it may be opened again.
    hung_up: bool,
    restore: Option<Termios>,
}

impl Relay {
    /// Relays `master` to the process' own stdin and stdout: if stdin is a terminal, it is put into raw mode and its size handed on.
    pub fn new(master: OwnedFd) -> Result<Relay> {
        let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).call(|| "dup(0)")?;
        let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).call(|| "dup(1)")?;
        Relay::between(master, input, output)
    }

    /// Relays `master` to any two descriptors.
    pub fn between(master: OwnedFd, input: OwnedFd, output: OwnedFd) -> Result<Relay> {
        let flags = rustix::fs::fcntl_getfl(&master).call(|| "fcntl(pty, F_GETFL)")?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).call(|| "fcntl(pty, F_SETFL)")?;
        clear_onlcr(master.as_fd())?;
        let restore = raw_mode(input.as_fd())?;
        let relay = Relay {
            master,
            input,
            output,
            to_pty: Vec::with_capacity(BUFFER),
            from_pty: Vec::with_capacity(BUFFER),
            input_open: true,
            output_open: true,
            hung_up: false,
            restore,
        };
        relay.resize();
        Ok(relay)
    }

    /// Hands the size of the caller's terminal on to the container's. Without a terminal (or one that has just gone) nothing happens.
    pub fn resize(&self) {
        if let Some((rows, columns)) = size_of([self.input.as_fd(), self.output.as_fd()]) {
            let _ = set_size(self.master.as_fd(), rows, columns);
        }
    }

    /// Waits until one of `others` is readable or the relay has something to do, does it, and tells which of `others` are readable.
    pub(super) fn step<const N: usize>(&mut self, others: [BorrowedFd<'_>; N]) -> Result<[bool; N]> {
        let (readable, wait) = (PollFlags::IN, self.hung_up.then_some(PAUSE));
        let mut fds: Vec<PollFd<'_>> = others
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, readable))
            .collect();
        let roles = self.roles();
        for (role, flags) in &roles {
            let fd = match role {
                Role::Pty => &self.master,
                Role::Input => &self.input,
                Role::Output => &self.output,
            };
            fds.push(PollFd::new(fd, *flags));
        }
        poll(&mut fds, wait)?;
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        self.hung_up = false;
        for ((role, _), events) in roles.iter().zip(&events[N..]) {
            match role {
                Role::Pty => self.serve_pty(*events)?,
                Role::Input if !events.is_empty() => self.read_input(),
                Role::Output if !events.is_empty() => self.write_output(),
                Role::Input | Role::Output => {}
            }
        }
        Ok(std::array::from_fn(|i| !events[i].is_empty()))
    }

    /// After the container's process has ended: passes on what is left in the pty, as long as the reader takes it or until a
    /// signal says that the caller does not want to wait any longer.
    ///
    /// poll(2) on a pty first moves what was written to the other end into reach, so a poll that finds nothing is the end, even when
    /// somebody inside still holds the pty.
    pub(super) fn finish(&mut self, signals: &Signals) -> Result<()> {
        self.to_pty.clear();
        is_interrupted(signals)?;
        loop {
            let mut pty = [PollFd::new(&self.master, PollFlags::IN)];
            poll(&mut pty, Some(Duration::ZERO))?;
            let more = pty[0].revents().contains(PollFlags::IN) && self.from_pty.len() < BUFFER;
            if more && self.read_pty()? {
                continue;
            }
            if self.from_pty.is_empty() || !self.output_open {
                return Ok(());
            }
            let mut fds = [
                PollFd::new(&self.output, PollFlags::OUT),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            poll(&mut fds, None)?;
            let (writable, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if writable {
                self.write_output();
            } else if signalled && is_interrupted(signals)? {
                return Ok(());
            }
        }
    }

    /// What is worth polling now. A pty that nobody inside holds reports a hang-up all the time: it is left out for a pause.
    fn roles(&self) -> Vec<(Role, PollFlags)> {
        let mut roles = Vec::with_capacity(3);
        let mut pty = PollFlags::empty();
        if self.from_pty.len() < BUFFER {
            pty |= PollFlags::IN;
        }
        if !self.to_pty.is_empty() {
            pty |= PollFlags::OUT;
        }
        if !self.hung_up && !pty.is_empty() {
            roles.push((Role::Pty, pty));
        }
        if self.input_open && self.to_pty.len() < BUFFER {
            roles.push((Role::Input, PollFlags::IN));
        }
        if self.output_open && !self.from_pty.is_empty() {
            roles.push((Role::Output, PollFlags::OUT));
        }
        roles
    }

    fn serve_pty(&mut self, events: PollFlags) -> Result<()> {
        if events.contains(PollFlags::OUT) && !self.to_pty.is_empty() {
            match rustix::io::write(&self.master, &self.to_pty) {
                Ok(n) => drop(self.to_pty.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR | Errno::IO) => {}
                Err(e) => return Err(crate::Error::sys("write(pty)", e)),
            }
        }
        let read = events.contains(PollFlags::IN) && self.from_pty.len() < BUFFER && self.read_pty()?;
        self.hung_up = events.contains(PollFlags::HUP) && !read;
        Ok(())
    }

    /// Whether something was read. `EIO` is what a pty says when nobody holds its other end.
    fn read_pty(&mut self) -> Result<bool> {
        let room = BUFFER - self.from_pty.len();
        let mut piece = [0; BUFFER];
        match rustix::io::read(&self.master, &mut piece[..room]) {
            Ok(n) => {
                if self.output_open {
                    self.from_pty.extend_from_slice(&piece[..n]);
                }
                Ok(n > 0)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(false),
            Err(e) => Err(crate::Error::sys("read(pty)", e)),
        }
    }

    /// Failures of the caller's own descriptors end that direction, not the container.
    fn read_input(&mut self) {
        let mut piece = [0; PIECE];
        let room = PIECE.min(BUFFER - self.to_pty.len());
        match rustix::io::read(&self.input, &mut piece[..room]) {
            Ok(n) if n > 0 => self.to_pty.extend_from_slice(&piece[..n]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.input_open = false,
        }
    }

    fn write_output(&mut self) {
        let piece = &self.from_pty[..self.from_pty.len().min(PIECE)];
        match rustix::io::write(&self.output, piece) {
            Ok(n) => drop(self.from_pty.drain(..n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                // Nobody reads any more: what the container writes goes nowhere, so that it does not stall.
                self.output_open = false;
                self.from_pty.clear();
            }
        }
    }
}

/// Rows and columns of the caller's own terminal, if stdin or stdout is one.
pub fn own_size() -> Option<(u16, u16)> {
    size_of([rustix::stdio::stdin(), rustix::stdio::stdout()])
}

fn size_of(terminals: [BorrowedFd<'_>; 2]) -> Option<(u16, u16)> {
    let sizes = terminals
        .into_iter()
        .filter_map(|fd| rustix::termios::tcgetwinsize(fd).ok());
    sizes
        .map(|size| (size.ws_row, size.ws_col))
        .find(|(rows, columns)| *rows > 0 && *columns > 0)
}

#[derive(Clone, Copy)]
enum Role {
    Pty,
    Input,
    Output,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(before) = &self.restore {
            let _ = rustix::termios::tcsetattr(&self.input, OptionalActions::Now, before);
        }
    }
}

/// Takes all pending signals and tells whether one of them asks to stop.
fn is_interrupted(signals: &Signals) -> Result<bool> {
    let mut interrupted = false;
    while let Some(signal) = signals.next()? {
        interrupted |= signal != nix::libc::SIGCHLD && signal != nix::libc::SIGWINCH;
    }
    Ok(interrupted)
}

/// poll(2) that goes on after a signal; `None` waits for ever.
pub(super) fn poll(fds: &mut [PollFd<'_>], wait: Option<Duration>) -> Result<()> {
    let wait = wait.map(|wait| Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    });
    loop {
        match rustix::event::poll(fds, wait.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(crate::Error::sys("poll", io::Error::from(e))),
        }
    }
}

/// Puts the caller's terminal into raw mode, but with output processing on, and returns what it was; `None` if it is no terminal.
fn raw_mode(input: BorrowedFd<'_>) -> Result<Option<Termios>> {
    let Ok(before) = rustix::termios::tcgetattr(input) else {
        return Ok(None);
    };
    let mut raw = before.clone();
    raw.make_raw();
    raw.output_modes.insert(OutputModes::OPOST);
    rustix::termios::tcsetattr(input, OptionalActions::Now, &raw).call(|| "tcsetattr(stdin)")?;
    Ok(Some(before))
}
