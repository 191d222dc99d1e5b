//! Limits as properties of a unit (systemd.resource-control(5)).
//!
//! They are drawn from the very writes that go to the cgroup's files, `linux.resources.unified` included: so what systemd
//! writes again, at a daemon-reload say, is what is there. What it does not manage (bursts, throttles, huge pages, RDMA) it
//! leaves alone, and has no property here.

use super::value::Value;
use crate::cgroup::write::Write;

/// No limit.
const INFINITY: u64 = u64::MAX;

/// Microseconds; what the kernel and systemd take if nobody says.
const DEFAULT_PERIOD: u64 = 100_000;

/// systemd keeps CPU quotas as whole percents, in microseconds of CPU time a second.
const PERCENT: u64 = 10_000;

/// A property of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Property {
    /// Its name on D-Bus.
    pub(super) name: String,
    /// Its value.
    pub(super) value: Value,
    /// The first systemd that knows it, if that is younger than 240.
    pub(super) since: u32,
}

impl Property {
    /// One that every systemd knows.
    pub(super) fn new(name: impl Into<String>, value: Value) -> Property {
        Property {
            name: name.into(),
            value,
            since: 0,
        }
    }

    fn since(mut self, version: u32) -> Property {
        self.since = version;
        self
    }

    /// As systemd's methods take it.
    pub(super) fn to_value(&self) -> Value {
        Value::Struct(vec![Value::str(&self.name), Value::variant(self.value.clone())])
    }
}

/// What of a cgroup in use decides how an update is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present {
    /// The CPU period, microseconds.
    pub(super) period: u64,
    /// `cpu.idle` is 1.
    pub(super) idle: bool,
    /// The slice has `io.bfq.weight`: the kernel's scheduler is BFQ.
    pub(super) bfq: bool,
}

impl Default for Present {
    fn default() -> Present {
        Present {
            period: DEFAULT_PERIOD,
            idle: false,
            bfq: false,
        }
    }
}

/// The properties of `writes`. A CPU quota that systemd cannot hold is rounded up to the next percent, in the write, too. A
/// value that makes no sense has no property: the kernel refuses it better.
pub(super) fn of_writes(writes: &mut [Write], present: Present) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    for write in writes.iter_mut() {
        let drawn = match &*write.file {
            "cpu.max" => cpu_max(write, present.period),
            "io.bfq.weight" | "io.weight" => io_weight(write, present.bfq).into_iter().collect(),
            file => single(file, write.value.trim()).into_iter().collect(),
        };
        set(&mut found, drawn);
    }
    set(&mut found, cfs(writes, present.period));
    // systemd calls an idle cgroup one of weight 0; the kernel's weight of one that is not idle any more is the default.
    match last(writes, "cpu.idle") {
        Some("1") => set(&mut found, vec![Property::new("CPUWeight", Value::U64(0)).since(252)]),
        Some("0") if present.idle && last(writes, "cpu.weight").is_none() => {
            set(&mut found, vec![Property::new("CPUWeight", Value::U64(100))]);
        }
        _ => {}
    }
    found
}

/// Of two values for one property the later counts, as it does in the cgroup's file.
pub(super) fn set(properties: &mut Vec<Property>, more: Vec<Property>) {
    for property in more {
        properties.retain(|p| p.name != property.name);
        properties.push(property);
    }
}

fn last<'a>(writes: &'a [Write], file: &str) -> Option<&'a str> {
    writes.iter().rev().find(|w| w.file == file).map(|w| w.value.trim())
}

/// Files with a property of their own: of cgroup v2, then of v1.
fn single(file: &str, value: &str) -> Option<Property> {
    let number = |name: &str| Some(Property::new(name, Value::U64(number(value)?)));
    match file {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => number("MemoryZSwapMax").map(|p| p.since(253)),
        "cpu.weight" => number("CPUWeight"),
        "pids.max" => Some(Property::new("TasksMax", Value::U64(self::number(value)?.max(1)))),
        "cpuset.cpus" => Some(Property::new("AllowedCPUs", bits(value)?).since(244)),
        "cpuset.mems" => Some(Property::new("AllowedMemoryNodes", bits(value)?).since(244)),
        "memory.limit_in_bytes" => number("MemoryLimit"),
        "cpu.shares" => number("CPUShares"),
        "blkio.weight" | "blkio.bfq.weight" => number("BlockIOWeight"),
        _ => None,
    }
}

/// systemd has no property for `memory.oom.group`, but a policy that a unit is born with.
pub(super) fn oom_policy(writes: &[Write]) -> Option<Property> {
    let policy = match last(writes, "memory.oom.group")? {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(Property::new("OOMPolicy", Value::str(policy)).since(253))
}

fn number(value: &str) -> Option<u64> {
    match value {
        "max" | "-1" => Some(INFINITY),
        digits => digits.parse().ok(),
    }
}

/// `QUOTA [PERIOD]` of v2.
fn cpu_max(write: &mut Write, present_period: u64) -> Vec<Property> {
    let mut fields = write.value.split_whitespace();
    let Some(quota) = fields.next().and_then(number) else {
        return Vec::new();
    };
    let period = match fields.next() {
        Some(text) => text.parse().ok(),
        None => Some(present_period),
    };
    let Some(period) = period.filter(|p| *p > 0) else {
        return Vec::new();
    };
    let (a_second, rounded) = quota_a_second(quota, period);
    if rounded != quota {
        write.value = format!("{rounded} {period}");
    }
    cpu_properties(a_second, period)
}

/// The quota and period of v1.
fn cfs(writes: &mut [Write], present_period: u64) -> Vec<Property> {
    let period = last(writes, "cpu.cfs_period_us").and_then(|p| p.parse().ok());
    let quota = last(writes, "cpu.cfs_quota_us").and_then(number);
    let Some(quota) = quota else {
        return period
            .map(|p| Property::new("CPUQuotaPeriodUSec", Value::U64(p)).since(242))
            .into_iter()
            .collect();
    };
    let period = period.unwrap_or(present_period).max(1);
    let (a_second, rounded) = quota_a_second(quota, period);
    if rounded != quota {
        for write in writes.iter_mut().filter(|w| w.file == "cpu.cfs_quota_us") {
            write.value = rounded.to_string();
        }
    }
    cpu_properties(a_second, period)
}

/// The period is always said, too: an update must not bring back the default.
fn cpu_properties(a_second: u64, period: u64) -> Vec<Property> {
    vec![
        Property::new("CPUQuotaPerSecUSec", Value::U64(a_second)),
        Property::new("CPUQuotaPeriodUSec", Value::U64(period)).since(242),
    ]
}

/// A quota as CPU time a second, rounded up to what systemd can hold, and the quota that this comes to.
fn quota_a_second(quota: u64, period: u64) -> (u64, u64) {
    if quota == INFINITY {
        return (INFINITY, INFINITY);
    }
    let exact = u128::from(quota) * 1_000_000 / u128::from(period);
    let a_second = u64::try_from(exact).unwrap_or(INFINITY - PERCENT).div_ceil(PERCENT) * PERCENT;
    if u128::from(a_second) == exact {
        return (a_second, quota);
    }
    let rounded = u128::from(a_second) * u128::from(period) / 1_000_000;
    (a_second, u64::try_from(rounded).unwrap_or(quota))
}

/// `[default ]WEIGHT`; the weights of single devices are left alone by systemd. What goes to `io.bfq.weight` is turned round
/// with systemd's formula, if that is the file that is there.
fn io_weight(write: &Write, bfq: bool) -> Option<Property> {
    let text = match &write.instead {
        Some((_, value)) if !bfq => value,
        _ => &write.value,
    };
    let weight: u64 = text.trim().trim_start_matches("default").trim().parse().ok()?;
    let is_bfq = write.file == "io.bfq.weight" && (bfq || write.instead.is_none());
    let weight = match weight {
        101.. if is_bfq => 100 + (weight - 100) * 9900 / 900,
        weight => weight,
    };
    Some(Property::new("IOWeight", Value::U64(weight)))
}

/// A list such as `0-2,5` as bits, lowest first.
fn bits(list: &str) -> Option<Value> {
    const MOST: usize = 1 << 13;
    let mut bytes = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        for bit in first..=last {
            if bytes.len() <= bit / 8 {
                bytes.resize(bit / 8 + 1, 0u8);
            }
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    let bytes: Vec<Value> = bytes.into_iter().map(Value::Byte).collect();
    (!bytes.is_empty()).then(|| Value::Array("y".into(), bytes))
}

#[cfg(test)]
mod tests;
