//! Init's part: the pty becomes its terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, OutputModes, Winsize};

use super::socket;
use crate::error::{Result, ResultExt};
use crate::root::Console;

/// What the message with the master says, as with runc: the name under which the container would open it.
const NAME: &[u8] = b"/dev/ptmx";

/// Where the master of a container's pty goes.
#[derive(Debug)]
pub struct Outlet {
    /// A connected socket; it gets one message.
    pub socket: OwnedFd,
    /// The receiver relays to a terminal of its own, which adds the CR before each LF: the pty must not.
    pub relayed: bool,
}

/// Sends the master off and makes the slave the controlling terminal and the stdio of the calling process, which must lead a
/// session without a terminal (setsid(2)). `size` is rows and columns, `process.consoleSize`.
///
/// # Errors
/// The receiver is gone, or the process has a terminal already.
pub fn take(console: Console, outlet: Outlet, size: Option<(u16, u16)>) -> Result<()> {
    let Console { master, slave } = console;
    if outlet.relayed {
        clear_onlcr(master.as_fd())?;
    }
    if let Some((rows, columns)) = size.filter(|(rows, columns)| *rows > 0 && *columns > 0) {
        set_size(master.as_fd(), rows, columns)?;
    }
    socket::send(outlet.socket.as_fd(), master.as_fd(), NAME)?;
    drop((master, outlet));
    rustix::process::ioctl_tiocsctty(&slave).call(|| "ioctl(pty, TIOCSCTTY)")?;
    rustix::stdio::dup2_stdin(&slave).call(|| "dup2(pty, 0)")?;
    rustix::stdio::dup2_stdout(&slave).call(|| "dup2(pty, 1)")?;
    rustix::stdio::dup2_stderr(&slave).call(|| "dup2(pty, 2)")
}

/// Sets the window size of a terminal (`TIOCSWINSZ`, ioctl_tty(2)).
pub(super) fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).call(|| format!("ioctl(pty, TIOCSWINSZ, {rows}x{columns})"))
}

/// Takes `ONLCR` from a terminal's output modes (termios(3)).
pub(super) fn clear_onlcr(terminal: BorrowedFd<'_>) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(terminal).call(|| "tcgetattr(pty)")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(terminal, OptionalActions::Now, &modes).call(|| "tcsetattr(pty)")
}
