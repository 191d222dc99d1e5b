//! Where the terminal of a container's process goes.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tty::{self, Outlet};

/// Who gets the master of the terminal.
pub(super) enum Terminal {
    /// There is no terminal.
    None,
    /// The console socket of the caller.
    Socket(OwnedFd),
    /// This process itself.
    Kept,
}

impl Terminal {
    /// Decides it, and connects to the console socket. `wanted`: the process is to have a terminal; `detached`: nobody stays to
    /// serve it.
    pub fn decide(wanted: bool, console_socket: Option<&Path>, detached: bool) -> Result<Terminal> {
        match (wanted, console_socket) {
            (true, Some(path)) if detached => Ok(Terminal::Socket(tty::connect(path)?)),
            (true, None) if !detached => Ok(Terminal::Kept),
            (false, None) => Ok(Terminal::None),
            (true, None) => Err(Error::message(
                "cannot allocate tty if runw will detach without setting console socket",
            )),
            (_, Some(_)) => Err(Error::message(
                "cannot use console socket if runw will not detach or allocate tty",
            )),
        }
    }

    /// The outlet for the process, and the socket that this process receives the master from, if it is for itself.
    pub fn outlet(self) -> Result<(Option<Outlet>, Option<OwnedFd>)> {
        match self {
            Terminal::None => Ok((None, None)),
            Terminal::Socket(socket) => Ok((Some(Outlet { socket, relayed: false }), None)),
            Terminal::Kept => {
                let (ours, theirs) = tty::socket_pair()?;
                let outlet = Outlet {
                    socket: theirs,
                    relayed: true,
                };
                Ok((Some(outlet), Some(ours)))
            }
        }
    }
}
