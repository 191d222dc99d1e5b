//! `linux.resources`.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxNetwork, LinuxRdma, LinuxResources};

use super::{block_io, cpu_list, devices, memory, network, text};
use crate::config::{Cpu, Resources};
use crate::error::{Error, Result};

/// Checks resources, found at the JSON path `at` (`linux.resources`), for create as well as for update.
///
/// # Errors
/// The first broken rule, with its JSON path.
pub fn resources(given: &LinuxResources, at: &str, warnings: &mut Vec<String>) -> Result<Resources> {
    let network = given.network().as_ref();
    Ok(Resources {
        devices: devices::rules(given.devices().as_ref(), &format!("{at}.devices"))?,
        memory: match given.memory() {
            Some(m) => memory::memory(m, &format!("{at}.memory"), warnings)?,
            None => Default::default(),
        },
        cpu: match given.cpu() {
            Some(c) => cpu(c, &format!("{at}.cpu"), warnings)?,
            None => Default::default(),
        },
        // Every negative number is taken as unlimited, as in runc.
        pids_limit: given.pids().map(|pids| pids.limit().max(-1)),
        block_io: match given.block_io() {
            Some(b) => block_io::block_io(b, &format!("{at}.blockIO"))?,
            None => Default::default(),
        },
        hugepage_limits: hugepages(given.hugepage_limits().as_ref(), &format!("{at}.hugepageLimits"))?,
        net_class_id: network.and_then(LinuxNetwork::class_id),
        net_priorities: network::priorities(network, &format!("{at}.network.priorities"))?,
        rdma: rdma(given.rdma().as_ref(), &format!("{at}.rdma"))?,
        unified: unified(given.unified().as_ref(), &format!("{at}.unified"))?,
    })
}

/// The bounds are the kernel's (`kernel/sched/core.c`); shares beyond theirs are clamped, as cgroup v2's conversion does. Zero
/// means "not given", as in runc.
fn cpu(given: &LinuxCpu, at: &str, warnings: &mut Vec<String>) -> Result<Cpu> {
    let bad = |field: &str, problem: String| Err(Error::config(format!("{at}.{field}"), problem));
    let shares = given.shares().filter(|shares| *shares != 0);
    if let Some(shares) = shares.filter(|shares| !(2..=262_144).contains(shares)) {
        warnings.push(format!(
            "{at}.shares: {shares} is not from 2 to 262144, the nearest of them is used"
        ));
    }
    let quota = given.quota().filter(|quota| *quota != 0).map(|quota| quota.max(-1));
    if let Some(quota) = quota.filter(|quota| (0..1000).contains(quota)) {
        return bad(
            "quota",
            format!("{quota} is less than 1000 microseconds, the smallest quota; -1 is unlimited"),
        );
    }
    let period = given.period().filter(|period| *period != 0);
    if let Some(period) = period.filter(|period| !(1000..=1_000_000).contains(period)) {
        return bad("period", format!("{period} is not from 1000 to 1000000 microseconds"));
    }
    if let (Some(burst), Some(quota @ 0..)) = (given.burst(), quota)
        && burst > quota.unsigned_abs()
    {
        return bad("burst", format!("{burst} is more than the quota {quota}"));
    }
    let realtime_runtime = given.realtime_runtime().filter(|runtime| *runtime != 0);
    let realtime_period = given.realtime_period().filter(|period| *period != 0);
    if let (Some(runtime @ 0..), Some(period)) = (realtime_runtime, realtime_period)
        && runtime.unsigned_abs() > period
    {
        return bad(
            "realtimeRuntime",
            format!("{runtime} is more than the realtimePeriod {period}"),
        );
    }
    if let Some(idle) = given.idle().filter(|idle| !(0..=1).contains(idle)) {
        return bad("idle", format!("{idle} is neither 0 nor 1"));
    }
    Ok(Cpu {
        shares: shares.map(|shares| shares.clamp(2, 262_144)),
        quota,
        burst: given.burst(),
        period,
        realtime_runtime,
        realtime_period,
        cpus: set(given.cpus().as_ref(), || format!("{at}.cpus"))?,
        mems: set(given.mems().as_ref(), || format!("{at}.mems"))?,
        idle: given.idle(),
    })
}

/// The kernel also takes `0-31:2/8` (two of each eight); only that it is no plain nonsense is checked.
fn set(list: Option<&String>, at: impl Fn() -> String) -> Result<Option<String>> {
    let Some(list) = text(list) else { return Ok(None) };
    for part in list.trim().split(',') {
        let range = part.split_once(':').map_or(part, |(range, _)| range);
        cpu_list::parse(range).map_err(|e| Error::config(at(), e))?;
    }
    Ok(Some(list))
}

fn hugepages(list: Option<&Vec<LinuxHugepageLimit>>, at: &str) -> Result<Vec<(String, i64)>> {
    let check = |(i, entry): (usize, &LinuxHugepageLimit)| {
        let size = entry.page_size();
        let digits = ["KB", "MB", "GB"]
            .iter()
            .find_map(|unit| size.strip_suffix(unit))
            .unwrap_or_default();
        if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            let problem = format!("{size:?} is no page size, write it like 64KB, 2MB or 1GB");
            return Err(Error::config(format!("{at}[{i}].pageSize"), problem));
        }
        if entry.limit() < -1 {
            return Err(Error::config(
                format!("{at}[{i}].limit"),
                format!("{} bytes are no limit", entry.limit()),
            ));
        }
        Ok((size.clone(), entry.limit()))
    };
    list.into_iter().flatten().enumerate().map(check).collect()
}

type RdmaLimits = Vec<(String, Option<u32>, Option<u32>)>;

fn rdma(devices: Option<&HashMap<String, LinuxRdma>>, at: &str) -> Result<RdmaLimits> {
    let mut limits = Vec::new();
    for (name, limit) in devices.into_iter().flatten() {
        if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
            return Err(Error::config(
                format!("{at}.{name}"),
                "needs hcaHandles or hcaObjects, or both",
            ));
        }
        if name.is_empty() || name.contains([' ', '\n', '\0']) {
            return Err(Error::config(format!("{at}.{name}"), "is no name of an RDMA device"));
        }
        limits.push((name.clone(), limit.hca_handles(), limit.hca_objects()));
    }
    limits.sort();
    Ok(limits)
}

fn unified(files: Option<&HashMap<String, String>>, at: &str) -> Result<BTreeMap<String, String>> {
    let files: BTreeMap<_, _> = files
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for name in files.keys() {
        if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
            let problem = format!("{name:?} is no file name, name a file of the cgroup such as memory.high");
            return Err(Error::config(format!("{at}.{name}"), problem));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<Resources> {
        resources(&serde_json::from_value(value).unwrap(), "r", &mut Vec::new())
    }

    #[test]
    fn zero_is_not_given_and_negative_is_unlimited() {
        let cpu = parse(json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}}))
            .unwrap()
            .cpu;
        assert_eq!(cpu, Cpu::default());
        let r = parse(json!({"cpu": {"quota": -5}, "pids": {"limit": -7}})).unwrap();
        assert_eq!((r.cpu.quota, r.pids_limit), (Some(-1), Some(-1)));
        assert_eq!(parse(json!({"pids": {"limit": 0}})).unwrap().pids_limit, Some(0));
    }

    #[test]
    fn shares_are_clamped() {
        assert_eq!(parse(json!({"cpu": {"shares": 1}})).unwrap().cpu.shares, Some(2));
    }

    #[test]
    fn cpu_contradictions() {
        for bad in [
            json!({"quota": 999}),
            json!({"period": 999}),
            json!({"period": 1_000_001}),
            json!({"quota": 5000, "burst": 5001}),
            json!({"realtimeRuntime": 10, "realtimePeriod": 9}),
            json!({"idle": 2}),
            json!({"cpus": "x"}),
            json!({"mems": "1-0"}),
        ] {
            assert!(parse(json!({"cpu": bad})).is_err(), "{bad}");
        }
        assert!(parse(json!({"cpu": {"cpus": "0-31:2/8,40", "quota": -1, "burst": 5}})).is_ok());
    }

    #[test]
    fn hugepages_rdma_unified() {
        assert!(parse(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})).is_ok());
        for bad in ["", "MB", "2M", "2mb", "02MB", "2 MB", "2TB", "../MB"] {
            assert!(
                parse(json!({"hugepageLimits": [{"pageSize": bad, "limit": 0}]})).is_err(),
                "{bad}"
            );
        }
        assert!(parse(json!({"rdma": {"mlx5_1": {}}})).is_err());
        for bad in ["a/b", "..", "", "/"] {
            assert!(parse(json!({"unified": {bad: "1"}})).is_err(), "{bad}");
        }
        assert_eq!(
            parse(json!({"unified": {"memory.high": "1"}})).unwrap().unified["memory.high"],
            "1"
        );
    }
}
