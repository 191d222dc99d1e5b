//! What configurations are accepted, and the exact line that tells why one is not.

use std::path::PathBuf;

use runw::config::{Config, check};
use runw::oci::Bundle;
use serde_json::{Value, json};

const DOCKER: &[u8] = include_bytes!("../integration/data/docker-config.json");

fn load(json: Vec<u8>) -> runw::Result<Config> {
    Bundle::parse(PathBuf::from("/bundle"), json).and_then(|bundle| check(&bundle))
}

#[test]
fn dockers_default_config_is_accepted() {
    let config = load(DOCKER.to_vec()).unwrap();
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
fn a_minimal_config_is_accepted() {
    let config = json!({"ociVersion": "1.0.0", "root": {"path": "/"}});
    assert!(load(config.to_string().into_bytes()).unwrap().process.is_none());
    let value: Value = serde_json::from_slice(DOCKER).unwrap();
    assert!(value.is_object());
}
