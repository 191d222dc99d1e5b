//! `linux.resources` as writes to cgroup v2 files (kernel documentation, admin-guide/cgroup-v2), with the conversions that the
//! spec's v1 terms need.

use std::collections::BTreeMap;

use super::write::{self, IfMissing, Write, or_max};
use crate::config::{BlockIo, Cpu, Memory, Resources};
use crate::error::{Error, Result};

/// Microseconds; the kernel's own default.
const DEFAULT_PERIOD: u64 = 100_000;

/// Values of a cgroup that is in use, for an update that gives only one half of a pair. Empty for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// `cpu.max`: quota and period.
    pub(super) cpu_max: Option<String>,
    /// `memory.max`: bytes, -1 for no limit.
    pub(super) memory_max: Option<i64>,
}

/// Draws the writes, without the device rules.
///
/// # Errors
/// A value that v2 cannot express.
pub(super) fn writes(resources: &Resources, present: &Present) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    write::pids(resources.pids_limit, &mut writes);
    memory(&resources.memory, present, &mut writes)?;
    block_io(&resources.block_io, &mut writes);
    cpu(&resources.cpu, present, &mut writes);
    cpuset(&resources.cpu, &mut writes);
    hugetlb(&resources.hugepage_limits, &mut writes);
    write::rdma(&resources.rdma, &mut writes);
    unified(&resources.unified, &mut writes)?;
    Ok(writes)
}

/// What the resources ask for and v2 does not have, as JSON paths. It is left out, as runc does.
pub(super) fn unheeded(resources: &Resources) -> Vec<&'static str> {
    let Resources {
        memory, cpu, block_io, ..
    } = resources;
    [
        (memory.kernel_tcp.is_some(), "linux.resources.memory.kernelTCP"),
        (memory.swappiness.is_some(), "linux.resources.memory.swappiness"),
        (
            memory.disable_oom_killer == Some(true),
            "linux.resources.memory.disableOOMKiller",
        ),
        (
            memory.use_hierarchy == Some(false),
            "linux.resources.memory.useHierarchy",
        ),
        (
            cpu.realtime_runtime.is_some_and(|r| r != 0),
            "linux.resources.cpu.realtimeRuntime",
        ),
        (
            cpu.realtime_period.is_some_and(|p| p != 0),
            "linux.resources.cpu.realtimePeriod",
        ),
        (block_io.leaf_weight.is_some(), "linux.resources.blockIO.leafWeight"),
        (
            block_io.weight_device.iter().any(|d| d.3.is_some()),
            "linux.resources.blockIO.weightDevice[].leafWeight",
        ),
        (resources.net_class_id.is_some(), "linux.resources.network.classID"),
        (
            !resources.net_priorities.is_empty(),
            "linux.resources.network.priorities",
        ),
    ]
    .into_iter()
    .filter_map(|(asked, at)| asked.then_some(at))
    .collect()
}

fn memory(memory: &Memory, present: &Present, writes: &mut Vec<Write>) -> Result<()> {
    let limit = memory.limit.filter(|v| *v != 0);
    if let Some(swap) = swap(memory.swap.unwrap_or(0), limit, present.memory_max)? {
        // Without swap in the kernel, none and no limit are the same.
        let kind = if swap > 0 { IfMissing::Refuse } else { IfMissing::Skip };
        let mut write = Write::new("memory", "memory.swap.max", or_max(swap), "linux.resources.memory.swap");
        write.if_missing = kind;
        writes.push(write);
    }
    if let Some(limit) = limit {
        let at = "linux.resources.memory.limit";
        writes.push(Write::new("memory", "memory.max", or_max(limit), at));
    }
    if let Some(low) = memory.reservation.filter(|v| *v != 0) {
        let at = "linux.resources.memory.reservation";
        writes.push(Write::new("memory", "memory.low", or_max(low), at));
    }
    Ok(())
}

/// The spec counts memory and swap together, v2 counts swap alone. -1 is no limit; `None` leaves it as it is.
fn swap(both: i64, limit: Option<i64>, present_limit: Option<i64>) -> Result<Option<i64>> {
    let at = "linux.resources.memory.swap";
    match (both, limit.or(present_limit)) {
        (0, _) => Ok(limit.filter(|l| *l < 0)),
        (..0, _) => Ok(Some(-1)),
        (both, Some(..0)) => Ok(Some(both)),
        (both, Some(limit)) if both < limit => Err(Error::config(at, "memory+swap limit should be >= memory limit")),
        (both, Some(limit)) => Ok(Some(both - limit)),
        (_, None) => Err(Error::config(
            at,
            "unable to set swap limit without memory limit: set memory.limit, too",
        )),
    }
}

fn cpu(cpu: &Cpu, present: &Present, writes: &mut Vec<Write>) {
    if let Some(idle) = cpu.idle {
        writes.push(Write::new("cpu", "cpu.idle", idle, "linux.resources.cpu.idle"));
    }
    // The weight of an idle cgroup cannot be set, and counts for nothing.
    if let Some(shares) = cpu.shares.filter(|s| *s != 0 && cpu.idle != Some(1)) {
        let at = "linux.resources.cpu.shares";
        writes.push(Write::new("cpu", "cpu.weight", weight_of_shares(shares), at));
    }
    let max = cpu_max(cpu, present);
    if let Some(burst) = cpu.burst {
        let at = "linux.resources.cpu.burst";
        writes.push(Write::new("cpu", "cpu.max.burst", burst, at).may_wait(max.is_some()));
    }
    if let Some((value, at)) = max {
        writes.push(Write::new("cpu", "cpu.max", value, at));
    }
}

/// A quota or a period alone leaves the other as it is.
fn cpu_max(cpu: &Cpu, present: &Present) -> Option<(String, &'static str)> {
    let quota = cpu.quota.filter(|q| *q != 0).map(or_max);
    let period = cpu.period.filter(|p| *p != 0);
    let mut now = present.cpu_max.as_deref().unwrap_or_default().split_whitespace();
    let (now_quota, now_period) = (now.next(), now.next().and_then(|p| p.parse().ok()));
    let at = match (&quota, period) {
        (Some(_), _) => "linux.resources.cpu.quota",
        (None, Some(_)) => "linux.resources.cpu.period",
        (None, None) => return None,
    };
    let quota = quota.unwrap_or_else(|| now_quota.unwrap_or("max").to_owned());
    let period = period.or(now_period).unwrap_or(DEFAULT_PERIOD);
    Some((format!("{quota} {period}"), at))
}

/// Shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100): the curve through minimum, default and maximum
/// on which runc and crun agreed, a parabola in logarithms.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = libm::log2(shares as f64);
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            libm::ceil(libm::pow(10.0, exponent)) as u64
        }
    }
}

fn cpuset(cpu: &Cpu, writes: &mut Vec<Write>) {
    let files = [
        (&cpu.cpus, "cpuset.cpus", "linux.resources.cpu.cpus"),
        (&cpu.mems, "cpuset.mems", "linux.resources.cpu.mems"),
    ];
    for (value, file, at) in files {
        if let Some(list) = value.as_deref().filter(|v| !v.is_empty()) {
            writes.push(Write::new("cpuset", file, list, at));
        }
    }
}

fn block_io(io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = io.weight.filter(|w| *w != 0) {
        let at = "linux.resources.blockIO.weight";
        writes.push(Write::new("io", "io.bfq.weight", weight, at).or("io.weight", io_weight(weight)));
    }
    for (major, minor, weight, _) in &io.weight_device {
        if let Some(weight) = weight.filter(|w| *w != 0) {
            let at = "linux.resources.blockIO.weightDevice";
            let write = Write::new("io", "io.bfq.weight", format!("{major}:{minor} {weight}"), at);
            writes.push(
                write
                    .or("io.weight", format!("{major}:{minor} {}", io_weight(weight)))
                    .optional(),
            );
        }
    }
    for ((major, minor), line) in throttles(io) {
        let value = format!("{major}:{minor}{line}");
        writes.push(Write::new("io", "io.max", value, "linux.resources.blockIO"));
    }
}

/// 10 to 1000 of the spec onto 1 to 10000, linearly.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// All throttles of one device in one line. A rate of 0 lifts the limit, as in v1.
fn throttles(io: &BlockIo) -> BTreeMap<(u32, u32), String> {
    let mut lines: BTreeMap<(u32, u32), String> = BTreeMap::new();
    let kinds = [
        (&io.read_bps, "rbps"),
        (&io.write_bps, "wbps"),
        (&io.read_iops, "riops"),
        (&io.write_iops, "wiops"),
    ];
    for (devices, key) in kinds {
        for (major, minor, rate) in devices {
            let line = lines.entry((*major, *minor)).or_default();
            *line += &match rate {
                0 => format!(" {key}=max"),
                rate => format!(" {key}={rate}"),
            };
        }
    }
    lines
}

fn hugetlb(limits: &[(String, i64)], writes: &mut Vec<Write>) {
    let at = "linux.resources.hugepageLimits";
    for (size, limit) in limits {
        let limit = or_max(*limit);
        writes.push(Write::new("hugetlb", format!("hugetlb.{size}.rsvd.max"), &limit, at).optional());
        writes.push(Write::new("hugetlb", format!("hugetlb.{size}.max"), limit, at));
    }
}

/// `unified` comes last, so it overrides everything else. Multi-line values are written line by line: the kernel takes one
/// command in one write.
fn unified(unified: &BTreeMap<String, String>, writes: &mut Vec<Write>) -> Result<()> {
    for (key, value) in unified {
        let at = format!("linux.resources.unified[{key:?}]");
        if key.contains('/') {
            return Err(Error::config(at, "must be a file name (no slashes)"));
        }
        let Some((controller, _)) = key.split_once('.').filter(|(c, p)| !c.is_empty() && !p.is_empty()) else {
            return Err(Error::config(at, "must be in the form CONTROLLER.PARAMETER"));
        };
        for line in value.trim_end_matches('\n').split('\n') {
            let mut write = Write::new("", key.clone(), line, at.clone()).may_wait(true);
            write.controller = controller.to_owned().into();
            writes.push(write);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
