//! `linux.memoryPolicy` (set_mempolicy(2)).

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use super::cpu_list;
use crate::config::MemoryPolicy;
use crate::error::{Error, Result};

/// The modes by name, sorted, for the features document.
pub const MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// The flags by name, sorted, for the features document.
pub const FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

pub(super) fn memory_policy(given: Option<&LinuxMemoryPolicy>) -> Result<Option<MemoryPolicy>> {
    use MemoryPolicyModeType as M;
    let Some(given) = given else { return Ok(None) };
    let at = |field: &str| format!("linux.memoryPolicy.{field}");
    let nodes = match given
        .nodes()
        .as_deref()
        .map(str::trim)
        .filter(|nodes| !nodes.is_empty())
    {
        Some(list) => cpu_list::parse(list)
            .map_err(|e| Error::config(at("nodes"), format!("invalid memory policy nodes {list:?}: {e}")))?,
        None => Vec::new(),
    };
    let mode = given.mode();
    match mode {
        M::MpolDefault | M::MpolLocal if !nodes.is_empty() => {
            let count = nodes.len();
            return Err(Error::config(
                at("nodes"),
                format!("memory policy mode requires 0 nodes but got {count}: {mode} takes none"),
            ));
        }
        M::MpolBind | M::MpolInterleave | M::MpolWeightedInterleave | M::MpolPreferredMany if nodes.is_empty() => {
            return Err(Error::config(
                at("nodes"),
                format!("memory policy mode requires at least one node but got 0: {mode} takes some"),
            ));
        }
        _ => {}
    }
    let flags = given
        .flags()
        .iter()
        .flatten()
        .fold(0, |bits, flag| bits | flag_bit(*flag));
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        let problem = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return Err(Error::config(at("flags"), problem));
    }
    let number = match mode {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    Ok(Some(MemoryPolicy {
        mode: number | flags,
        nodes,
    }))
}

const STATIC_NODES: i32 = 1 << 15;
const RELATIVE_NODES: i32 = 1 << 14;
const NUMA_BALANCING: i32 = 1 << 13;

fn flag_bit(flag: MemoryPolicyFlagType) -> i32 {
    match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => STATIC_NODES,
        MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE_NODES,
        MemoryPolicyFlagType::MpolFNumaBalancing => NUMA_BALANCING,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn modes_nodes_and_flags() {
        let parse = |value| memory_policy(Some(&serde_json::from_value(value).unwrap()));
        let policy = parse(json!({"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]}))
            .unwrap()
            .unwrap();
        assert_eq!((policy.mode, policy.nodes), (2 | 1 << 15, vec![0, 1, 3]));
        assert!(parse(json!({"mode": "MPOL_DEFAULT", "nodes": ""})).is_ok());
        assert!(parse(json!({"mode": "MPOL_DEFAULT", "nodes": "0"})).is_err());
        assert!(parse(json!({"mode": "MPOL_BIND"})).is_err());
        assert!(parse(json!({"mode": "MPOL_PREFERRED"})).is_ok());
        let both = ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"];
        assert!(parse(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": both})).is_err());
    }

    #[test]
    fn the_names_are_those_of_the_crate() {
        for name in MODES {
            assert!(name.parse::<MemoryPolicyModeType>().is_ok(), "{name}");
        }
        for name in FLAGS {
            assert!(name.parse::<MemoryPolicyFlagType>().is_ok(), "{name}");
        }
    }
}
