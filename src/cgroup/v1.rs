//! `linux.resources` as writes to cgroup v1 files (kernel documentation, admin-guide/cgroup-v1).
//!
//! A 0 means "not given" wherever runc takes it so: memory values, shares, quota, period, block IO weights.

use super::write::{self, Write};
use crate::config::{BlockIo, Cpu, Memory, Resources};
use crate::error::{Error, Result};

/// The range to which the kernel silently clamps `cpu.shares`.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Draws the writes, without the device rules.
///
/// # Errors
/// A value that v1 cannot express.
pub(super) fn writes(resources: &Resources) -> Result<Vec<Write>> {
    if !resources.unified.is_empty() {
        return Err(Error::config(
            "linux.resources.unified",
            "invalid configuration: cannot use unified on cgroup v1",
        ));
    }
    let mut writes = Vec::new();
    cpuset(&resources.cpu, &mut writes);
    memory(&resources.memory, &mut writes);
    cpu(&resources.cpu, &mut writes)?;
    write::pids(resources.pids_limit, &mut writes);
    block_io(&resources.block_io, &mut writes);
    hugetlb(&resources.hugepage_limits, &mut writes);
    network(resources, &mut writes);
    write::rdma(&resources.rdma, &mut writes);
    Ok(writes)
}

fn cpuset(cpu: &Cpu, writes: &mut Vec<Write>) {
    let files = [
        (&cpu.cpus, "cpuset.cpus", "cpus", "linux.resources.cpu.cpus"),
        (&cpu.mems, "cpuset.mems", "mems", "linux.resources.cpu.mems"),
    ];
    for (value, file, noprefix, at) in files {
        if let Some(list) = value.as_deref().filter(|v| !v.is_empty()) {
            writes.push(Write::new("cpuset", file, list, at).or(noprefix, list));
        }
    }
}

/// The kernel demands limit <= memory+swap at every moment. The limit goes first and may wait for the other, so neither
/// raising nor lowering both needs a look at the present values.
fn memory(memory: &Memory, writes: &mut Vec<Write>) {
    let at = "linux.resources.memory.limit";
    let limit = memory.limit.unwrap_or(0);
    let swap = memory.swap.unwrap_or(0);
    if limit != 0 {
        let lifted = limit < 0 || swap != 0;
        writes.push(Write::new("memory", "memory.limit_in_bytes", limit, at).may_wait(lifted));
    }
    let swap_file = "memory.memsw.limit_in_bytes";
    if swap != 0 {
        writes.push(Write::new("memory", swap_file, swap, "linux.resources.memory.swap"));
    } else if limit < 0 {
        writes.push(Write::new("memory", swap_file, -1, at).optional());
    }
    if let Some(soft) = memory.reservation.filter(|v| *v != 0) {
        let at = "linux.resources.memory.reservation";
        writes.push(Write::new("memory", "memory.soft_limit_in_bytes", soft, at));
    }
    if let Some(buffers) = memory.kernel_tcp {
        // runc leaves it out, crun does not. Kernels may be without it.
        let at = "linux.resources.memory.kernelTCP";
        writes.push(Write::new("memory", "memory.kmem.tcp.limit_in_bytes", buffers, at).optional());
    }
    if memory.use_hierarchy == Some(true) {
        let at = "linux.resources.memory.useHierarchy";
        writes.push(Write::new("memory", "memory.use_hierarchy", 1, at).optional());
    }
    if memory.disable_oom_killer == Some(true) {
        let at = "linux.resources.memory.disableOOMKiller";
        writes.push(Write::new("memory", "memory.oom_control", 1, at));
    }
    if let Some(swappiness) = memory.swappiness {
        let at = "linux.resources.memory.swappiness";
        writes.push(Write::new("memory", "memory.swappiness", swappiness, at));
    }
}

fn cpu(cpu: &Cpu, writes: &mut Vec<Write>) -> Result<()> {
    // The shares of an idle cgroup cannot be set, and count for nothing.
    if let Some(shares) = cpu.shares.filter(|s| *s != 0 && cpu.idle != Some(1)) {
        let at = "linux.resources.cpu.shares";
        if shares < *SHARES.start() {
            return Err(Error::config(
                at,
                format!("the minimum allowed cpu-shares is {}", SHARES.start()),
            ));
        }
        if shares > *SHARES.end() {
            return Err(Error::config(
                at,
                format!("the maximum allowed cpu-shares is {}", SHARES.end()),
            ));
        }
        if cpu.idle == Some(0) {
            writes.push(idle(0));
        }
        writes.push(Write::new("cpu", "cpu.shares", shares, at));
    }
    let quota = cpu.quota.filter(|q| *q != 0);
    if let Some(period) = cpu.period.filter(|p| *p != 0) {
        let at = "linux.resources.cpu.period";
        writes.push(Write::new("cpu", "cpu.cfs_period_us", period, at).may_wait(quota.is_some()));
    }
    if let Some(burst) = cpu.burst {
        let at = "linux.resources.cpu.burst";
        let write = Write::new("cpu", "cpu.cfs_burst_us", burst, at).optional();
        writes.push(write.may_wait(quota.is_some()));
    }
    if let Some(quota) = quota {
        let at = "linux.resources.cpu.quota";
        writes.push(Write::new("cpu", "cpu.cfs_quota_us", quota.max(-1), at));
    }
    match cpu.idle {
        Some(0) if cpu.shares.is_some_and(|s| s != 0) => {}
        Some(value) => writes.push(idle(value)),
        None => {}
    }
    realtime(cpu, writes);
    Ok(())
}

fn idle(value: i64) -> Write {
    Write::new("cpu", "cpu.idle", value, "linux.resources.cpu.idle")
}

/// The files of [`realtime`], which must be written in every new cgroup above the container's first: a cgroup can have no more
/// real-time time than its parent, and new ones have none.
pub(super) fn is_realtime(write: &Write) -> bool {
    write.file.starts_with("cpu.rt_")
}

fn realtime(cpu: &Cpu, writes: &mut Vec<Write>) {
    let runtime = cpu.realtime_runtime.filter(|r| *r != 0);
    if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
        let at = "linux.resources.cpu.realtimePeriod";
        writes.push(Write::new("cpu", "cpu.rt_period_us", period, at).may_wait(runtime.is_some()));
    }
    if let Some(runtime) = runtime {
        let at = "linux.resources.cpu.realtimeRuntime";
        writes.push(Write::new("cpu", "cpu.rt_runtime_us", runtime, at));
    }
}

fn block_io(io: &BlockIo, writes: &mut Vec<Write>) {
    if let Some(weight) = io.weight.filter(|w| *w != 0) {
        let at = "linux.resources.blockIO.weight";
        writes.push(Write::new("blkio", "blkio.weight", weight, at).or("blkio.bfq.weight", weight));
    }
    if let Some(weight) = io.leaf_weight.filter(|w| *w != 0) {
        let at = "linux.resources.blockIO.leafWeight";
        writes.push(Write::new("blkio", "blkio.leaf_weight", weight, at));
    }
    let at = "linux.resources.blockIO.weightDevice";
    for (major, minor, weight, leaf) in &io.weight_device {
        if let Some(weight) = weight.filter(|w| *w != 0) {
            let line = format!("{major}:{minor} {weight}");
            let write = Write::new("blkio", "blkio.weight_device", &line, at);
            writes.push(write.or("blkio.bfq.weight_device", line));
        }
        if let Some(leaf) = leaf.filter(|w| *w != 0) {
            let line = format!("{major}:{minor} {leaf}");
            writes.push(Write::new("blkio", "blkio.leaf_weight_device", line, at));
        }
    }
    let throttles = [
        (
            &io.read_bps,
            "blkio.throttle.read_bps_device",
            "linux.resources.blockIO.throttleReadBpsDevice",
        ),
        (
            &io.write_bps,
            "blkio.throttle.write_bps_device",
            "linux.resources.blockIO.throttleWriteBpsDevice",
        ),
        (
            &io.read_iops,
            "blkio.throttle.read_iops_device",
            "linux.resources.blockIO.throttleReadIOPSDevice",
        ),
        (
            &io.write_iops,
            "blkio.throttle.write_iops_device",
            "linux.resources.blockIO.throttleWriteIOPSDevice",
        ),
    ];
    for (devices, file, at) in throttles {
        for (major, minor, rate) in devices {
            writes.push(Write::new("blkio", file, format!("{major}:{minor} {rate}"), at));
        }
    }
}

fn hugetlb(limits: &[(String, i64)], writes: &mut Vec<Write>) {
    let at = "linux.resources.hugepageLimits";
    for (size, limit) in limits {
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        writes.push(Write::new("hugetlb", reserved, limit, at).optional());
        writes.push(Write::new(
            "hugetlb",
            format!("hugetlb.{size}.limit_in_bytes"),
            limit,
            at,
        ));
    }
}

fn network(resources: &Resources, writes: &mut Vec<Write>) {
    if let Some(class) = resources.net_class_id.filter(|c| *c != 0) {
        writes.push(Write::new(
            "net_cls",
            "net_cls.classid",
            class,
            "linux.resources.network.classID",
        ));
    }
    for (interface, priority) in &resources.net_priorities {
        let line = format!("{interface} {priority}");
        let at = "linux.resources.network.priorities";
        writes.push(Write::new("net_prio", "net_prio.ifpriomap", line, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::write::IfMissing;

    fn drawn(json: &str) -> Vec<Write> {
        writes(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn lines(json: &str) -> Vec<String> {
        drawn(json).iter().map(|w| format!("{}={}", w.file, w.value)).collect()
    }

    #[test]
    fn nothing_asked_nothing_written() {
        assert!(lines("{}").is_empty());
        assert!(lines(r#"{"memory":{"disableOomKiller":false,"limit":0},"cpu":{"shares":0,"cpus":""}}"#).is_empty());
    }

    #[test]
    fn the_limit_waits_only_for_a_swap_limit() {
        let both = drawn(r#"{"memory":{"limit":100,"swap":200}}"#);
        assert_eq!(both[0].file, "memory.limit_in_bytes");
        assert!(both[0].may_wait);
        assert_eq!(both[1].file, "memory.memsw.limit_in_bytes");
        assert_eq!(both[1].if_missing, IfMissing::Refuse);
        assert!(!drawn(r#"{"memory":{"limit":100}}"#)[0].may_wait);
    }

    #[test]
    fn unlimited_memory_lifts_swap_where_there_is_any() {
        let both = drawn(r#"{"memory":{"limit":-1}}"#);
        assert!(both[0].may_wait);
        assert_eq!((both[1].value.as_str(), both[1].if_missing), ("-1", IfMissing::Skip));
    }

    #[test]
    fn the_rest_of_memory() {
        let memory = r#"{"memory":{"reservation":5,"kernelTCP":4096,"useHierarchy":true,"disableOomKiller":true,"swappiness":0}}"#;
        assert_eq!(
            lines(memory),
            [
                "memory.soft_limit_in_bytes=5",
                "memory.kmem.tcp.limit_in_bytes=4096",
                "memory.use_hierarchy=1",
                "memory.oom_control=1",
                "memory.swappiness=0"
            ]
        );
    }

    #[test]
    fn shares_have_a_range() {
        assert_eq!(lines(r#"{"cpu":{"shares":2}}"#), ["cpu.shares=2"]);
        for (shares, word) in [(1, "minimum"), (262_145, "maximum")] {
            let cpu = Cpu {
                shares: Some(shares),
                ..Cpu::default()
            };
            let refused = writes(&Resources {
                cpu,
                ..Resources::default()
            });
            assert!(refused.unwrap_err().to_string().contains(word));
        }
    }

    #[test]
    fn period_and_burst_wait_for_a_quota() {
        let with = drawn(r#"{"cpu":{"period":1000,"burst":10,"quota":500}}"#);
        let files: Vec<_> = with.iter().map(|w| (&*w.file, w.may_wait)).collect();
        assert_eq!(
            files,
            [
                ("cpu.cfs_period_us", true),
                ("cpu.cfs_burst_us", true),
                ("cpu.cfs_quota_us", false)
            ]
        );
        assert!(!drawn(r#"{"cpu":{"period":1000}}"#)[0].may_wait);
        assert_eq!(lines(r#"{"cpu":{"quota":-1}}"#), ["cpu.cfs_quota_us=-1"]);
    }

    #[test]
    fn an_idle_cgroup_has_no_shares() {
        assert_eq!(lines(r#"{"cpu":{"idle":1,"shares":5}}"#), ["cpu.idle=1"]);
        assert_eq!(
            lines(r#"{"cpu":{"idle":0,"shares":5}}"#),
            ["cpu.idle=0", "cpu.shares=5"]
        );
        assert_eq!(lines(r#"{"cpu":{"idle":0}}"#), ["cpu.idle=0"]);
    }

    #[test]
    fn realtime_period_waits_for_its_runtime() {
        let rt = drawn(r#"{"cpu":{"realtimePeriod":1000,"realtimeRuntime":500}}"#);
        assert!(rt.iter().all(is_realtime));
        assert!(rt[0].may_wait && !rt[1].may_wait);
    }

    #[test]
    fn cpusets_know_the_old_names() {
        let sets = drawn(r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#);
        assert_eq!(sets[0].instead, Some(("cpus", "0-1".to_owned())));
        assert_eq!(sets[1].file, "cpuset.mems");
    }

    #[test]
    fn block_io() {
        let io = r#"{"blockIo":{"weight":500,"leafWeight":10,"weightDevice":[[8,0,300,20]],"readBps":[[8,0,1]],
            "writeBps":[[8,0,2]],"readIops":[[8,0,3]],"writeIops":[[8,0,0]]}}"#;
        assert_eq!(
            lines(io),
            [
                "blkio.weight=500",
                "blkio.leaf_weight=10",
                "blkio.weight_device=8:0 300",
                "blkio.leaf_weight_device=8:0 20",
                "blkio.throttle.read_bps_device=8:0 1",
                "blkio.throttle.write_bps_device=8:0 2",
                "blkio.throttle.read_iops_device=8:0 3",
                "blkio.throttle.write_iops_device=8:0 0"
            ]
        );
        assert_eq!(drawn(io)[0].instead, Some(("blkio.bfq.weight", "500".to_owned())));
    }

    #[test]
    fn small_controllers() {
        let r = r#"{"hugepageLimits":[["2MB",-1]],"netClassId":1048577,"netPriorities":[["eth0",5]],"pidsLimit":-1}"#;
        assert_eq!(
            lines(r),
            [
                "pids.max=max",
                "hugetlb.2MB.rsvd.limit_in_bytes=-1",
                "hugetlb.2MB.limit_in_bytes=-1",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 5"
            ]
        );
    }

    #[test]
    fn unified_is_for_v2() {
        let r = Resources {
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert!(
            writes(&r)
                .unwrap_err()
                .to_string()
                .contains("cannot use unified on cgroup v1")
        );
    }
}
