//! `linux.resources` and the resources that are not cgroups: RDT, memory policy, network devices.
//!
//! [`Resources`] is plain data with the same field names and JSON shape as the runtime spec, because it is also what `update`
//! reads and what the state folder keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `linux.resources`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Device rules in order; the default devices are added by the cgroup layer.
    pub devices: Vec<DeviceRule>,
    /// `memory`, bytes.
    pub memory: Memory,
    /// `cpu`.
    pub cpu: Cpu,
    /// `pids.limit`: -1 is unlimited, 0 means 1 (see features.md), `None` leaves it alone.
    pub pids_limit: Option<i64>,
    /// `blockIO`.
    pub block_io: BlockIo,
    /// `hugepageLimits`: page size such as `2MB`, bytes (-1 unlimited).
    pub hugepage_limits: Vec<(String, i64)>,
    /// `network.classID` (cgroup v1).
    pub net_class_id: Option<u32>,
    /// `network.priorities` (cgroup v1): interface name, priority.
    pub net_priorities: Vec<(String, u32)>,
    /// `rdma`: device, hcaHandles, hcaObjects.
    pub rdma: Vec<(String, Option<u32>, Option<u32>)>,
    /// `unified`: file name in the cgroup folder and its content (cgroup v2).
    pub unified: BTreeMap<String, String>,
}

/// One device rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    /// A non-empty subset of `rwm`, in that order.
    pub access: String,
}

/// `memory`; all byte values, -1 is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// `limit`
    pub limit: Option<i64>,
    /// `reservation`
    pub reservation: Option<i64>,
    /// `swap`: memory and swap together.
    pub swap: Option<i64>,
    /// `kernelTCP`: buffers of TCP (cgroup v1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// `swappiness`, 0 to 100 (cgroup v1).
    pub swappiness: Option<u64>,
    /// `disableOOMKiller` (cgroup v1).
    pub disable_oom_killer: Option<bool>,
    /// `useHierarchy` (cgroup v1).
    pub use_hierarchy: Option<bool>,
    /// `checkBeforeUpdate`
    pub check_before_update: bool,
}

/// `cpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// `shares`, 2 to 262144.
    pub shares: Option<u64>,
    /// `quota`, microseconds a period; -1 is unlimited.
    pub quota: Option<i64>,
    /// `burst`, microseconds.
    pub burst: Option<u64>,
    /// `period`, microseconds.
    pub period: Option<u64>,
    /// `realtimeRuntime`, microseconds (cgroup v1).
    pub realtime_runtime: Option<i64>,
    /// `realtimePeriod`, microseconds (cgroup v1).
    pub realtime_period: Option<u64>,
    /// `cpus`, list format of cpuset(7).
    pub cpus: Option<String>,
    /// `mems`, list format.
    pub mems: Option<String>,
    /// `idle`: 0 or 1.
    pub idle: Option<i64>,
}

/// `blockIO`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// `weight`, 10 to 1000.
    pub weight: Option<u16>,
    /// `leafWeight` (cgroup v1).
    pub leaf_weight: Option<u16>,
    /// `weightDevice`: major, minor, weight, leafWeight.
    pub weight_device: Vec<(u32, u32, Option<u16>, Option<u16>)>,
    /// `throttleReadBpsDevice`: major, minor, bytes a second.
    pub read_bps: Vec<(u32, u32, u64)>,
    /// `throttleWriteBpsDevice`
    pub write_bps: Vec<(u32, u32, u64)>,
    /// `throttleReadIOPSDevice`: major, minor, operations a second.
    pub read_iops: Vec<(u32, u32, u64)>,
    /// `throttleWriteIOPSDevice`
    pub write_iops: Vec<(u32, u32, u64)>,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IntelRdt {
    /// `closID`; `None`: the container's id.
    pub clos_id: Option<String>,
    /// Lines for `schemata`: l3CacheSchema, memBwSchema, then `schemata`, in the order the spec demands.
    pub schemata: Vec<String>,
    /// `enableMonitoring`.
    pub enable_monitoring: bool,
}

/// `linux.memoryPolicy` (set_mempolicy(2)).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*` number or-ed with the `MPOL_F_*` flags.
    pub mode: i32,
    /// Node numbers.
    pub nodes: Vec<u32>,
}

/// One entry of `linux.netDevices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Name in the runtime's network namespace.
    pub host_name: String,
    /// Name in the container; the same unless given, may hold `%d`.
    pub name: String,
}
