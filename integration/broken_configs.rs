//! Configs that must be refused: exit code 1, one line that names the culprit, and nothing left behind.

use serde_json::{Value, json};

use crate::harness::{Bundle, Cgroups, Kind, Layout, assert_refused, runtime};

/// Every runtime has words of its own for it.
const ANY: &[&str] = &[""];

#[test]
fn not_json() {
    for text in ["", "{", "[]", "nonsense", "{\"ociVersion\": \"1.0.2\"", "null"] {
        if text == "null" && runtime().kind == Kind::Runc {
            continue; // runc 1.1 crashes.
        }
        let c = Bundle::busybox().raw_config(text);
        assert_refused(&c, "config.json", ANY);
    }
}

#[test]
fn no_config_file() {
    except!(Crun; "crun does not name the file");
    let c = Bundle::busybox();
    c.run(&["true"]).ok();
    std::fs::remove_file(c.path().join("config.json")).unwrap();
    let output = std::process::Command::new(&runtime().path)
        .arg("--root")
        .arg(c.state_root())
        .args(["create", "--bundle"])
        .arg(c.path())
        .arg(c.id())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("config.json") && stderr.contains("not found") || stderr.contains("o such file"),
        "{stderr}"
    );
    c.assert_no_trace();
}

#[test]
fn no_bundle_folder() {
    let c = Bundle::busybox();
    c.call("create")
        .no_bundle_flag()
        .flag("--bundle=/no/such/bundle")
        .output()
        .fails_with_one_of(&["no such file or directory", "does not exist"]);
    c.assert_no_trace();
}

/// Each property with a value of the wrong JSON type.
#[test]
fn wrong_types() {
    except!(Crun; "crun ignores what it cannot read");
    for (path, value) in [
        ("ociVersion", json!(1)),
        ("process", json!("run")),
        ("process.args", json!("sh")),
        ("process.args.0", json!(7)),
        ("process.env", json!({ "A": "1" })),
        ("process.cwd", json!(["/"])),
        ("process.user.uid", json!("root")),
        ("process.user.uid", json!(-1)),
        ("process.user.uid", json!(4_294_967_296_u64)),
        ("process.terminal", json!("yes")),
        ("process.rlimits", json!({ "type": "RLIMIT_CORE" })),
        ("process.oomScoreAdj", json!("high")),
        ("root", json!("rootfs")),
        ("root.readonly", json!("yes")),
        ("mounts", json!({})),
        ("mounts.0.options", json!("ro")),
        ("hostname", json!(12)),
        ("linux", json!([])),
        ("linux.namespaces", json!("all")),
        ("linux.namespaces.0", json!("pid")),
        ("linux.resources.memory.limit", json!("1G")),
        ("linux.resources.pids.limit", json!(1.5)),
        ("linux.devices", json!({})),
        ("linux.maskedPaths", json!("/proc/kcore")),
        ("linux.sysctl", json!(["net.ipv4.ip_forward=1"])),
        ("hooks.prestart", json!({ "path": "/bin/true" })),
    ] {
        let c = Bundle::busybox().set(path, value.clone());
        // Serde names array places by number in brackets; the path's first words must be there in any case.
        let named = path
            .split('.')
            .take_while(|step| step.parse::<usize>().is_err())
            .collect::<Vec<_>>()
            .join(".");
        assert_refused(&c, &named, ANY);
    }
}

/// A bundle that is fine but for one property.
fn but(path: &str, value: impl Into<Value>) -> Bundle {
    Bundle::busybox().set(path, value)
}

#[test]
fn no_process() {
    except!(Crun; "crun allows it");
    assert_refused(&Bundle::busybox().without("process"), "process", ANY);
}

#[test]
fn no_args() {
    except!(Crun; "crun reports an empty name");
    assert_refused(&but("process.args", json!([])), "process.args", &["args"]);
}

#[test]
fn an_empty_program() {
    assert_refused(
        &but("process.args", json!([""])),
        "exec",
        &["executable", "empty", "not found", "no such file"],
    );
}

#[test]
fn a_relative_cwd() {
    except!(Crun; "crun takes it from /");
    assert_refused(&but("process.cwd", "tmp"), "process.cwd", &["cwd", "absolute"]);
}

#[test]
fn an_empty_cwd() {
    except!(Crun; "crun takes it for /");
    assert_refused(&but("process.cwd", ""), "process.cwd", &["cwd"]);
}

#[test]
fn no_root() {
    assert_refused(&Bundle::busybox().without("root"), "root", ANY);
}

#[test]
fn a_missing_root_folder() {
    assert_refused(
        &but("root.path", "nowhere"),
        "root.path",
        &["no such file or directory", "does not exist", "there is no folder"],
    );
    assert_refused(
        &but("root.path", "/no/such/rootfs"),
        "root.path",
        &["no such file or directory", "does not exist", "there is no folder"],
    );
}

#[test]
fn a_root_that_is_a_file() {
    assert_refused(&but("root.path", "config.json"), "root.path", ANY);
}

#[test]
fn an_unknown_namespace() {
    let c = Bundle::busybox().push("linux.namespaces", json!({ "type": "dream" }));
    assert_refused(&c, "linux.namespaces", &["namespace", "dream"]);
}

#[test]
fn a_namespace_without_a_type() {
    except!(Crun; "crun does not name the culprit");
    let c = Bundle::busybox().push("linux.namespaces", json!({}));
    assert_refused(&c, "linux.namespaces", &["namespace", "type"]);
}

#[test]
fn a_namespace_twice() {
    let c = Bundle::busybox().push("linux.namespaces", json!({ "type": "pid" }));
    assert_refused(&c, "linux.namespaces", &["duplicate", "more than once", "twice"]);
}

#[test]
fn a_namespace_path_that_is_missing() {
    let c = Bundle::busybox().namespace("network", Some("/no/such/namespace"));
    assert_refused(&c, "linux.namespaces", &["no such file or directory", "does not exist"]);
}

#[test]
fn a_namespace_path_that_is_relative() {
    only!(Runw; "the specification demands it; runc and crun do not look");
    let c = Bundle::busybox().namespace("network", Some("ns/net"));
    assert_refused(&c, "linux.namespaces", &["absolute"]);
}

#[test]
fn a_hostname_without_a_uts_namespace() {
    assert_refused(
        &Bundle::busybox().without_namespace("uts"),
        "hostname",
        &["hostname", "uts"],
    );
}

#[test]
fn a_domainname_without_a_uts_namespace() {
    except!(Runc; "runc 1.1 knows no domainname");
    let c = Bundle::busybox()
        .without("hostname")
        .without_namespace("uts")
        .set("domainname", "example.org");
    assert_refused(&c, "domainname", &["domainname", "uts"]);
}

#[test]
fn a_user_namespace_without_mappings() {
    except!(Crun; "crun makes its own");
    assert_refused(
        &Bundle::busybox().namespace("user", None),
        "linux.uidMappings",
        &["mapping"],
    );
}

#[test]
fn an_unmapped_user() {
    let c = Bundle::busybox()
        .user_namespace(100_000, 10)
        .set("process.user.uid", 1000);
    assert_refused(&c, "process.user.uid", ANY);
}

#[test]
fn an_unmapped_group() {
    let c = Bundle::busybox()
        .user_namespace(100_000, 10)
        .set("process.user.additionalGids", json!([4000]));
    assert_refused(&c, "process.user.additionalGids", ANY);
}

#[test]
fn mappings_that_overlap() {
    except!(Runc if Cgroups::host().layout() == Layout::V2; "runc 1.1 removes a v2 cgroup before its processes have left");
    let c = Bundle::busybox().user_namespace(100_000, 10).push(
        "linux.uidMappings",
        json!({ "containerID": 5, "hostID": 200_000, "size": 10 }),
    );
    assert_refused(&c, "linux.uidMappings", ANY);
}

#[test]
fn a_rlimit_twice() {
    let c = Bundle::busybox().push(
        "process.rlimits",
        json!({ "type": "RLIMIT_NOFILE", "hard": 10, "soft": 10 }),
    );
    except!(Crun, Runc; "crun and runc 1.1 set one after the other");
    assert_refused(
        &c,
        "process.rlimits",
        &["duplicate", "more than once", "twice", "rlimit"],
    );
}

#[test]
fn an_unknown_rlimit() {
    let c = but(
        "process.rlimits",
        json!([{ "type": "RLIMIT_PATIENCE", "hard": 1, "soft": 1 }]),
    );
    assert_refused(&c, "process.rlimits", &["rlimit"]);
}

#[test]
fn a_soft_limit_above_the_hard_one() {
    let c = but(
        "process.rlimits",
        json!([{ "type": "RLIMIT_NOFILE", "hard": 10, "soft": 20 }]),
    );
    assert_refused(&c, "process.rlimits", ANY);
}

#[test]
fn an_oom_score_out_of_range() {
    let c = but("process.oomScoreAdj", 1001);
    assert_refused(&c, "process.oomScoreAdj", ANY);
}

#[test]
fn a_mount_without_a_destination() {
    let c = Bundle::busybox().push("mounts", json!({ "type": "tmpfs", "source": "tmpfs" }));
    assert_refused(&c, "mounts", ANY);
}

#[test]
fn an_unknown_file_system() {
    let c = Bundle::busybox().mount("/mnt", "no-such-fs", "none", &[]);
    assert_refused(&c, "mounts", ANY);
}

#[test]
fn an_unknown_propagation() {
    except!(Crun; "crun ignores it");
    let c = but("linux.rootfsPropagation", "sideways");
    assert_refused(&c, "linux.rootfsPropagation", &["propagation"]);
}

#[test]
fn an_unknown_seccomp_action() {
    let c = but("linux.seccomp", json!({ "defaultAction": "SCMP_ACT_SHRUG" }));
    assert_refused(&c, "linux.seccomp.defaultAction", &["SCMP_ACT_SHRUG", "seccomp"]);
}

#[test]
fn an_unknown_seccomp_architecture() {
    let c = but(
        "linux.seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"] }),
    );
    except!(Crun; "crun skips it");
    assert_refused(
        &c,
        "linux.seccomp.architectures",
        &["SCMP_ARCH_ABACUS", "seccomp", "arch"],
    );
}

#[test]
fn an_unknown_seccomp_operator() {
    let c = but(
        "linux.seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_VIBES" }] }],
        }),
    );
    assert_refused(&c, "linux.seccomp.syscalls", &["SCMP_CMP_VIBES", "seccomp", "operator"]);
}

#[test]
fn a_device_of_an_unknown_type() {
    except!(Crun; "crun takes any letter for a file");
    let c = Bundle::busybox().push(
        "linux.devices",
        json!({ "path": "/dev/x", "type": "q", "major": 1, "minor": 3 }),
    );
    assert_refused(&c, "linux.devices", ANY);
}

#[test]
fn a_hook_with_a_relative_path() {
    except!(Runc, Crun; "runc and crun learn it at the exec, with other words");
    let c = Bundle::busybox().push("hooks.prestart", json!({ "path": "bin/true" }));
    assert_refused(&c, "hooks.prestart", &["absolute"]);
}

#[test]
fn a_hook_timeout_of_zero() {
    only!(Runw; "the specification demands more than zero; runc and crun do not look");
    let c = Bundle::busybox().push("hooks.prestart", json!({ "path": "/bin/true", "timeout": 0 }));
    assert_refused(&c, "hooks.prestart", &["timeout"]);
}

#[test]
fn time_offsets_without_a_time_namespace() {
    except!(Runc; "runc 1.1 knows no time namespace");
    let c = but("linux.timeOffsets", json!({ "monotonic": { "secs": 1 } }));
    assert_refused(&c, "linux.timeOffsets", &["time"]);
}

#[test]
fn masked_paths_without_a_mount_namespace() {
    let c = Bundle::busybox().without_namespace("mount");
    except!(Crun; "crun mounts on the host then");
    assert_refused(&c, "linux.maskedPaths", &["mount namespace", "MNT namespace"]);
}

#[test]
fn an_rdt_group_without_resctrl() {
    needs!(!std::path::Path::new("/sys/fs/resctrl/schemata").exists(); "a machine without resctrl mounted");
    let c = but("linux.intelRdt", json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" }));
    assert_refused(&c, "linux.intelRdt", ANY);
}

#[test]
fn an_unsupported_version_of_the_specification() {
    only!(Runw; "runc and crun do not look at the number");
    for version in ["2.0.0", "0.9", "newest", ""] {
        assert_refused(&but("ociVersion", version), "ociVersion", &["ociVersion"]);
    }
}

#[test]
fn unknown_properties_are_ignored() {
    let c = but("process.mood", "fine")
        .set("linux.weather", json!({ "sun": true }))
        .set("extension", json!([1]));
    c.run(&["true"]).ok();
}

#[test]
fn an_unknown_personality() {
    except!(Runc; "runc 1.1 knows no personality");
    assert_refused(
        &but("linux.personality", json!({ "domain": "VMS" })),
        "linux.personality",
        &["personality", "VMS"],
    );
}

#[test]
fn an_unknown_scheduler() {
    except!(Runc; "runc 1.1 knows no scheduler");
    assert_refused(
        &but("process.scheduler", json!({ "policy": "SCHED_LOTTERY" })),
        "process.scheduler",
        &["SCHED_LOTTERY", "scheduler"],
    );
}

#[test]
fn an_io_priority_out_of_range() {
    except!(Runc; "runc 1.1 knows no ioPriority");
    let c = but(
        "process.ioPriority",
        json!({ "class": "IOPRIO_CLASS_BE", "priority": 9 }),
    );
    assert_refused(&c, "process.ioPriority", ANY);
}
