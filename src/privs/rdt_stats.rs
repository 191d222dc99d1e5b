//! What a container's resctrl group allows it and has used, with the keys of runc's events.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::rdt::{Group, Resctrl};

/// Intel RDT of a container. Every key is left out where there is nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RdtStats {
    /// What the machine's L3 cache can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    /// The line of the default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    /// The line of the container's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// What the machine's memory bandwidth control can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    /// The line of the default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    /// The line of the container's class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// All lines of the container's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Bandwidth used, by domain of the L3 cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<Bandwidth>,
    /// Cache used, by domain of the L3 cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<Occupancy>,
}

/// `info/L3` of resctrl.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct L3CacheInfo {
    /// Hexadecimal mask of all ways.
    pub cbm_mask: String,
    /// The fewest bits that may be set.
    pub min_cbm_bits: u64,
    /// Number of classes.
    pub num_closids: u64,
}

/// `info/MB` of resctrl.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemBwInfo {
    /// Step of the percentage.
    pub bandwidth_gran: u64,
    /// Whether the delay is linear.
    pub delay_linear: u64,
    /// The least percentage.
    pub min_bandwidth: u64,
    /// Number of classes.
    pub num_closids: u64,
}

/// Bytes moved to and from memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bandwidth {
    /// To and from any node.
    pub mbm_total_bytes: u64,
    /// To and from the domain's own node.
    pub mbm_local_bytes: u64,
}

/// Bytes of cache in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Occupancy {
    /// Last level cache.
    pub llc_occupancy: u64,
}

impl Resctrl {
    /// Looks at the group of a container.
    pub fn stats(&self, group: &Group) -> RdtStats {
        let info = |file: &str| text(&self.root().join("info").join(file));
        let number = |file: &str| info(file).and_then(|text| text.parse().ok()).unwrap_or(0);
        let schemata = lines(&group.folder);
        let line = |lines: &[String], resource: &str| lines.iter().find(|l| l.starts_with(resource)).cloned();
        let root = lines(self.root());
        let mut stats = RdtStats {
            l3_cache_schema: line(&schemata, "L3:"),
            l3_cache_schema_root: line(&root, "L3:"),
            mem_bw_schema: line(&schemata, "MB:"),
            mem_bw_schema_root: line(&root, "MB:"),
            schemata,
            ..RdtStats::default()
        };
        stats.l3_cache_info = info("L3/cbm_mask").map(|cbm_mask| L3CacheInfo {
            cbm_mask,
            min_cbm_bits: number("L3/min_cbm_bits"),
            num_closids: number("L3/num_closids"),
        });
        stats.mem_bw_info = info("MB/num_closids").map(|_| MemBwInfo {
            bandwidth_gran: number("MB/bandwidth_gran"),
            delay_linear: number("MB/delay_linear"),
            min_bandwidth: number("MB/min_bandwidth"),
            num_closids: number("MB/num_closids"),
        });
        // Of the monitoring group that is the container's own, if it has one.
        let monitored = group.made.first().unwrap_or(&group.folder);
        stats.monitor(&monitored.join("mon_data"));
        stats
    }
}

impl RdtStats {
    fn monitor(&mut self, data: &Path) {
        let mut domains: Vec<_> = fs::read_dir(data)
            .into_iter()
            .flatten()
            .flatten()
            .map(|d| d.path())
            .collect();
        domains.sort();
        for domain in domains {
            let number = |file: &str| text(&domain.join(file)).and_then(|text| text.parse().ok());
            if let Some(mbm_total_bytes) = number("mbm_total_bytes") {
                self.mbm_stats.push(Bandwidth {
                    mbm_total_bytes,
                    mbm_local_bytes: number("mbm_local_bytes").unwrap_or(0),
                });
            }
            if let Some(llc_occupancy) = number("llc_occupancy") {
                self.cmt_stats.push(Occupancy { llc_occupancy });
            }
        }
    }
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// The lines of a group's schemata, without the blanks that align them.
fn lines(folder: &Path) -> Vec<String> {
    let text = text(&folder.join("schemata")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_as_the_kernel_shows_it() {
        let root = std::env::temp_dir().join(format!("runw-rdt-stats-{}", std::process::id()));
        for (file, text) in [
            ("schemata", "    L3:0=fff\n    MB:0=100\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("c/schemata", "    L3:0=00f\n    MB:0= 50\n"),
            ("c/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
            ("c/mon_data/mon_L3_00/mbm_local_bytes", "5\n"),
            ("c/mon_data/mon_L3_00/llc_occupancy", "Unavailable\n"),
        ] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let group = Group {
            folder: root.join("c"),
            made: Vec::new(),
        };
        let stats = Resctrl::at(root.clone()).stats(&group);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            serde_json::to_value(stats).unwrap(),
            serde_json::json!({
                "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fff", "l3_cache_schema": "L3:0=00f",
                "mem_bw_schema_root": "MB:0=100", "mem_bw_schema": "MB:0= 50",
                "schemata": ["L3:0=00f", "MB:0= 50"],
                "mbm_stats": [{"mbm_total_bytes": 7, "mbm_local_bytes": 5}],
            })
        );
        assert_eq!(serde_json::to_string(&RdtStats::default()).unwrap(), "{}");
    }
}
