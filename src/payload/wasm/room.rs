//! How much memory a guest may have, so that what is too much fails inside the guest and not by the kernel's killer.

use serde::{Deserialize, Serialize};

use crate::config::Resources;
use crate::error::{Error, Result};

/// Bytes of a page of WebAssembly.
const PAGE: u64 = 64 << 10;
/// A memory of 32-bit addresses has at most so many pages.
const ALL_PAGES: u64 = 1 << 16;
/// What the process of a guest takes beside the guest's memory and the engine's heap: private pages of libraries, stacks, page
/// tables, buffers; measured at 4 MiB for a small guest.
const OWN: u64 = 6 << 20;
/// What the heap may grow by where no limit is set, most of all with the interpreter's call stack, which has none of its own.
const HEAP_GROWTH: u64 = 512 << 20;

/// The limits of a guest's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most pages that each memory of the guest may have.
    pub pages: u32,
    /// The most bytes of private writable memory (`RLIMIT_DATA`, getrlimit(2)).
    pub data: u64,
}

/// The memory limit of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The JSON path of the field that it comes from.
    at: String,
    /// In bytes.
    bytes: u64,
}

impl Limit {
    fn new(at: &str, bytes: u64) -> Limit {
        Limit { at: at.into(), bytes }
    }
}

/// The memory limit of the cgroup, whichever field it comes from.
pub fn limit(resources: &Resources) -> Option<Limit> {
    let unified = resources.unified.get("memory.max").and_then(|max| max.parse().ok());
    let classic = resources.memory.limit.and_then(|limit| u64::try_from(limit).ok());
    match (unified, classic.filter(|limit| *limit > 0)) {
        (Some(max), _) => Some(Limit::new("linux.resources.unified[\"memory.max\"]", max)),
        (None, Some(limit)) => Some(Limit::new("linux.resources.memory.limit", limit)),
        (None, None) => None,
    }
}

/// The room that a cgroup limit leaves for memories that begin with `least` pages each, once the engine has taken `heap` bytes.
///
/// # Errors
/// The module does not even begin within the limit.
pub fn room(limit: Option<&Limit>, heap: u64, least: &[u64]) -> Result<Room> {
    let begin = least
        .iter()
        .fold(0_u64, |sum, pages| sum.saturating_add(pages.saturating_mul(PAGE)));
    let Some(&Limit { ref at, bytes }) = limit else {
        return Ok(Room {
            pages: ALL_PAGES as u32,
            data: heap + OWN + HEAP_GROWTH + least.len() as u64 * ALL_PAGES * PAGE,
        });
    };
    // The kernel charges page tables too, 8 bytes for 4 KiB.
    let taken = heap + OWN + bytes / 512;
    let free = bytes.saturating_sub(taken);
    if begin > free {
        let needed = (taken + begin).div_ceil(1 << 20);
        return Err(Error::config(
            at,
            format!("{bytes} bytes are too few for this module and its engine, set at least {needed} MiB"),
        ));
    }
    Ok(Room {
        pages: (free / PAGE).min(ALL_PAGES) as u32,
        data: bytes.saturating_sub(OWN / 3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_limit_leaves_room_for_the_engine() {
        let limit = Limit::new("linux.resources.memory.limit", 64 * MIB);
        let room = room(Some(&limit), 2 * MIB, &[2]).unwrap();
        assert!(u64::from(room.pages) * PAGE < 56 * MIB && u64::from(room.pages) * PAGE > 50 * MIB);
        assert!(room.data < 64 * MIB);
    }

    #[test]
    fn a_module_that_cannot_begin_is_told_what_it_needs() {
        let limit = Limit::new("linux.resources.memory.limit", 8 * MIB);
        let error = room(Some(&limit), MIB, &[272]).unwrap_err().to_string();
        assert_eq!(
            error,
            "config.json: linux.resources.memory.limit: 8388608 bytes are too few for this module and its engine, set at least 25 MiB"
        );
    }

    #[test]
    fn without_a_limit_memories_reach_their_full_size() {
        let room = room(None, MIB, &[1, 1]).unwrap();
        assert_eq!(room.pages, 65536);
        assert!(room.data > 8 << 30);
    }

    #[test]
    fn the_unified_field_wins() {
        let mut resources = Resources::default();
        assert_eq!(limit(&resources), None);
        resources.memory.limit = Some(-1);
        assert_eq!(limit(&resources), None);
        resources.memory.limit = Some(100);
        assert_eq!(limit(&resources), Some(Limit::new("linux.resources.memory.limit", 100)));
        resources.unified.insert("memory.max".into(), "50".into());
        assert_eq!(limit(&resources).unwrap().bytes, 50);
    }
}
