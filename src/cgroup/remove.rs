//! Removing a cgroup.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::Cgroup;
use super::dir::{Dir, is_forbidden, is_gone, rmdir};
use crate::error::{Error, Result, Wrap};

impl Cgroup {
    /// Removes the cgroup with everything that the container nested in it. Its processes must have been killed; the last
    /// moments of their exit are waited for, in each hierarchy about as long as `patience`. No error if it is gone.
    ///
    /// # Errors
    /// A process is still in it. All hierarchies are tried; the first error is returned.
    pub fn delete(&self, patience: Duration) -> Result<()> {
        let mut result = self.stop_unit();
        for place in self.places() {
            match remove(&place.dir(), patience) {
                Err(e) if self.is_lenient() && is_forbidden(&e) => {}
                other => result = result.and(other),
            }
        }
        result.wrap(|| "unable to remove container's cgroup")
    }
}

fn remove(path: &Path, patience: Duration) -> Result<()> {
    if rmdir(path).is_ok() {
        return Ok(());
    }
    // Nested cgroups, processes on their way out, or no permission: a look inside tells.
    let children = match Dir::open(path).and_then(|dir| dir.children()) {
        Err(e) if is_gone(&e) => return Ok(()),
        other => other?,
    };
    for child in children {
        remove(&path.join(child), patience)?;
    }
    let mut delay = Duration::from_millis(1);
    loop {
        match rmdir(path) {
            Err(Errno::BUSY) if delay < patience => {
                std::thread::sleep(delay);
                delay *= 2;
            }
            Err(errno) => return Err(Error::sys(format!("rmdir({path:?})"), errno)),
            Ok(()) => return Ok(()),
        }
    }
}
