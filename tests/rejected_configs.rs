//! What configurations are accepted, and the exact line that tells why one is not.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::path::PathBuf;

use runw::config::{Config, check, check_host};
use runw::error::Kind;
use runw::oci::{Bundle, Starter};
use serde_json::{Value, json};

const DOCKER: &[u8] = include_bytes!("../integration/data/docker-config.json");

fn load(json: impl Into<Vec<u8>>) -> runw::Result<Config> {
    Bundle::parse(PathBuf::from("/bundle"), json.into()).and_then(|bundle| check(&bundle))
}

fn docker() -> Value {
    serde_json::from_slice(DOCKER).unwrap()
}

/// The place in `tree` that a JSON path such as `linux.namespaces[2].type` names; what is missing on the way is made.
fn place<'a>(tree: &'a mut Value, path: &str) -> &'a mut Value {
    path.split(['.', '['])
        .fold(tree, |tree, part| match part.strip_suffix(']') {
            Some(index) => &mut tree[index.parse::<usize>().unwrap()],
            None => &mut tree[part],
        })
}

/// Docker's config with some places changed; null stands for "taken away".
fn changed(changes: &[(&str, Value)]) -> String {
    let mut config = docker();
    for (path, value) in changes {
        *place(&mut config, path) = value.clone();
    }
    config.to_string()
}

#[test]
fn dockers_default_config_is_accepted() {
    let config = load(DOCKER).unwrap();
    assert_eq!(config.rootfs, PathBuf::from("/bundle/rootfs"));
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.mounts.len(), 7);
    let process = config.process.unwrap();
    assert_eq!(process.args, ["/bin/true"]);
    assert_eq!(process.capabilities.bounding, process.capabilities.permitted);
    assert_eq!(process.capabilities.bounding.count_ones(), 14);
    assert!(config.seccomp.unwrap().syscalls().as_ref().unwrap().len() > 5);
}

#[test]
fn the_starter_configs_are_accepted() {
    for unified_cgroup in [false, true] {
        for rootless in [None, Some((1000, 1000))] {
            let text = Starter {
                unified_cgroup,
                rootless,
            }
            .text()
            .unwrap();
            assert_eq!(load(text).unwrap().warnings, [""; 0]);
        }
    }
}

#[test]
fn the_least_that_is_accepted() {
    let config = load(r#"{"ociVersion":"1.0.0","root":{"path":"/"}}"#).unwrap();
    assert!(config.process.is_none());
    assert_eq!(config.rootfs, PathBuf::from("/"));
}

#[test]
fn a_missing_rootfs_is_told_without_the_words_of_a_missing_program() {
    let error = |path: &str| {
        check_host(&load(changed(&[("root.path", json!(path))])).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error("/nowhere/at/all"),
        "config.json: root.path: there is no folder /nowhere/at/all, unpack the root file system there or correct the path"
    );
    assert_eq!(
        error("/proc/self/status"),
        "config.json: root.path: /proc/self/status is not a folder, unpack the root file system there"
    );
    assert!(check_host(&load(changed(&[("root.path", json!("/"))])).unwrap()).is_ok());
}

#[test]
fn a_sysctl_does_not_reach_the_runtimes_namespace_by_its_path() {
    let joined = |path: &str| {
        let namespace = json!({"type": "network", "path": path});
        load(changed(&[
            ("linux.namespaces[1]", namespace),
            ("root.path", json!("/")),
        ]))
        .unwrap()
    };
    let error = check_host(&joined("/proc/self/ns/net")).unwrap_err().to_string();
    assert_eq!(
        error,
        "config.json: linux.sysctl.net.ipv4.ip_unprivileged_port_start: would change the host, whose own namespace \
         /proc/self/ns/net is"
    );
    assert!(check_host(&joined("/proc/self/ns/uts")).is_ok());
}

#[test]
fn what_is_odd_but_harmless_is_a_warning() {
    let warning = |path: &str, value: Value| load(changed(&[(path, value)])).unwrap().warnings.join("; ");
    assert_eq!(
        warning("process.capabilities.bounding[0]", json!("CAP_FROM_THE_FUTURE")),
        "process.capabilities: ignoring unknown or unavailable capabilities: [CAP_FROM_THE_FUTURE]"
    );
    assert_eq!(
        warning("mounts[1].destination", json!("dev")),
        "mounts[1].destination: \"dev\" is relative, it is taken from /; this is deprecated"
    );
    assert_eq!(warning("frobnicate", json!({"a": 1})), "");
    assert_eq!(warning("annotations", json!({"org.example.unknown": ""})), "");
    assert_eq!(
        warning("linux.resources.memory", json!({"kernel": 1})),
        "linux.resources.memory.kernel: limits of kernel memory are obsolete and have no effect"
    );
}

#[test]
fn what_is_no_configuration() {
    for (text, line) in [
        ("", "line 1, column 0: not valid JSON: EOF while parsing a value"),
        ("{", "line 1, column 1: not valid JSON: EOF while parsing an object"),
        (
            "{\"ociVersion\": \"1.0.0\",\n}",
            "line 2, column 1: not valid JSON: trailing comma",
        ),
        ("{} {}", "line 1, column 4: not valid JSON: trailing characters"),
        ("null", "the document: invalid type: null, expected struct Spec"),
        ("[]", "the document: is an array, it must be an object"),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), format!("config.json: {line}"));
    }
}

/// One change of Docker's config and the line that refuses it.
#[derive(serde::Deserialize)]
struct Case {
    /// JSON path to value; null takes the place away.
    change: serde_json::Map<String, Value>,
    /// What follows `config.json: `.
    error: String,
}

#[test]
fn each_mistake_has_its_line() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("rejected_configs.json")).unwrap();
    assert!(cases.len() >= 100, "{}", cases.len());
    for Case { change, error } in cases {
        let changes: Vec<(&str, Value)> = change
            .iter()
            .map(|(path, value)| (path.as_str(), value.clone()))
            .collect();
        let line = match load(changed(&changes)) {
            Ok(_) => panic!("{changes:?} is accepted"),
            Err(e) => e.to_string(),
        };
        assert_eq!(
            line.strip_prefix("config.json: "),
            Some(error.as_str()),
            "{changes:?}: {line}"
        );
    }
}

/// Each place of `tree` with its JSON path, parents first.
fn places(tree: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match tree {
        // A key with a dot in it cannot be named by `place`.
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !key.contains('.'))
            .map(|(key, value)| (format!("{at}.{key}"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, value)| (format!("{at}[{i}]"), value))
            .collect(),
        _ => Vec::new(),
    };
    for (path, value) in children {
        found.push(path.trim_start_matches('.').to_owned());
        places(value, &path, found);
    }
}

/// Every value of Docker's config in turn becomes something else. Nothing may panic, and what is refused is refused in one line
/// that names a place at, above or beside the change.
#[test]
fn whatever_a_value_becomes_the_answer_is_one_line() {
    let mut paths = Vec::new();
    places(&docker(), "", &mut paths);
    // The members of an array are alike.
    paths.retain(|path| {
        path.split('[')
            .skip(1)
            .all(|part| part.starts_with(['0', '1']) && part[1..].starts_with(']'))
    });
    let others = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a\0\n"),
        json!("../.."),
        json!("\u{202e}"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"": ""}),
    ];
    let (mut refusals, mut cases) = (0, 0);
    for path in &paths {
        for other in &others {
            cases += 1;
            let Err(e) = load(changed(&[(path, other.clone())])) else {
                continue;
            };
            refusals += 1;
            let line = e.to_string();
            assert!(
                !line.contains('\n') && !line.contains('\0'),
                "{path} = {other}: {line:?}"
            );
            let Kind::Config { at, problem } = e.kind() else {
                panic!("{path} = {other}: {line}")
            };
            let first = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
            let related = first(at) == first(path) || path.starts_with("linux") || path.starts_with("process");
            assert!(related && !problem.is_empty(), "{path} = {other}: {line}");
        }
    }
    assert!(refusals > cases / 2, "{refusals} of {cases}");
}
