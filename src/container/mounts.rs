//! `mounts add` and `mounts remove`.

use super::{Id, Locked, Record, Status, Store, status};
use crate::error::{Error, Kind, Result};
use crate::root::live::{self, Place};
use crate::{config, log, oci};

/// Adds the mounts of a document, `{"mounts": […]}` as in config.json, to a container that runs or waits for its start. The
/// calling process is in the container's mount namespace from then on.
///
/// # Errors
/// `container not running`; the first mount that breaks a rule or fails. Those before a failed one are there.
pub fn add_mounts(store: &Store, id: &Id, document: &[u8]) -> Result<()> {
    let (_locked, record) = running(store, id)?;
    let list = oci::mounts_document(document)?;
    let mut warnings = Vec::new();
    let mounts = config::live_mounts(&list, &record.bundle, &mut warnings)?;
    warnings.iter().for_each(log::warn);
    live::add(place(&record)?, mounts)
}

/// Removes what is mounted at the destinations of a document, `{"mounts": […]}`. The calling process is in the container's
/// mount namespace from then on.
///
/// # Errors
/// `container not running`; the first destination at which nothing is mounted.
pub fn remove_mounts(store: &Store, id: &Id, document: &[u8]) -> Result<()> {
    let (_locked, record) = running(store, id)?;
    let destinations = config::live_destinations(&oci::mounts_document(document)?)?;
    live::remove(place(&record)?, &destinations)
}

fn running(store: &Store, id: &Id) -> Result<(Locked, Record)> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    match status {
        Status::Created | Status::Running | Status::Paused => Ok((locked, record)),
        _ => Err(not_running()),
    }
}

/// Init still lives after its namespaces have been opened by its pid, so they are its.
fn place(record: &Record) -> Result<Place> {
    let place = Place::of(record.init.pid)?;
    match status::is_alive(record.init) {
        true => Ok(place),
        false => Err(not_running()),
    }
}

fn not_running() -> Error {
    Error::new(Kind::State("container not running".to_owned()))
}
