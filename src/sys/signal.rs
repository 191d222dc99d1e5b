//! Signal dispositions and masks.

use crate::error::{Error, Result};

/// Puts every signal back to its default action and empties the mask, as a payload expects to find them.
///
/// Rust programs start with SIGPIPE ignored, and the caller of runw may have ignored others; execve(2) would hand both on.
pub fn reset_all() -> Result<()> {
    for signal in 1..=nix::libc::SIGRTMAX() {
        if signal == nix::libc::SIGKILL || signal == nix::libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL is a valid disposition for every signal; the few that libc keeps for itself answer EINVAL.
        unsafe { nix::libc::signal(signal, nix::libc::SIG_DFL) };
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(|e| Error::sys("sigprocmask(SIG_SETMASK, [])", e))
}
