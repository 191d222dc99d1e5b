//! `update`: changes the limits of a container.

use super::{Id, Status, Store};
use crate::config::Resources;
use crate::error::{Error, Kind, Result};
use crate::log;
use crate::privs::rdt::Resctrl;

/// What `update` changes; all that is not given stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Limits of the cgroup. Device rules are not looked at.
    pub resources: Resources,
    /// Lines for the schemata of the container's resctrl group.
    pub schemata: Vec<String>,
}

/// Changes the limits of a container that has not stopped.
///
/// Device rules stay as they are, even if the update holds some: they may have been changed by others, such as a plug-in that
/// brought a GPU into the running container. (runc does so, too.)
///
/// # Errors
/// `container not running`; a limit that the host or the kernel refuses. Those before it have been set.
pub fn update(store: &Store, id: &Id, update: &Update) -> Result<()> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(Error::new(Kind::State("container not running".to_owned())));
    }
    let resources = Resources {
        devices: Vec::new(),
        ..update.resources.clone()
    };
    if resources != Resources::default() {
        record.cgroup.set(&resources)?;
        for at in record.cgroup.unheeded(&resources) {
            log::warn(format!("{at}: cgroup v2 has nothing like it, it has no effect"));
        }
    }
    match &record.intel_rdt {
        _ if update.schemata.is_empty() => Ok(()),
        Some(group) => Resctrl::find()?.set(group, &update.schemata),
        None => Err(Error::unsupported(
            "updating a non-existent Intel RDT configuration is not supported: create the container with linux.intelRdt",
        )),
    }
}
