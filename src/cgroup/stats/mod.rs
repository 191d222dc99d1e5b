//! What a cgroup has used: the `data` of an event line, with runc's keys and units (go-runc and people's scripts read them).
//!
//! Bytes are bytes, CPU times nanoseconds. What the kernel does not count is left out or 0, never an error: a controller may be
//! missing, and which files a controller has depends on the kernel.

mod read;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Cgroup, Mode};
use crate::error::Result;

/// All counters of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes; v1 only.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: BlockIo,
    /// Huge pages by page size (`2MB`).
    pub hugetlb: BTreeMap<String, HugeTlb>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// What the quota did.
    pub throttling: Throttling,
    /// Time lost waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Nanoseconds of processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor; v1 only, like the next two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// Kernel time by processor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// User time by processor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside of it.
    pub user: u64,
}

/// What the quota did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which something ran.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds spent waiting for the next period.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The v1 cpuset.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuSet {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// `cpuset.cpu_exclusive`, and so on.
    pub cpu_exclusive: u64,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// See cpuset(7).
    pub mem_hardwall: u64,
    /// See cpuset(7).
    pub mem_exclusive: u64,
    /// See cpuset(7).
    pub memory_migrate: u64,
    /// See cpuset(7).
    pub memory_spread_page: u64,
    /// See cpuset(7).
    pub memory_spread_slab: u64,
    /// See cpuset(7).
    pub memory_pressure: u64,
    /// See cpuset(7).
    pub sched_load_balance: u64,
    /// See cpuset(7).
    pub sched_relax_domain_level: i64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, in v2 as well.
    pub swap: MemoryEntry,
    /// Kernel memory; v1 only, like the next.
    pub kernel: MemoryEntry,
    /// TCP buffers.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Bytes of one kind of memory. No limit is the largest number the kernel shows (v1) or `u64::MAX` (v2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The limit.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit; v1 only.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// The limit; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices; the cgroup and those below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// Time lost waiting for input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One counter of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlockIoEntry {
    /// The device.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`; v1 has more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The count.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HugeTlb {
    /// Bytes now; reserved ones where the kernel counts them.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was; v1 only.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure stall information (kernel documentation, accounting/psi).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All tasks waited.
    pub full: Stall,
}

/// Shares of time in percent, and microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Since the cgroup was made.
    pub total: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Cgroup {
    /// Reads all counters.
    ///
    /// # Errors
    /// A file is there and cannot be read. A cgroup that is gone has all counters at 0.
    pub fn stats(&self) -> Result<Stats> {
        match self.mode {
            Mode::Unified => v2::stats(self),
            Mode::Legacy | Mode::Hybrid => v1::stats(self),
        }
    }
}
