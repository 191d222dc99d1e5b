//! What others see of a process that never executes its program: name, command line and environment (proc_pid_cmdline(5)).
//!
//! The kernel reads the last two from the process's memory, where execve(2) has put them. prctl(2) names it another place;
//! all that it wants to know besides stays as it is. Nobody needs a capability for that, in a user namespace or outside.

use std::ffi::{CStr, CString};

use nix::libc;

use crate::error::{Error, Result, ResultExt};

/// `struct prctl_mm_map` of `linux/prctl.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Where the kernel finds everything about the calling process, and about those that it clones.
#[derive(Debug)]
pub struct Title(Map);

impl Title {
    /// Asks `/proc`, which the caller must see.
    ///
    /// # Errors
    /// There is none.
    pub fn of_self() -> Result<Title> {
        let stat = std::fs::read("/proc/self/stat").call(|| "read(\"/proc/self/stat\")")?;
        let map = parse(&stat).ok_or_else(|| Error::message("/proc/self/stat is not as proc_pid_stat(5) has it"))?;
        Ok(Title(map))
    }

    /// Shows this name, of which the kernel keeps 15 bytes, these arguments, and no environment.
    ///
    /// # Errors
    /// The kernel cannot (`CONFIG_CHECKPOINT_RESTORE`), or a filter forbids it.
    pub fn show(self, name: &CStr, args: &[CString]) -> Result<()> {
        rustix::thread::set_name(name).call(|| "prctl(PR_SET_NAME)")?;
        // The kernel goes on reading there, so it stays for good.
        let line: &[u8] = args
            .iter()
            .map(|arg| arg.to_bytes_with_nul())
            .collect::<Vec<_>>()
            .concat()
            .leak();
        let start = line.as_ptr() as u64;
        let end = start + line.len() as u64;
        let map = Map {
            // SAFETY: asked for no more memory, sbrk only tells where the heap ends.
            brk: unsafe { libc::sbrk(0) } as u64,
            arg_start: start,
            arg_end: end,
            env_start: end,
            env_end: end,
            exe_fd: u32::MAX,
            ..self.0
        };
        let words = libc::c_ulong::try_from(size_of::<Map>()).unwrap_or_default();
        // SAFETY: the map outlives the call. Every address in it is the process's own, but for the command line's the one in
        // force, so that the heap goes on where it is.
        match unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, words, 0) } {
            0 => Ok(()),
            _ => Err(Error::sys("prctl(PR_SET_MM_MAP)", nix::errno::Errno::last())),
        }
    }
}

/// Reads `/proc/PID/stat`. The name in it may hold anything.
fn parse(stat: &[u8]) -> Option<Map> {
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let fields: Vec<&str> = std::str::from_utf8(stat.get(behind_name..)?)
        .ok()?
        .split_ascii_whitespace()
        .collect();
    // proc_pid_stat(5) counts from 1, and the first of these is the third.
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Map {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        ..Map::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) (b c) S {}\n", numbers.join(" "));
        let expected = Map {
            start_code: 26,
            end_code: 27,
            start_stack: 28,
            start_data: 45,
            end_data: 46,
            start_brk: 47,
            ..Map::default()
        };
        assert_eq!(parse(stat.as_bytes()), Some(expected));
        assert_eq!(parse(b"7 (a) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let Title(map) = Title::of_self().unwrap();
        let here = the_kernel_tells_of_this_process as fn() as usize as u64;
        assert!(map.start_code <= here && here < map.end_code, "{map:x?}");
    }
}
