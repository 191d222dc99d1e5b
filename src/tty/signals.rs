//! Signals as something to read: blocked for the process and collected by a signalfd(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Result, ResultExt};

/// Faults of the program itself must still end it.
const FAULTS: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// All signals of the calling thread, blocked and readable, until dropped. Block them before the container's process is made, so
/// that none is lost; that process has to clear the mask it inherits.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Blocks and collects every signal but the faults (and SIGKILL and SIGSTOP, which nobody can).
    pub fn block() -> Result<Signals> {
        let mut set = SigSet::all();
        FAULTS.iter().for_each(|fault| set.remove(*fault));
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).call(|| "signalfd")?;
        let before = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .call(|| "sigprocmask(SIG_BLOCK)")?;
        Ok(Signals { fd, before })
    }

    /// The next signal's number, `None` if there is none for now. SIGPIPE is passed over: it comes from the process' own writes.
    pub fn next(&self) -> Result<Option<i32>> {
        loop {
            let signal = self.fd.read_signal().call(|| "read(signalfd)")?;
            match signal.map(|info| info.ssi_signo.cast_signed()) {
                Some(nix::libc::SIGPIPE) => {}
                other => return Ok(other),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Signals that are still pending must not strike now: read them away first.
        while let Ok(Some(_)) = self.next() {}
        let _ = self.before.thread_set_mask();
    }
}
