//! `pause` and `resume`.

use super::{Id, Status, Store};
use crate::error::{Error, Kind, Result};

/// Stops every process of a container; returns when all have stopped.
///
/// # Errors
/// `container not running` if it has stopped or is paused; it has no cgroup with a freezer; a process did not stop in time.
pub fn pause(store: &Store, id: &Id) -> Result<()> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    match status {
        Status::Created | Status::Running => record.cgroup.freeze(),
        _ => Err(state("container not running")),
    }
}

/// Lets the processes of a paused container run again.
///
/// # Errors
/// `container not paused`; the kernel refuses.
pub fn resume(store: &Store, id: &Id) -> Result<()> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    match status {
        Status::Paused => record.cgroup.thaw(),
        _ => Err(state("container not paused")),
    }
}

fn state(text: &str) -> Error {
    Error::new(Kind::State(text.to_owned()))
}
