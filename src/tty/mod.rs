//! The container's terminal: how init takes the pty that `root` has made, the master's way to whoever serves it, and the
//! foreground run.
//!
//! Init [`take`]s the console: the master goes over the [`Outlet`]'s socket, the slave becomes its controlling terminal and stdio. On
//! the other end is the console socket of the caller, or runw itself, which relays it ([`Relay`]) while it waits ([`foreground`]).

mod console;
mod foreground;
mod relay;
mod signals;
mod socket;

pub use console::{Outlet, take};
pub use foreground::foreground;
pub use relay::{Relay, own_size};
pub use signals::Signals;
pub use socket::{connect, receive, receive_message, send, send_fd, socket_pair};
