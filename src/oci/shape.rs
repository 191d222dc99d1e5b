//! serde takes an array for a struct, field by field: `"linux": []` would be an empty section. The runtime spec has objects there.

use serde_json::Value;

/// The keys that hold an object wherever they occur in the runtime spec.
const OBJECTS: [&str; 24] = [
    "blockIO",
    "capabilities",
    "consoleSize",
    "cpu",
    "execCPUAffinity",
    "hooks",
    "intelRdt",
    "ioPriority",
    "linux",
    "memory",
    "memoryPolicy",
    "netDevices",
    "network",
    "personality",
    "pids",
    "process",
    "rdma",
    "resources",
    "root",
    "scheduler",
    "seccomp",
    "sysctl",
    "timeOffsets",
    "user",
];

/// Whether an array may stand where an object is due, by a look at the bytes: never misses one, may be wrong inside strings.
pub fn is_doubtful(json: &[u8]) -> bool {
    let opens = |i: &usize| json[*i] == b'[';
    (0..json.len()).filter(opens).any(|i| {
        let before = json[..i].trim_ascii_end();
        match before.split_last() {
            Some((b':', rest)) => {
                let rest = rest.trim_ascii_end();
                OBJECTS.iter().any(|key| {
                    rest.strip_suffix(b"\"")
                        .is_some_and(|rest| rest.ends_with(key.as_bytes()))
                })
            }
            _ => true,
        }
    })
}

/// The JSON path of the first array that stands where an object is due; the empty path is the whole document.
pub fn misplaced_array(tree: &Value) -> Option<String> {
    if tree.is_array() {
        return Some(String::new());
    }
    search(tree, "")
}

fn search(tree: &Value, at: &str) -> Option<String> {
    match tree {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            match value {
                Value::Array(_) if OBJECTS.contains(&key.as_str()) => Some(at),
                _ => search(value, &at),
            }
        }),
        Value::Array(list) => list.iter().enumerate().find_map(|(i, value)| {
            let at = format!("{at}[{i}]");
            if value.is_array() { Some(at) } else { search(value, &at) }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bytes_say_the_tree_confirms() {
        for (json, path) in [
            ("[]", Some("")),
            (r#"{"linux" : [ ]}"#, Some("linux")),
            (r#"{"mounts":[["/x"]]}"#, Some("mounts[0]")),
            (r#"{"mounts":[{}, ["/x"]]}"#, Some("mounts[1]")),
            (r#"{"linux":{"resources":{"cpu":[]}}}"#, Some("linux.resources.cpu")),
            (r#"{"process":{"args":["[","x"]}}"#, None),
        ] {
            assert!(is_doubtful(json.as_bytes()), "{json}");
            assert_eq!(
                misplaced_array(&serde_json::from_str(json).unwrap()).as_deref(),
                path,
                "{json}"
            );
        }
    }

    #[test]
    fn dockers_config_is_not_doubted() {
        let json = include_bytes!("../../integration/data/docker-config.json");
        assert!(!is_doubtful(json));
    }
}
