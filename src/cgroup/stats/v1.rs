//! Counters of the v1 controllers.

use super::read::{Counters, list, page_sizes};
use super::{BlockIoEntry, Cpu, CpuSet, HugeTlb, Memory, MemoryEntry, Pids, Stats};
use crate::cgroup::Cgroup;
use crate::error::Result;

/// Nanoseconds in a tick of `cpuacct.stat`: USER_HZ, which is 100 wherever Linux is still at home.
const TICK: u64 = 10_000_000;

/// Where block IO counters are found, in order: the BFQ scheduler's, those of throttling with and without the cgroups below.
const BLOCK_IO_FILES: [(&str, &str); 4] = [
    (
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.bfq.io_serviced_recursive",
    ),
    ("blkio.io_service_bytes_recursive", "blkio.io_serviced_recursive"),
    (
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_serviced_recursive",
    ),
    ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"),
];

pub(super) fn stats(cgroup: &Cgroup) -> Result<Stats> {
    let open = |controller| Counters::open(cgroup.controller_dir(controller).as_deref());
    let mut stats = Stats {
        cpu: cpu(&open("cpuacct")?, &open("cpu")?)?,
        cpuset: cpuset(&open("cpuset")?)?,
        memory: memory(&open("memory")?)?,
        pids: pids(&open("pids")?)?,
        ..Stats::default()
    };
    let blkio = open("blkio")?;
    for (bytes, operations) in BLOCK_IO_FILES {
        stats.blkio.io_service_bytes_recursive = block_io(&blkio.text(bytes)?);
        stats.blkio.io_serviced_recursive = block_io(&blkio.text(operations)?);
        if !stats.blkio.io_serviced_recursive.is_empty() {
            break;
        }
    }
    let huge = open("hugetlb")?;
    for size in page_sizes() {
        if let Some(entry) = hugetlb(&huge, &size)? {
            stats.hugetlb.insert(size, entry);
        }
    }
    Ok(stats)
}

fn cpu(cpuacct: &Counters, cpu: &Counters) -> Result<Cpu> {
    let mut all = Cpu::default();
    let modes = cpuacct.table("cpuacct.stat")?;
    let nanos = |mode: &str| modes.get(mode).map_or(0, |ticks| ticks * TICK);
    (all.usage.user, all.usage.kernel) = (nanos("user"), nanos("system"));
    all.usage.total = cpuacct.count("cpuacct.usage")?;
    let each = cpuacct.text("cpuacct.usage_percpu")?;
    all.usage.percpu = each.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // A header, then: cpu user system
    for line in cpuacct.text("cpuacct.usage_all")?.lines().skip(1) {
        let mut fields = line.split(' ').skip(1).map(|n| n.parse().unwrap_or(0));
        all.usage.percpu_user.push(fields.next().unwrap_or(0));
        all.usage.percpu_kernel.push(fields.next().unwrap_or(0));
    }
    let stat = cpu.table("cpu.stat")?;
    let value = |key: &str| stat.get(key).copied().unwrap_or(0);
    all.throttling.periods = value("nr_periods");
    all.throttling.throttled_periods = value("nr_throttled");
    all.throttling.throttled_time = value("throttled_time");
    Ok(all)
}

fn cpuset(dir: &Counters) -> Result<CpuSet> {
    let relax = dir.text("cpuset.sched_relax_domain_level")?;
    Ok(CpuSet {
        cpus: list(&dir.text("cpuset.cpus")?),
        mems: list(&dir.text("cpuset.mems")?),
        cpu_exclusive: dir.count("cpuset.cpu_exclusive")?,
        mem_hardwall: dir.count("cpuset.mem_hardwall")?,
        mem_exclusive: dir.count("cpuset.mem_exclusive")?,
        memory_migrate: dir.count("cpuset.memory_migrate")?,
        memory_spread_page: dir.count("cpuset.memory_spread_page")?,
        memory_spread_slab: dir.count("cpuset.memory_spread_slab")?,
        memory_pressure: dir.count("cpuset.memory_pressure")?,
        sched_load_balance: dir.count("cpuset.sched_load_balance")?,
        sched_relax_domain_level: relax.trim_end().parse().unwrap_or(0),
    })
}

fn memory(dir: &Counters) -> Result<Memory> {
    let raw = dir.table("memory.stat")?;
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        let count = |what: &str| dir.count(&format!("{prefix}.{what}"));
        Ok(MemoryEntry {
            usage: count("usage_in_bytes")?,
            max: count("max_usage_in_bytes")?,
            failcnt: count("failcnt")?,
            limit: count("limit_in_bytes")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("memory")?,
        swap: entry("memory.memsw")?,
        kernel: entry("memory.kmem")?,
        kernel_tcp: entry("memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

/// No limit has always been shown as 0.
pub(super) fn pids(dir: &Counters) -> Result<Pids> {
    let limit = dir.count("pids.max")?;
    Ok(Pids {
        current: dir.count("pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// Lines such as `8:0 Read 4096`, and totals.
fn block_io(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        Some(BlockIoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(dir: &Counters, size: &str) -> Result<Option<HugeTlb>> {
    for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
        if let Some(usage) = dir.number(&format!("{prefix}.usage_in_bytes"))? {
            return Ok(Some(HugeTlb {
                usage,
                max: dir.count(&format!("{prefix}.max_usage_in_bytes"))?,
                failcnt: dir.count(&format!("{prefix}.failcnt"))?,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_lines() {
        let parsed = block_io("8:0 Read 4096\n8:16 Total 9\n7:1 5\nTotal 9\n");
        assert_eq!(parsed.len(), 3);
        assert_eq!(
            (parsed[0].major, parsed[0].op.as_str(), parsed[0].value),
            (8, "Read", 4096)
        );
        assert_eq!((parsed[2].minor, parsed[2].op.as_str(), parsed[2].value), (1, "", 5));
    }
}
