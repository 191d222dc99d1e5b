//! Where a process's code, data, heap, arguments and environment lie, as the kernel has it (prctl(2), `PR_SET_MM_MAP`).

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use nix::libc;

use crate::error::{Error, Result, ResultExt};

/// `struct prctl_mm_map` of `linux/prctl.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Map {
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

impl Map {
    /// Asks `/proc`, once: it is the same from one execve(2) to the next, and in a clone.
    pub fn of_self() -> Result<Map> {
        static OWN: OnceLock<Map> = OnceLock::new();
        if let Some(map) = OWN.get() {
            return Ok(*map);
        }
        let stat = std::fs::read("/proc/self/stat").call(|| "read(\"/proc/self/stat\")")?;
        let map = parse(&stat).ok_or_else(|| Error::message("/proc/self/stat is not as proc_pid_stat(5) has it"))?;
        Ok(*OWN.get_or_init(|| map))
    }

    /// The same, with this file as the one that runs.
    pub fn with_exe(self, file: BorrowedFd<'_>) -> Map {
        Map {
            exe_fd: file.as_raw_fd().cast_unsigned(),
            ..self
        }
    }

    /// The same, with the command line there, each argument with a NUL byte behind it, and no environment. The kernel goes on
    /// reading it as long as the process lives.
    pub fn with_command_line(self, line: &'static [u8]) -> Map {
        let start = line.as_ptr() as u64;
        let end = start + line.len() as u64;
        Map {
            arg_start: start,
            arg_end: end,
            env_start: end,
            env_end: end,
            ..self
        }
    }

    /// Tells the kernel.
    pub fn apply(self) -> Result<()> {
        let map = Map {
            // SAFETY: asked for no more memory, sbrk only tells where the heap ends.
            brk: unsafe { libc::sbrk(0) } as u64,
            ..self
        };
        let words = libc::c_ulong::try_from(size_of::<Map>()).unwrap_or_default();
        // SAFETY: the map outlives the call. Every address in it is the process's own; but for the command line's it is the one in
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
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        exe_fd: u32::MAX,
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
            arg_start: 48,
            arg_end: 49,
            env_start: 50,
            env_end: 51,
            exe_fd: u32::MAX,
            ..Map::default()
        };
        assert_eq!(parse(stat.as_bytes()), Some(expected));
        assert_eq!(parse(b"7 (a) S 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let map = Map::of_self().unwrap();
        let here = the_kernel_tells_of_this_process as fn() as usize as u64;
        assert!(map.start_code <= here && here < map.end_code, "{map:x?}");
    }
}
