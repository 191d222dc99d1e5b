//! Telling the caller who a new process is.

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Result, ResultExt, Wrap};
use crate::launch::Launched;
use crate::tty;

/// Sends the pidfd to `pidfd_socket` and writes the pid to `pid_file`.
///
/// # Errors
/// Nobody listens there, or the file cannot be written.
pub(super) fn tell(launched: &Launched, pidfd_socket: Option<&Path>, pid_file: Option<&Path>) -> Result<()> {
    if let Some(path) = pidfd_socket {
        tty::send_fd(path, launched.pidfd.as_fd(), b"pidfd")
            .wrap(|| "send the pidfd (--pidfd-socket or run.oci.pidfd_receiver)")?;
    }
    match pid_file {
        Some(path) => write_pid_file(path, launched.pid.as_raw_nonzero().get()),
        None => Ok(()),
    }
}

/// Decimal digits only, without a newline, put in place by rename: callers wait for the file and read it whole.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::write(&draft, pid.to_string()).call(|| format!("write pid file {path:?}"))?;
    std::fs::rename(&draft, path).call(|| format!("rename pid file to {path:?}"))
}
