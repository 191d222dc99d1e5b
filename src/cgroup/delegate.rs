//! Handing a cgroup to the container's user (spec: "Cgroup ownership").

use super::dir::{Dir, is_gone, read_text};
use super::{Cgroup, Mode};
use crate::error::{Result, Wrap};

/// What the kernel allows a delegatee to own, where it does not say.
const DELEGATED: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the cgroup folder and the files that may be delegated to `uid` (of the host). Only for cgroup v2: v1 cannot be
    /// delegated safely. Call it only if the container has a cgroup namespace of its own and a writable cgroup mount.
    ///
    /// # Errors
    /// chown(2) failed for a file that exists.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        if self.mode != Mode::Unified {
            return Ok(());
        }
        let Some(path) = self.unified_dir() else {
            return Ok(());
        };
        hand_over(&Dir::open(&path)?, uid).wrap(|| "delegate the cgroup")
    }
}

/// Gives one cgroup folder, and its files that may be given away, to a user.
pub(super) fn hand_over(dir: &Dir, uid: u32) -> Result<()> {
    dir.chown("", uid)?;
    let files = read_text("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| DELEGATED.to_owned());
    for file in files.lines().filter(|f| !f.is_empty() && !f.contains('/')) {
        match dir.chown(file, uid) {
            Err(e) if is_gone(&e) => {}
            other => other?,
        }
    }
    Ok(())
}
