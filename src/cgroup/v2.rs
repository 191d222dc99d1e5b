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
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
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
mod tests {
    use super::*;

    fn lines(resources: &Resources) -> Vec<String> {
        lines_with(resources, &Present::default())
    }

    fn lines_with(resources: &Resources, present: &Present) -> Vec<String> {
        let writes = writes(resources, present).unwrap();
        writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect()
    }

    fn resources(json: &str) -> Resources {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nothing_asked_nothing_written() {
        assert!(lines(&Resources::default()).is_empty());
        assert!(unheeded(&Resources::default()).is_empty());
    }

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (1023, 100),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn swap_is_counted_alone() {
        for (both, limit, present, expected) in [
            (0, None, None, None),
            (0, Some(100), None, None),
            (0, Some(-1), None, Some(-1)),
            (-1, None, None, Some(-1)),
            (-1, Some(100), None, Some(-1)),
            (300, Some(100), None, Some(200)),
            (100, Some(100), None, Some(0)),
            (300, Some(-1), None, Some(300)),
            (300, None, Some(100), Some(200)),
            (300, None, Some(-1), Some(300)),
            (300, Some(250), Some(100), Some(50)),
        ] {
            assert_eq!(
                swap(both, limit, present).unwrap(),
                expected,
                "{both} {limit:?} {present:?}"
            );
        }
        assert!(swap(300, None, None).is_err());
        assert!(swap(99, Some(100), None).is_err());
    }

    #[test]
    fn memory_files() {
        let r = resources(r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":524288}}"#);
        assert_eq!(
            lines(&r),
            ["memory.swap.max=1048576", "memory.max=1048576", "memory.low=524288"]
        );
        let r = resources(r#"{"memory":{"limit":-1}}"#);
        assert_eq!(lines(&r), ["memory.swap.max=max", "memory.max=max"]);
        assert_eq!(writes(&r, &Present::default()).unwrap()[0].if_missing, IfMissing::Skip);
        let r = resources(r#"{"memory":{"limit":5,"swap":9}}"#);
        assert_eq!(
            writes(&r, &Present::default()).unwrap()[0].if_missing,
            IfMissing::Refuse
        );
        assert!(lines(&resources(r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#)).is_empty());
    }

    #[test]
    fn quota_and_period_keep_each_other() {
        let present = Present {
            cpu_max: Some(
                "20000 50000
"
                .into(),
            ),
            memory_max: None,
        };
        for (json, fresh, update) in [
            (r#"{"cpu":{"quota":5000}}"#, "cpu.max=5000 100000", "cpu.max=5000 50000"),
            (r#"{"cpu":{"quota":-1}}"#, "cpu.max=max 100000", "cpu.max=max 50000"),
            (r#"{"cpu":{"period":1000}}"#, "cpu.max=max 1000", "cpu.max=20000 1000"),
            (
                r#"{"cpu":{"quota":5000,"period":1000}}"#,
                "cpu.max=5000 1000",
                "cpu.max=5000 1000",
            ),
        ] {
            assert_eq!(lines(&resources(json)), [fresh]);
            assert_eq!(lines_with(&resources(json), &present), [update]);
        }
        assert!(lines(&resources(r#"{"cpu":{"quota":0,"period":0,"shares":0}}"#)).is_empty());
    }

    #[test]
    fn burst_waits_for_its_quota() {
        let r = resources(r#"{"cpu":{"burst":500,"quota":5000}}"#);
        let drawn = writes(&r, &Present::default()).unwrap();
        assert_eq!(drawn[0].file, "cpu.max.burst");
        assert!(drawn[0].may_wait);
        let r = resources(r#"{"cpu":{"burst":0}}"#);
        assert!(!writes(&r, &Present::default()).unwrap()[0].may_wait);
    }

    #[test]
    fn an_idle_cgroup_has_no_weight() {
        assert_eq!(lines(&resources(r#"{"cpu":{"idle":1,"shares":1024}}"#)), ["cpu.idle=1"]);
        assert_eq!(
            lines(&resources(r#"{"cpu":{"idle":0,"shares":1024}}"#)),
            ["cpu.idle=0", "cpu.weight=100"]
        );
    }

    #[test]
    fn block_io_weights_and_throttles() {
        for (weight, expected) in [(10, 1), (11, 11), (500, 4950), (1000, 10_000), (5, 1)] {
            assert_eq!(io_weight(weight), expected);
        }
        let r = resources(
            r#"{"blockIo":{"weight":500,"weightDevice":[[8,0,300,null],[8,16,null,200]],
                "readBps":[[8,0,1024]],"writeIops":[[8,0,0],[7,1,10]]}}"#,
        );
        let drawn = writes(&r, &Present::default()).unwrap();
        assert_eq!(drawn[0].instead, Some(("io.weight", "4950".to_owned())));
        assert_eq!(drawn[0].if_missing, IfMissing::Refuse);
        assert_eq!(drawn[1].if_missing, IfMissing::Skip);
        assert_eq!(
            lines(&r),
            [
                "io.bfq.weight=500",
                "io.bfq.weight=8:0 300",
                "io.max=7:1 wiops=10",
                "io.max=8:0 rbps=1024 wiops=max"
            ]
        );
        assert_eq!(unheeded(&r), ["linux.resources.blockIO.weightDevice[].leafWeight"]);
    }

    #[test]
    fn huge_pages_reserve_first() {
        let r = resources(r#"{"hugepageLimits":[["2MB",4194304],["1GB",-1]]}"#);
        assert_eq!(
            lines(&r),
            [
                "hugetlb.2MB.rsvd.max=4194304",
                "hugetlb.2MB.max=4194304",
                "hugetlb.1GB.rsvd.max=max",
                "hugetlb.1GB.max=max"
            ]
        );
    }

    #[test]
    fn unified_comes_last_line_by_line() {
        let r = resources(
            r#"{"pidsLimit":5,"unified":{"pids.max":"7","io.max":"8:0 rbps=1\n8:16 rbps=2\n","misc.max":"","x.y.z":"1"}}"#,
        );
        assert_eq!(
            lines(&r),
            [
                "pids.max=5",
                "io.max=8:0 rbps=1",
                "io.max=8:16 rbps=2",
                "misc.max=",
                "pids.max=7",
                "x.y.z=1"
            ]
        );
        assert_eq!(writes(&r, &Present::default()).unwrap()[1].controller, "io");
        for key in ["memory/max", "../memory.max", "memorymax", ".max", "memory."] {
            let r = Resources {
                unified: [(key.to_owned(), "1".to_owned())].into(),
                ..Resources::default()
            };
            assert!(writes(&r, &Present::default()).is_err(), "{key}");
        }
    }
}
