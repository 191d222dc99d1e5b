//! Devices on cgroup v2: an eBPF program attached to the cgroup.

use std::os::fd::AsFd;

use super::super::dir::Dir;
use super::filter::Filter;
use super::program::program;
use crate::error::{Result, Wrap};
use crate::ns::in_user_namespace;
use crate::sys::bpf;

/// Restricts a new cgroup. Nothing is loaded if everything is allowed.
///
/// # Errors
/// The kernel refuses the program. In a user namespace, where it always does, nothing is done.
pub(crate) fn load(dir: &Dir, filter: &Filter) -> Result<()> {
    if filter.allows_all() {
        return Ok(());
    }
    let attached = bpf::load_device_filter(&program(filter)).and_then(|p| bpf::attach(dir.as_fd(), p.as_fd()));
    pardon(attached)
}

/// Restricts a cgroup in use. A single program there is exchanged in one step; where that is not possible the new one is added
/// before the old ones go, so the container never has more than both allow.
///
/// # Errors
/// As [`load`].
pub(crate) fn replace(dir: &Dir, filter: &Filter) -> Result<()> {
    let replaced = (|| {
        let old = bpf::attached(dir.as_fd())?;
        let new = bpf::load_device_filter(&program(filter))?;
        if let [only] = old.as_slice()
            && bpf::replace(dir.as_fd(), new.as_fd(), only.as_fd()).is_ok()
        {
            return Ok(());
        }
        bpf::attach(dir.as_fd(), new.as_fd())?;
        old.iter()
            .try_for_each(|program| bpf::detach(dir.as_fd(), program.as_fd()))
    })();
    pardon(replaced)
}

fn pardon(result: Result<()>) -> Result<()> {
    match result {
        Err(_) if in_user_namespace() => Ok(()),
        other => other.wrap(|| "set linux.resources.devices"),
    }
}
