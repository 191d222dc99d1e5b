//! `update`: limits of a running container, changed by flags and by documents.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Act, Bundle, Cgroups, Layout, Payload};

for_each_payload!(pids_by_flag);

fn pids_by_flag(payload: Payload) {
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.call("update").flag("--pids-limit").flag("77").output().prints("");
    assert_eq!(c.cgroup_file("pids", "pids.max"), "77");
    // -1 as a word of its own.
    c.call("update").after(&["--pids-limit", "-1"]).output().ok();
    assert_eq!(c.cgroup_file("pids", "pids.max"), "max");
}

/// What a flag or a document must come to in a file of a v1 and of a v2 controller.
struct Change {
    flags: &'static [&'static str],
    document: Value,
    v1: &'static [(&'static str, &'static str, &'static str)],
    v2: &'static [(&'static str, &'static str, &'static str)],
}

fn changes() -> Vec<Change> {
    vec![
        Change {
            flags: &[
                "--memory",
                "64M",
                "--memory-swap=128m",
                "--memory-reservation",
                "33554432",
            ],
            document: json!({"memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432}}),
            v1: &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.memsw.limit_in_bytes", "134217728"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ],
            v2: &[
                ("memory", "memory.max", "67108864"),
                ("memory", "memory.swap.max", "67108864"),
                ("memory", "memory.low", "33554432"),
            ],
        },
        Change {
            flags: &["--cpu-quota", "25000", "--cpu-period", "50000", "--cpu-share", "512"],
            document: json!({"cpu": {"quota": 25_000, "period": 50_000, "shares": 512}}),
            v1: &[
                ("cpu", "cpu.cfs_quota_us", "25000"),
                ("cpu", "cpu.cfs_period_us", "50000"),
                ("cpu", "cpu.shares", "512"),
            ],
            v2: &[("cpu", "cpu.max", "25000 50000")],
        },
        // The quota of the change before stays.
        Change {
            flags: &["--cpu-period", "100000"],
            document: json!({"cpu": {"period": 100_000}}),
            v1: &[
                ("cpu", "cpu.cfs_quota_us", "25000"),
                ("cpu", "cpu.cfs_period_us", "100000"),
            ],
            v2: &[("cpu", "cpu.max", "25000 100000")],
        },
        Change {
            flags: &["--cpuset-cpus", "0", "--cpuset-mems", "0"],
            document: json!({"cpu": {"cpus": "0", "mems": "0"}}),
            v1: &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
            v2: &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        },
        Change {
            flags: &["--pids-limit", "20"],
            document: json!({"pids": {"limit": 20}}),
            v1: &[("pids", "pids.max", "20")],
            v2: &[("pids", "pids.max", "20")],
        },
    ]
}

impl Change {
    fn files(&self) -> Option<&'static [(&'static str, &'static str, &'static str)]> {
        let host = Cgroups::host();
        let files = if host.layout() == Layout::V2 { self.v2 } else { self.v1 };
        files
            .iter()
            .all(|(controller, ..)| host.has(controller))
            .then_some(files)
    }

    #[track_caller]
    fn check(&self, c: &Bundle) {
        for (controller, file, expected) in self.files().unwrap() {
            assert_eq!(
                c.cgroup_file(controller, file),
                *expected,
                "{file} after {:?}",
                self.flags
            );
        }
    }
}

/// The changes that this host can carry out; the others are named.
fn possible() -> Vec<Change> {
    let (possible, not): (Vec<_>, Vec<_>) = changes().into_iter().partition(|change| change.files().is_some());
    for change in not {
        crate::harness::not_for_this_host(&format!("a controller for {:?}", change.flags));
    }
    possible
}

#[test]
fn every_limit_by_flags() {
    let c = Bundle::sleeper();
    c.launch_ready();
    for change in possible() {
        c.call("update").after(change.flags).output().prints("");
        change.check(&c);
    }
}

#[test]
fn every_limit_by_a_document_on_stdin() {
    let c = Bundle::sleeper();
    c.launch_ready();
    for change in possible() {
        // As containerd calls it, for Docker and Kubernetes.
        let document = change.document.to_string();
        c.call("update")
            .flag("--resources=-")
            .stdin(&document)
            .output()
            .prints("");
        change.check(&c);
    }
}

#[test]
fn a_document_in_a_file() {
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = Bundle::sleeper();
    c.create().ok();
    let file = c.scrap("resources.json");
    fs::write(&file, r#"{"pids":{"limit":33}}"#).unwrap();
    // Flags beside a document count for nothing.
    let call = c.call("update").flag("-r").flag(&file);
    call.flag("--pids-limit").flag("5").output().ok();
    assert_eq!(c.cgroup_file("pids", "pids.max"), "33");
}

#[test]
fn nothing_changes_nothing() {
    let c = Bundle::sleeper();
    c.create().ok();
    c.call("update").flag("--resources=-").stdin("{}").output().ok();
    c.call("update").output().ok();
}

#[test]
fn null_is_nothing() {
    except!(Runc; "runc 1.1 crashes");
    let c = Bundle::sleeper();
    c.create().ok();
    let document = r#"{"memory":null,"cpu":{"quota":null,"shares":0},"pids":{}}"#;
    c.call("update").flag("--resources=-").stdin(document).output().ok();
}

#[test]
fn device_rules_stay_as_they_are() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("devices"); "v1 device rules, which can be read");
    let c = Bundle::sleeper();
    c.create().ok();
    // Somebody else lets the container have a device.
    let folder = Cgroups::host().folder("devices", &c.cgroup_path());
    fs::write(folder.join("devices.allow"), "c 10:229 rw").unwrap();
    let before = c.cgroup_file("devices", "devices.list");
    assert!(before.contains("c 10:229 rw"), "{before}");
    let document = r#"{"pids":{"limit":50},"devices":[{"allow":false,"access":"rwm"}]}"#;
    c.call("update").flag("--resources=-").stdin(document).output().ok();
    assert_eq!(c.cgroup_file("devices", "devices.list"), before);
}

#[test]
fn a_limit_below_the_usage_is_refused_if_so_wished() {
    except!(Runc if Cgroups::host().layout() == Layout::V2; "runc 1.1 does not compare the limit with the usage on v2");
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["size=64m"]);
    let c = c.sh("dd if=/dev/zero of=/mnt/file bs=1M count=32 2>/dev/null; echo ready; exec sleep 1000");
    c.launch_ready();
    let document = r#"{"memory":{"limit":8388608,"swap":8388608,"checkBeforeUpdate":true}}"#;
    c.call("update").flag("--resources=-").stdin(document).output().exits(1);
    assert_eq!(c.state()["status"], "running");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let c = Bundle::sleeper();
    c.create().ok();
    for flag in ["memory=much", "cpu-share=-4", "cpu-quota=x", "cpu-rt-period=1.5"] {
        let words = format!("invalid value for {}", flag.split_once('=').unwrap().0);
        c.call("update").flag(format!("--{flag}")).output().fails(&words);
    }
    c.call("update").flag("--resources=-").stdin("{").output().exits(1);
    c.call("update")
        .flag("--resources=/no/such")
        .output()
        .fails("no such file or directory");
}

#[test]
fn a_broken_document_is_told_by_its_path() {
    only!(Runw; "paths of documents are ours");
    let c = Bundle::sleeper();
    c.create().ok();
    for (document, path) in [
        (r#"{"memory":{"limit":"1g"}}"#, "linux.resources.memory.limit"),
        (r#"{"memory":{"limit":100,"swap":50}}"#, "linux.resources.memory.swap"),
        (r#"{"cpu":[]}"#, "linux.resources.cpu"),
        (r#"{"blockIO":{"weight":5}}"#, "linux.resources.blockIO.weight"),
    ] {
        let output = c
            .call("update")
            .flag("--resources=-")
            .stdin(document)
            .output()
            .fails(path);
        assert!(!output.stderr.contains("config.json"), "{}", output.story());
    }
}

#[test]
fn a_stopped_container_has_no_limits_to_change() {
    let c = Bundle::busybox().args(&["true"]);
    c.launch();
    c.wait();
    c.call("update")
        .flag("--pids-limit")
        .flag("5")
        .output()
        .fails("container not running");
    c.call("update")
        .id("unknown")
        .flag("--pids-limit")
        .flag("5")
        .output()
        .fails_as_unknown();
}
