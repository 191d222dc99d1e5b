//! `update`: limits that engines seldom or never change, each by flags and by a document.
//!
//! Where a host lacks the file, the case holds what is said about it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, Call, Cgroups, Layout, Output, not_for_this_host};

/// How a change is asked for.
#[derive(Clone, Copy, Debug)]
enum Way {
    Flags,
    Document,
}

const WAYS: [Way; 2] = [Way::Flags, Way::Document];

impl Way {
    /// A call of `update` that asks for one thing, said twice.
    fn of<'c>(self, c: &'c Bundle, flags: &[&str], document: &Value) -> Call<'c> {
        match self {
            Way::Flags => c.call("update").after(flags),
            Way::Document => c.call("update").flag("--resources=-").stdin(&document.to_string()),
        }
    }
}

fn created() -> Bundle {
    let c = Bundle::sleeper();
    c.create().ok();
    c
}

/// The name of a file on v1 and on v2, whichever this host has.
fn by_layout(v1: &'static str, v2: &'static str) -> &'static str {
    match Cgroups::host().layout() {
        Layout::V1 => v1,
        Layout::V2 => v2,
    }
}

fn has_file(c: &Bundle, controller: &str, file: &str) -> bool {
    let folder = Cgroups::host().folder(controller, &c.cgroup_path());
    folder.join(file).exists()
}

#[test]
fn block_io_weight() {
    let controller = by_layout("blkio", "io");
    needs!(Cgroups::host().has(controller); "a block I/O controller");
    // The scheduler decides which there is, if any.
    let files = match Cgroups::host().layout() {
        Layout::V1 => [("blkio.weight", "500"), ("blkio.bfq.weight", "500")],
        Layout::V2 => [("io.bfq.weight", "default 500"), ("io.weight", "default 4950")],
    };
    for way in WAYS {
        let c = created();
        let output = way
            .of(&c, &["--blkio-weight", "500"], &json!({"blockIO": {"weight": 500}}))
            .output();
        match files.iter().find(|(file, _)| has_file(&c, controller, file)) {
            Some((file, value)) => {
                output.prints("");
                assert_eq!(c.cgroup_file(controller, file), *value, "{way:?}");
            }
            None => drop(output.fails_with_one_of(&["blockIO.weight", "no such file"])),
        }
        let too_much = way.of(&c, &["--blkio-weight", "1001"], &json!({"blockIO": {"weight": 1001}}));
        too_much.output().exits(1).at("linux.resources.blockIO.weight");
    }
}

#[test]
fn cpu_burst() {
    except!(Runc; "runc 1.1 knows no burst");
    needs!(Cgroups::host().has("cpu"); "a cpu controller");
    let file = by_layout("cpu.cfs_burst_us", "cpu.max.burst");
    for way in WAYS {
        let c = created();
        needs!(has_file(&c, "cpu", file); "a burst of the CPU quota");
        let burst = |burst: &str| {
            let document = json!({"cpu": {"burst": burst.parse::<u64>().unwrap()}});
            way.of(&c, &["--cpu-burst", burst], &document).output()
        };
        c.call("update").after(&["--cpu-quota", "20000"]).output().ok();
        burst("5000").prints("");
        assert_eq!(c.cgroup_file("cpu", file), "5000", "{way:?}");
        burst("20001")
            .exits(1)
            .at("linux.resources.cpu.burst: 20001 is more than");
        assert_eq!(c.cgroup_file("cpu", file), "5000", "{way:?}");
        burst("0").prints("");
        assert_eq!(c.cgroup_file("cpu", file), "0", "{way:?}");
        // Together they may be in any order.
        let flags = ["--cpu-burst", "40000", "--cpu-quota", "40000"];
        let both = way.of(&c, &flags, &json!({"cpu": {"burst": 40_000, "quota": 40_000}}));
        both.output().prints("");
        assert_eq!(c.cgroup_file("cpu", file), "40000", "{way:?}");
    }
}

#[test]
fn cpu_idle() {
    except!(Runc; "runc 1.1 does not know it");
    needs!(Cgroups::host().has("cpu"); "a cpu controller");
    let (shares, weight) = match Cgroups::host().layout() {
        Layout::V1 => ("cpu.shares", "512"),
        Layout::V2 => ("cpu.weight", "59"),
    };
    for way in WAYS {
        let c = created();
        needs!(has_file(&c, "cpu", "cpu.idle"); "idle cgroups");
        let change = |flags: &[&str], document: Value| way.of(&c, flags, &document).output();
        change(&["--cpu-idle", "1"], json!({"cpu": {"idle": 1}})).prints("");
        assert_eq!(c.cgroup_file("cpu", "cpu.idle"), "1", "{way:?}");
        // The kernel has no shares for it then; the reason says what to do.
        let refused = change(&["--cpu-share", "512"], json!({"cpu": {"shares": 512}}));
        refused.exits(1).at("linux.resources.cpu.shares: the container is idle");
        change(
            &["--cpu-idle", "0", "--cpu-share", "512"],
            json!({"cpu": {"idle": 0, "shares": 512}}),
        )
        .prints("");
        assert_eq!(c.cgroup_file("cpu", "cpu.idle"), "0", "{way:?}");
        assert_eq!(c.cgroup_file("cpu", shares), weight, "{way:?}");
        // Both at once: idle wins.
        change(
            &["--cpu-idle", "1", "--cpu-share", "256"],
            json!({"cpu": {"idle": 1, "shares": 256}}),
        )
        .prints("");
        assert_eq!(c.cgroup_file("cpu", "cpu.idle"), "1", "{way:?}");
        change(&["--cpu-idle", "2"], json!({"cpu": {"idle": 2}}))
            .exits(1)
            .at("linux.resources.cpu.idle");
    }
}

fn real_time_of(way: Way, c: &Bundle, runtime: i64, period: u64) -> Output {
    let flags = [
        format!("--cpu-rt-runtime={runtime}"),
        format!("--cpu-rt-period={period}"),
    ];
    let document = json!({"cpu": {"realtimeRuntime": runtime, "realtimePeriod": period}});
    way.of(c, &flags.each_ref().map(String::as_str), &document).output()
}

#[test]
fn real_time() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("cpu"); "a v1 cpu controller");
    for way in WAYS {
        let c = created();
        needs!(has_file(&c, "cpu", "cpu.rt_runtime_us"); "real-time groups (CONFIG_RT_GROUP_SCHED)");
        // The parent has none to give away yet.
        real_time_of(way, &c, 1000, 900_000)
            .exits(1)
            .at("linux.resources.cpu.realtime");
        let parent = c.cgroup_path();
        let parent = Cgroups::host().folder("cpu", parent.rsplit_once('/').unwrap().0);
        fs::write(parent.join("cpu.rt_runtime_us"), "10000").unwrap();
        real_time_of(way, &c, 1000, 900_000).prints("");
        let now = || ["cpu.rt_runtime_us", "cpu.rt_period_us"].map(|file| c.cgroup_file("cpu", file));
        assert_eq!(now(), ["1000", "900000"], "{way:?}");
        let document = json!({"cpu": {"realtimePeriod": 500_000}});
        way.of(&c, &["--cpu-rt-period", "500000"], &document)
            .output()
            .prints("");
        assert_eq!(now(), ["1000", "500000"], "{way:?}");
        let document = json!({"cpu": {"realtimeRuntime": 2000}});
        way.of(&c, &["--cpu-rt-runtime", "2000"], &document).output().prints("");
        assert_eq!(now(), ["2000", "500000"], "{way:?}");
        // More than the period, and without a bound where the parent has one.
        for (runtime, period) in [(500_001, 500_000), (-1, 500_000)] {
            real_time_of(way, &c, runtime, period)
                .exits(1)
                .at("linux.resources.cpu.realtimeRuntime");
            assert_eq!(now(), ["2000", "500000"], "{way:?}");
        }
        fs::write(
            Cgroups::host()
                .folder("cpu", &c.cgroup_path())
                .join("cpu.rt_runtime_us"),
            "0",
        )
        .unwrap();
    }
}

/// cgroup v2 has no such limits: accepted as by runc, and we say so.
#[test]
fn what_v2_does_not_have_is_a_warning() {
    needs!(Cgroups::host().layout() == Layout::V2; "a v2 host");
    let c = created();
    for (flag, value, document, at) in [
        (
            "--cpu-rt-runtime",
            "1000",
            json!({"cpu": {"realtimeRuntime": 1000}}),
            "cpu.realtimeRuntime",
        ),
        (
            "--cpu-rt-period",
            "900000",
            json!({"cpu": {"realtimePeriod": 900_000}}),
            "cpu.realtimePeriod",
        ),
        (
            "--kernel-memory-tcp",
            "32m",
            json!({"memory": {"kernelTCP": 33_554_432}}),
            "memory.kernelTCP",
        ),
    ] {
        for way in WAYS {
            let output = way.of(&c, &[flag, value], &document).output().prints("");
            output.at(&format!("linux.resources.{at}: cgroup v2 has nothing like it"));
        }
    }
}

#[test]
fn kernel_memory_is_left_alone() {
    for way in WAYS {
        let c = created();
        let before = || {
            let v1 = Cgroups::host().layout() == Layout::V1;
            (v1 && Cgroups::host().has("memory")).then(|| c.cgroup_file("memory", "memory.kmem.limit_in_bytes"))
        };
        let was = before();
        let document = json!({"memory": {"kernel": 67_108_864}});
        let output = way.of(&c, &["--kernel-memory", "64m"], &document).output().prints("");
        assert!(
            output.stderr.to_lowercase().contains("kernel memory"),
            "{}",
            output.story()
        );
        assert_eq!(before(), was, "{way:?}");
    }
}

#[test]
fn memory_of_tcp_buffers() {
    except!(Runc; "runc passes it over");
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("memory"); "a v1 memory controller");
    for way in WAYS {
        let c = created();
        needs!(has_file(&c, "memory", "memory.kmem.tcp.limit_in_bytes"); "a limit of TCP buffers");
        let document = json!({"memory": {"kernelTCP": 33_554_432}});
        way.of(&c, &["--kernel-memory-tcp", "32m"], &document)
            .output()
            .prints("");
        assert_eq!(
            c.cgroup_file("memory", "memory.kmem.tcp.limit_in_bytes"),
            "33554432",
            "{way:?}"
        );
    }
}

#[test]
fn huge_pages_by_a_document() {
    except!(Runc; "runc passes them over in an update");
    needs!(Cgroups::host().has("hugetlb"); "a hugetlb controller");
    let c = created();
    let file = by_layout("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
    needs!(has_file(&c, "hugetlb", file); "huge pages of 2 MB");
    let document = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}"#;
    c.call("update")
        .flag("--resources=-")
        .stdin(document)
        .output()
        .prints("");
    assert_eq!(c.cgroup_file("hugetlb", file), "2097152");
}

/// Limits of every controller: it, the flags, the document, and the place in `linux.resources`.
fn limits_by_controller(v2: bool) -> Vec<(&'static str, &'static [&'static str], Value, &'static str)> {
    let block = if v2 { "io" } else { "blkio" };
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    vec![
        (
            block,
            &["--blkio-weight", "300"],
            json!({"blockIO": {"weight": 300}}),
            "blockIO.weight",
        ),
        (
            "cpu",
            &["--cpu-burst", "1000"],
            json!({"cpu": {"burst": 1000}}),
            "cpu.burst",
        ),
        ("cpu", &["--cpu-idle", "1"], json!({"cpu": {"idle": 1}}), "cpu.idle"),
        (
            "cpu",
            &["--cpu-share", "300"],
            json!({"cpu": {"shares": 300}}),
            "cpu.shares",
        ),
        (
            "cpuset",
            &["--cpuset-cpus", "0"],
            json!({"cpu": {"cpus": "0"}}),
            "cpu.cpus",
        ),
        (
            "pids",
            &["--pids-limit", "9"],
            json!({"pids": {"limit": 9}}),
            "pids.limit",
        ),
        ("hugetlb", &[], pages, "hugepageLimits"),
        ("rdma", &[], json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "rdma"),
    ]
}

/// A limit whose controller the host lacks is refused by its path, and the reason names the controller.
#[test]
fn a_missing_controller_is_named() {
    only!(Runw; "runc passes some over, and names the file of others");
    let host = Cgroups::host();
    let limits = limits_by_controller(host.layout() == Layout::V2);
    let missing: Vec<_> = limits.iter().filter(|(controller, ..)| !host.has(controller)).collect();
    if missing.is_empty() {
        return not_for_this_host("the lack of a controller");
    }
    let c = created();
    for (controller, flags, document, at) in missing {
        for way in WAYS {
            if flags.is_empty() && matches!(way, Way::Flags) {
                continue;
            }
            let output = way
                .of(&c, flags, document)
                .output()
                .fails(&format!("linux.resources.{at}"));
            let named = output
                .stderr
                .contains(&format!("controller \"{controller}\" not available"));
            assert!(named, "{}", output.story());
        }
    }
}

#[test]
fn resctrl_needs_a_group() {
    let c = created();
    for flags in [
        &["--l3-cache-schema", "L3:0=f"][..],
        &["--mem-bw-schema", "MB:0=20"],
        &["--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=20"],
    ] {
        c.call("update").after(flags).output().fails("Intel RDT");
    }
    // Empty ones ask for nothing.
    c.call("update")
        .after(&["--l3-cache-schema", "", "--mem-bw-schema", ""])
        .output()
        .ok();
}

#[test]
fn values_that_make_no_sense() {
    let c = created();
    let refused = |flag: &str, value: &str| {
        let words = [format!("invalid value for {flag}"), format!("for flag -{flag}")];
        let output = c.call("update").flag(format!("--{flag}={value}")).output();
        output.fails_with_one_of(&words.each_ref().map(String::as_str));
    };
    for (flag, value) in [
        ("blkio-weight", "x"),
        ("cpu-rt-runtime", "x"),
        ("kernel-memory", "much"),
        ("kernel-memory-tcp", "x"),
        ("pids-limit", "1.5"),
    ] {
        refused(flag, value);
    }
    except!(Runc; "runc 1.1 takes -5 for 65531, and does not know the others");
    for (flag, value) in [
        ("blkio-weight", "-5"),
        ("cpu-burst", "-1"),
        ("cpu-burst", "x"),
        ("cpu-idle", "x"),
    ] {
        refused(flag, value);
    }
}
