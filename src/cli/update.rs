//! `update`: a `linux.resources` document, or flags that stand for one.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::global::Global;
use super::{Result, Verb, pick, usage};
use crate::config::{self, Resources};
use crate::container::{self, Update as Change};
use crate::error::{Error, Kind, ResultExt};
use crate::{log, oci};

/// The arguments of `update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "-1 is no limit. Sizes may end in k, m, g or t: 512m.")]
pub struct Update {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// File with a linux.resources object as in config.json; - is standard input. The limits among the other options are not
    /// looked at then
    #[arg(short, long, value_name = "FILE")]
    resources: Option<String>,
    #[command(flatten)]
    limits: Limits,
    /// Intel RDT: lines of L3 cache for the container's class
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Intel RDT: memory bandwidth of the container's class
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
}

/// A limit for each flag, as typed.
#[derive(Debug, Default, clap::Args)]
struct Limits {
    /// Weight of block IO, 10 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    blkio_weight: Option<String>,
    /// Microseconds of a period of the CPU quota
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_period: Option<String>,
    /// Microseconds of CPU time in a period
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Microseconds that may be saved up for later periods
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_burst: Option<String>,
    /// CPU time in relation to others, 2 to 262144
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_share: Option<String>,
    /// Microseconds of a real-time period
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_rt_period: Option<String>,
    /// Microseconds of real-time CPU time in a period
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// 1: run only when nobody else wants to (SCHED_IDLE); 0: not so
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    cpu_idle: Option<String>,
    /// CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory that is left to the container when the host runs short
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Accepted and ignored
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Memory of TCP buffers, on cgroup v1
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Processes and threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
}

impl Verb for Update {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        let document = match &self.resources {
            Some(file) => read(file)?,
            None => self.limits.document()?.to_string().into_bytes(),
        };
        let change = Change {
            resources: checked(&document).map_err(in_resources)?,
            schemata: [self.l3_cache_schema, self.mem_bw_schema]
                .into_iter()
                .flatten()
                .filter(|line| !line.is_empty())
                .collect(),
        };
        container::update(&store, &id, &change).map_err(in_resources)?;
        Ok(0)
    }
}

fn read(file: &str) -> Result<Vec<u8>> {
    match file {
        "-" => {
            let mut document = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut document);
            read.call(|| "read standard input").map(|_| document)
        }
        file => std::fs::read(file).call(|| format!("read {file:?}")),
    }
}

fn checked(document: &[u8]) -> Result<Resources> {
    let (resources, mut warnings) = oci::resources_document(document)?;
    let resources = config::resources(&resources, "linux.resources", &mut warnings)?;
    warnings.into_iter().for_each(log::warn);
    Ok(resources)
}

/// The document is not config.json.
fn in_resources(error: Error) -> Error {
    match error.kind() {
        Kind::Config { at, problem } => Error::message(format!("update: {at}: {problem}")),
        _ => error,
    }
}

impl Limits {
    /// The `linux.resources` object that the flags stand for; an empty value counts as none.
    fn document(&self) -> Result<Value> {
        let signed = |text: &str| text.parse::<i64>().ok().map(Value::from);
        let unsigned = |text: &str| text.parse::<u64>().ok().map(Value::from);
        let list = |text: &str| Some(Value::from(text));
        let size = |text: &str| size(text).map(Value::from);
        type Read<'a> = &'a dyn Fn(&str) -> Option<Value>;
        let fields: [(&str, &Option<String>, &str, Read<'_>); 16] = [
            ("blkio-weight", &self.blkio_weight, "blockIO.weight", &unsigned),
            ("cpu-period", &self.cpu_period, "cpu.period", &unsigned),
            ("cpu-quota", &self.cpu_quota, "cpu.quota", &signed),
            ("cpu-burst", &self.cpu_burst, "cpu.burst", &unsigned),
            ("cpu-share", &self.cpu_share, "cpu.shares", &unsigned),
            ("cpu-rt-period", &self.cpu_rt_period, "cpu.realtimePeriod", &unsigned),
            ("cpu-rt-runtime", &self.cpu_rt_runtime, "cpu.realtimeRuntime", &signed),
            ("cpu-idle", &self.cpu_idle, "cpu.idle", &signed),
            ("cpuset-cpus", &self.cpuset_cpus, "cpu.cpus", &list),
            ("cpuset-mems", &self.cpuset_mems, "cpu.mems", &list),
            ("memory", &self.memory, "memory.limit", &size),
            (
                "memory-reservation",
                &self.memory_reservation,
                "memory.reservation",
                &size,
            ),
            ("memory-swap", &self.memory_swap, "memory.swap", &size),
            ("kernel-memory", &self.kernel_memory, "memory.kernel", &size),
            ("kernel-memory-tcp", &self.kernel_memory_tcp, "memory.kernelTCP", &size),
            ("pids-limit", &self.pids_limit, "pids.limit", &signed),
        ];
        let mut document = Map::new();
        for (flag, typed, place, read) in fields {
            let Some(typed) = typed.as_deref().filter(|typed| !typed.is_empty()) else {
                continue;
            };
            let value = read(typed).ok_or_else(|| usage(format!("invalid value for {flag}: {typed:?}")))?;
            if let Some((section, key)) = place.split_once('.') {
                document.entry(section).or_insert_with(|| json!({}))[key] = value;
            }
        }
        Ok(Value::Object(document))
    }
}

/// A number of bytes as Docker and runc write it: `1048576`, `1.5g`, `512 MiB`; the units are powers of 1024. -1 is no limit.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let plain = plain.strip_suffix('i').unwrap_or(plain);
    let exponent = plain.chars().last().and_then(|unit| "kmgtp".find(unit));
    let (number, factor) = match exponent {
        Some(exponent) => (&plain[..plain.len() - 1], 1024f64.powi(exponent as i32 + 1)),
        None => (plain, 1.0),
    };
    let number = number.strip_suffix(' ').unwrap_or(number);
    let is_decimal =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let bytes = is_decimal.then(|| number.parse::<f64>().ok())?? * factor;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("4096", 4096),
            ("32K", 32 << 10),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("2 TiB", 2 << 40),
            ("7b", 7),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "-2", "m", "1x", "1.2.3", "1  k", "0x10", ".5k", "99999999p", "1kk"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn flags_become_a_document() {
        let limits = Limits {
            memory: Some("64m".into()),
            memory_swap: Some("-1".into()),
            cpu_quota: Some("-1".into()),
            cpuset_cpus: Some(String::new()),
            pids_limit: Some("0".into()),
            ..Limits::default()
        };
        let expected = json!({"memory": {"limit": 67_108_864, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": 0}});
        assert_eq!(limits.document().unwrap(), expected);
    }

    #[test]
    fn a_value_that_makes_no_sense_names_its_flag() {
        let limits = Limits {
            cpu_share: Some("-3".into()),
            ..Limits::default()
        };
        assert_eq!(
            limits.document().unwrap_err().to_string(),
            "invalid value for cpu-share: \"-3\""
        );
    }
}
