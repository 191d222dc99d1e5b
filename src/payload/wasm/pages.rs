//! The memory of a guest, as the kernel shows it.

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// WasmEdge reserves 12 GiB for each memory of an instance, and puts the memory itself 4 GiB behind the beginning: whatever
/// address a guest comes to then lies in the reservation (`lib/system/allocator.cpp` of WasmEdge).
const BEFORE: u64 = 4 << 30;
const BEHIND: u64 = 8 << 30;

/// The size of a page of WebAssembly (core specification, 4.2.8).
const PAGE: u64 = 64 << 10;

/// How many pages of 64 KiB the memories of the guest in process `pid` have now; `None` if there is no such memory, because the
/// guest has not been instantiated yet or has none.
pub fn guest_pages(pid: i32) -> Option<u64> {
    let maps = Process::new(pid).and_then(|process| process.maps()).ok()?;
    count(&maps.0)
}

fn count(maps: &[MemoryMap]) -> Option<u64> {
    let pages = maps.windows(3).filter_map(|w| pages(&w[0], &w[1], &w[2]));
    pages.reduce(|a, b| a + b)
}

/// `memory` is that of a guest: anonymous, writable, with the closed parts of its reservation before and behind it.
fn pages(before: &MemoryMap, memory: &MemoryMap, behind: &MemoryMap) -> Option<u64> {
    let size = |map: &MemoryMap| map.address.1 - map.address.0;
    let anonymous = |map: &MemoryMap| matches!(map.pathname, MMapPath::Anonymous);
    let closed = |map: &MemoryMap| anonymous(map) && (map.perms & !MMPermissions::PRIVATE).is_empty();
    let open = MMPermissions::READ | MMPermissions::WRITE;
    let is_memory = closed(before)
        && closed(behind)
        && anonymous(memory)
        && memory.perms.contains(open)
        && before.address.1 == memory.address.0
        && memory.address.1 == behind.address.0
        && size(before) >= BEFORE
        && size(memory) + size(behind) >= BEHIND
        && size(memory) % PAGE == 0;
    is_memory.then(|| size(memory) / PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::FromBufRead;
    use procfs::process::MemoryMaps;

    fn of(text: &str) -> Option<u64> {
        count(&MemoryMaps::from_buf_read(text.as_bytes()).unwrap().0)
    }

    #[test]
    fn a_memory_in_its_reservation() {
        // Two pages; behind them the rest of 8 GiB.
        let text = "\
7f0000000000-7f0100000000 ---p 00000000 00:00 0 \n\
7f0100000000-7f0100020000 rw-p 00000000 00:00 0 \n\
7f0100020000-7f0300000000 ---p 00000000 00:00 0 \n";
        assert_eq!(of(text), Some(2));
        assert_eq!(of(&text.replace("rw-p", "r--p")), None);
        assert_eq!(of(&text.replace("7f0300000000", "7f0200000000")), None);
    }

    #[test]
    fn the_memory_of_others_is_no_guests() {
        // A thread's stack with its guard page.
        let text = "\
7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
7f0000001000-7f0000801000 rw-p 00000000 00:00 0 \n\
7f0000801000-7f0000802000 ---p 00000000 00:00 0 \n";
        assert_eq!(of(text), None);
        assert_eq!(guest_pages(std::process::id() as i32), None);
    }
}
