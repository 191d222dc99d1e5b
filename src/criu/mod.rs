//! CRIU, which writes process trees to files and makes them again (<https://criu.org>).
//!
//! It is spoken to as a program of its own, started for each request as `criu swrk`, with protocol buffers over a socket. The
//! messages that a container runtime needs are few, so `wire` and `request` write and read them without a generator.

mod complaint;
mod request;
mod service;
mod wire;

use std::path::Path;

pub use request::{CgroupMode, Choices, NetworkLock, Options, Request, Response};
pub use service::{Notification, Service, Start};

use crate::error::{Error, Result};

/// The first version that does all that is asked of it here.
pub const OLDEST: (i32, i32) = (3, 15);

/// The version of the CRIU that is installed.
///
/// # Errors
/// None is, or it does not answer.
pub fn version() -> Result<(i32, i32)> {
    Ok(service::ask(&Request::Version)?.version)
}

/// Makes sure that CRIU is there and new enough.
///
/// # Errors
/// It is not.
pub fn require() -> Result<()> {
    let (major, minor) = version()?;
    if (major, minor) >= OLDEST {
        return Ok(());
    }
    let (oldest_major, oldest_minor) = OLDEST;
    Err(Error::unsupported(format!(
        "criu {major}.{minor} is too old: checkpoint and restore need {oldest_major}.{oldest_minor} or newer"
    )))
}

/// Makes sure that what a pre-dump (`memory`) and lazy pages need is there.
///
/// # Errors
/// Kernel or CRIU lack it; the error names the check of `criu check` that tells the same.
pub fn require_features(memory: bool, lazy_pages: bool) -> Result<()> {
    if !memory && !lazy_pages {
        return Ok(());
    }
    let has = service::ask(&Request::Features)?;
    if memory && !has.mem_track {
        return Err(Error::unsupported(
            "criu is missing features: MemTrack: the kernel lacks CONFIG_MEM_SOFT_DIRTY (criu check --feature mem_dirty_track)",
        ));
    }
    if lazy_pages && !has.lazy_pages {
        return Err(Error::unsupported(
            "criu is missing features: LazyPages: the kernel lacks what userfaultfd(2) needs (criu check --feature uffd-noncoop)",
        ));
    }
    Ok(())
}

/// The outcome of a request that keeps a log: its failure says what the log at `log` gives as the reason.
///
/// # Errors
/// The request's own.
pub fn explain(outcome: Result<Response>, log: &Path) -> Result<Response> {
    let response = outcome.map_err(|e| Error::message(format!("{e}; log file: {}", log.display())))?;
    if response.success {
        return Ok(response);
    }
    let text = std::fs::read(log).unwrap_or_default();
    let reason = complaint::first(&String::from_utf8_lossy(&text))
        .or_else(|| Some(response.complaint.trim().to_owned()).filter(|complaint| !complaint.is_empty()))
        .unwrap_or_else(|| "no reason is given".to_owned());
    let errno = match response.errno {
        0 => String::new(),
        errno => format!(" ({})", crate::error::errno_text(errno)),
    };
    Err(Error::message(format!(
        "criu failed: {reason}{errno}; log file: {}",
        log.display()
    )))
}
