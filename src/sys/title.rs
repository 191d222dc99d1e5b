//! What others see of a process that never executes its program: name, command line and environment (proc_pid_cmdline(5)).
//!
//! The kernel reads the last two from the process's memory, where execve(2) has put them. prctl(2) names it another place;
//! all that it wants to know besides stays as it is. Nobody needs a capability for that, in a user namespace or outside.

use std::ffi::{CStr, CString};

use super::mm::Map;
use crate::error::{Result, ResultExt};

/// Where the kernel finds everything about the calling process, and about those that it clones.
#[derive(Debug)]
pub struct Title(Map);

impl Title {
    /// Asks `/proc`, which the caller must see.
    ///
    /// # Errors
    /// There is none.
    pub fn of_self() -> Result<Title> {
        Map::of_self().map(Title)
    }

    /// Shows this name, of which the kernel keeps 15 bytes, these arguments, and no environment.
    ///
    /// # Errors
    /// The kernel cannot (`CONFIG_CHECKPOINT_RESTORE`), or a filter forbids it.
    pub fn show(self, name: &CStr, args: &[CString]) -> Result<()> {
        rustix::thread::set_name(name).call(|| "prctl(PR_SET_NAME)")?;
        let line = args.iter().map(|arg| arg.to_bytes_with_nul()).collect::<Vec<_>>();
        self.0.with_command_line(line.concat().leak()).apply()
    }
}
