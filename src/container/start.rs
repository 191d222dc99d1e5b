//! `start`: opens the gate of a created container.

use std::os::fd::AsFd;

use super::notify::Notifications;
use super::{Id, Locked, Record, Status, Store, delete};
use crate::error::{Error, Kind, Result, Wrap};
use crate::launch::Identity;
use crate::launch::gate::{self, Outcome};
use crate::{hooks, log, trace};

/// Starts the program of a created container.
///
/// # Errors
/// The container is not in the created state, or its program could not be started; then it is stopped.
pub fn start(store: &Store, id: &Id) -> Result<()> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    match status {
        Status::Created => {
            let notifications = open(&locked, &record)?;
            // Others may signal and delete the container while it is getting ready.
            drop(locked);
            notifications.map_or(Ok(()), Notifications::forward)
        }
        Status::Stopped => Err(state("cannot start a container that has stopped")),
        Status::Running => Err(state("cannot start an already running container")),
        other => Err(state(&format!("cannot start a container in the {other} state"))),
    }
}

fn state(text: &str) -> Error {
    Error::new(Kind::State(text.to_owned()))
}

/// Opens the gate and runs the poststart hooks; their failure ends the container (runtime-spec, lifecycle step 9).
///
/// Answers where the container will say that it is ready, if it was created to do so.
pub(super) fn open(locked: &Locked, record: &Record) -> Result<Option<Notifications>> {
    let notifications = Notifications::listen(locked, record)?;
    {
        let _span = trace::span("open gate");
        const FAILED: &str = "unable to start container process";
        if let Outcome::Failed(why) = gate::open(locked.as_fd()).wrap(|| FAILED)? {
            // Init says why before it ends; whoever hears of the failure may want to delete the container at once.
            if let Err(e) = delete::end(record) {
                log::aside(&format!("after the failed start: {e}"));
            }
            return Err(why.wrap(FAILED));
        }
    }
    if record.hooks.poststart.is_empty() {
        return Ok(notifications);
    }
    let _span = trace::span("poststart hooks");
    let state = identity(record).state("running", Some(record.init.pid))?;
    let setting = hooks::Setting {
        state: &state,
        env: None,
        dir: Some(&record.bundle),
        outlets: &hooks::Outlets::open(&record.annotations)?,
    };
    hooks::run("poststart", &record.hooks.poststart, setting).inspect_err(|_| {
        if let Err(e) = delete::end(record) {
            log::aside(&format!("after the failed poststart hook: {e}"));
        }
    })?;
    Ok(notifications)
}

pub(super) fn identity(record: &Record) -> Identity {
    Identity {
        oci_version: record.oci_version.clone(),
        id: record.id.to_string(),
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}
