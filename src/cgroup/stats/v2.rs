//! Counters of cgroup v2, brought to the terms of v1 where runc's keys have those.

use super::read::{Counters, page_sizes};
use super::v1::pids;
use super::{BlockIo, BlockIoEntry, Cpu, HugeTlb, Memory, MemoryEntry, Stats};
use crate::cgroup::Cgroup;
use crate::error::Result;

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats> {
    let dir = Counters::open(cgroup.unified_dir().as_deref())?;
    let mut stats = Stats {
        cpu: cpu(&dir)?,
        memory: memory(&dir)?,
        pids: pids(&dir)?,
        blkio: block_io(&dir.text("io.stat")?),
        ..Stats::default()
    };
    stats.blkio.psi = dir.pressure("io.pressure")?;
    if stats.pids.current == 0 {
        // Without the controller: the processes of the cgroup itself.
        stats.pids.current = dir.text("cgroup.procs")?.lines().count() as u64;
    }
    for size in page_sizes() {
        if let Some(entry) = hugetlb(&dir, &size)? {
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(stats)
}

fn cpu(dir: &Counters) -> Result<Cpu> {
    let stat = dir.table("cpu.stat")?;
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanos = |key: &str| value(key) * 1000;
    let mut cpu = Cpu::default();
    cpu.usage.total = nanos("usage_usec");
    cpu.usage.user = nanos("user_usec");
    cpu.usage.kernel = nanos("system_usec");
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = nanos("throttled_usec");
    cpu.psi = dir.pressure("cpu.pressure")?;
    Ok(cpu)
}

fn memory(dir: &Counters) -> Result<Memory> {
    let raw = dir.table("memory.stat")?;
    let usage = MemoryEntry {
        usage: dir.count("memory.current")?,
        limit: dir.count("memory.max")?,
        max: dir.count("memory.peak")?,
        failcnt: 0,
    };
    // v2 counts swap alone. There is no peak of both together.
    let swap_limit = dir.count("memory.swap.max")?;
    let swap = MemoryEntry {
        usage: usage.usage + dir.count("memory.swap.current")?,
        limit: if swap_limit == u64::MAX {
            swap_limit
        } else {
            swap_limit.saturating_add(usage.limit)
        },
        max: 0,
        failcnt: 0,
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: dir.pressure("memory.pressure")?,
        ..Memory::default()
    })
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_io(text: &str) -> BlockIo {
    let mut all = BlockIo::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|d| d.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>())) else {
            continue;
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut all.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut all.io_service_bytes_recursive, "Write"),
                "rios" => (&mut all.io_serviced_recursive, "Read"),
                "wios" => (&mut all.io_serviced_recursive, "Write"),
                _ => continue,
            };
            table.push(BlockIoEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().unwrap_or(0),
            });
        }
    }
    all
}

fn hugetlb(dir: &Counters, size: &str) -> Result<Option<HugeTlb>> {
    let usage = match dir.number(&format!("hugetlb.{size}.rsvd.current"))? {
        Some(usage) => usage,
        None => match dir.number(&format!("hugetlb.{size}.current"))? {
            Some(usage) => usage,
            None => return Ok(None),
        },
    };
    let events = dir.table(&format!("hugetlb.{size}.events"))?;
    Ok(Some(HugeTlb {
        usage,
        max: 0,
        failcnt: events.get("max").copied().unwrap_or(0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_lines() {
        let parsed = block_io("8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=9 dios=9\n8:16\nunknown\n");
        let values = |entries: &[BlockIoEntry]| -> Vec<(u64, String, u64)> {
            entries.iter().map(|e| (e.major, e.op.clone(), e.value)).collect()
        };
        assert_eq!(
            values(&parsed.io_service_bytes_recursive),
            [(8, "Read".to_owned(), 4096), (8, "Write".to_owned(), 1)]
        );
        assert_eq!(
            values(&parsed.io_serviced_recursive),
            [(8, "Read".to_owned(), 2), (8, "Write".to_owned(), 3)]
        );
    }
}
