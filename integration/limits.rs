//! `linux.resources`: limits read back from outside, and seen to bite.
//!
//! Native payloads only: the parent writes the cgroup's files from config.json before it knows what init will run, so a second
//! payload would repeat every case without another line of code being reached. How a guest of WebAssembly meets its limits is in
//! `wasm_limits`.
//!
//! Each case names the v1 and the v2 file that a limit belongs in; the host's layout decides which is read.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, Cgroups, Layout};

/// A limit: its place in config.json, its value, and where and how it must be read back.
struct Limit {
    path: &'static str,
    value: Value,
    /// Controller, file, content.
    v1: Option<(&'static str, &'static str, &'static str)>,
    v2: Option<(&'static str, &'static str, &'static str)>,
}

impl Limit {
    /// The files to read on this host, if it has the controller.
    fn here(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let host = Cgroups::host();
        let place = if host.layout() == Layout::V2 { self.v2 } else { self.v1 };
        place.filter(|(controller, _, _)| host.has(controller))
    }

    /// Sets the limits, creates the container and reads them back; those that the host lacks are named aloud.
    #[track_caller]
    fn check_all(limits: &[Limit]) {
        let c = limits.iter().filter(|limit| limit.here().is_some());
        let c = c.fold(Bundle::sleeper(), |c, limit| c.set(limit.path, limit.value.clone()));
        if limits.iter().all(|limit| limit.here().is_none()) {
            return crate::harness::not_for_this_host("the controllers of these limits");
        }
        c.create().ok();
        for limit in limits {
            match limit.here() {
                Some((controller, file, expected)) => {
                    assert_eq!(c.cgroup_file(controller, file), expected, "{} in {file}", limit.path);
                }
                None => crate::harness::not_for_this_host(limit.path),
            }
        }
    }
}

#[test]
fn memory_limits() {
    Limit::check_all(&[
        Limit {
            path: "linux.resources.memory.limit",
            value: json!(67_108_864),
            v1: Some(("memory", "memory.limit_in_bytes", "67108864")),
            v2: Some(("memory", "memory.max", "67108864")),
        },
        Limit {
            path: "linux.resources.memory.reservation",
            value: json!(33_554_432),
            v1: Some(("memory", "memory.soft_limit_in_bytes", "33554432")),
            v2: Some(("memory", "memory.low", "33554432")),
        },
        Limit {
            path: "linux.resources.memory.swap",
            value: json!(134_217_728),
            v1: Some(("memory", "memory.memsw.limit_in_bytes", "134217728")),
            v2: Some(("memory", "memory.swap.max", "67108864")),
        },
        Limit {
            path: "linux.resources.memory.swappiness",
            value: json!(30),
            v1: Some(("memory", "memory.swappiness", "30")),
            v2: None,
        },
    ]);
}

#[test]
fn memory_of_tcp_buffers() {
    except!(Runc; "runc passes it over");
    Limit::check_all(&[Limit {
        path: "linux.resources.memory.kernelTCP",
        value: json!(8_388_608),
        v1: Some(("memory", "memory.kmem.tcp.limit_in_bytes", "8388608")),
        v2: None,
    }]);
}

#[test]
fn memory_without_a_limit() {
    Limit::check_all(&[Limit {
        path: "linux.resources.memory.limit",
        value: json!(-1),
        v1: Some(("memory", "memory.limit_in_bytes", "9223372036854771712")),
        v2: Some(("memory", "memory.max", "max")),
    }]);
}

#[test]
fn memory_swap_of_the_same_size_means_none() {
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = Bundle::sleeper().set(
        "linux.resources.memory",
        json!({ "limit": 67_108_864, "swap": 67_108_864 }),
    );
    c.create().ok();
    match Cgroups::host().layout() {
        Layout::V1 => assert_eq!(c.cgroup_file("memory", "memory.memsw.limit_in_bytes"), "67108864"),
        Layout::V2 => assert_eq!(c.cgroup_file("memory", "memory.swap.max"), "0"),
    }
}

#[test]
fn the_oom_killer_can_be_disabled() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("memory"); "a v1 memory controller");
    let c = Bundle::sleeper().set(
        "linux.resources.memory",
        json!({ "limit": 67_108_864, "disableOOMKiller": true }),
    );
    c.create().ok();
    assert!(
        c.cgroup_file("memory", "memory.oom_control")
            .starts_with("oom_kill_disable 1")
    );
}

#[test]
fn too_much_memory_is_death() {
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = Bundle::busybox().set(
        "linux.resources.memory",
        json!({ "limit": 16_777_216, "swap": 16_777_216 }),
    );
    let c = c.mount("/mnt", "tmpfs", "tmpfs", &["size=256m"]);
    c.run_sh("exec dd if=/dev/zero of=/mnt/file bs=1M count=100").exits(137);
    c.assert_no_trace();
}

#[test]
fn a_memory_limit_too_small_to_start_is_an_error() {
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = Bundle::busybox().set("linux.resources.memory", json!({ "limit": 4096 }));
    let output = c.run(&["true"]);
    assert_ne!(output.code, 0, "{}", output.story());
    c.assert_no_trace();
}

#[test]
fn cpu_limits() {
    Limit::check_all(&[
        Limit {
            path: "linux.resources.cpu.quota",
            value: json!(20_000),
            v1: Some(("cpu", "cpu.cfs_quota_us", "20000")),
            v2: Some(("cpu", "cpu.max", "20000 50000")),
        },
        Limit {
            path: "linux.resources.cpu.period",
            value: json!(50_000),
            v1: Some(("cpu", "cpu.cfs_period_us", "50000")),
            v2: Some(("cpu", "cpu.max", "20000 50000")),
        },
    ]);
}

#[test]
fn cpu_shares() {
    Limit::check_all(&[Limit {
        path: "linux.resources.cpu.shares",
        value: json!(512),
        v1: Some(("cpu", "cpu.shares", "512")),
        // The weight that stands for it differs between versions of the formula; see cpu_weight.
        v2: None,
    }]);
}

#[test]
fn cpu_weight() {
    needs!(Cgroups::host().layout() == Layout::V2 && Cgroups::host().has("cpu"); "a v2 cpu controller");
    except!(Runc, Crun; "they have the older formula");
    for (shares, weight) in [(2, "1"), (1024, "100"), (262_144, "10000")] {
        let c = Bundle::sleeper().set("linux.resources.cpu.shares", shares);
        c.create().ok();
        assert_eq!(c.cgroup_file("cpu", "cpu.weight"), weight, "{shares} shares");
    }
}

#[test]
fn cpu_quota_without_a_limit() {
    Limit::check_all(&[Limit {
        path: "linux.resources.cpu.quota",
        value: json!(-1),
        v1: Some(("cpu", "cpu.cfs_quota_us", "-1")),
        v2: Some(("cpu", "cpu.max", "max 100000")),
    }]);
}

#[test]
fn cpu_burst_and_idle() {
    except!(Runc; "runc 1.1 knows neither");
    let quota = json!({ "quota": 20_000, "period": 50_000, "burst": 10_000 });
    needs!(Cgroups::host().has("cpu"); "a cpu controller");
    let c = Bundle::sleeper().set("linux.resources.cpu", quota);
    c.create().ok();
    match Cgroups::host().layout() {
        Layout::V1 => assert_eq!(c.cgroup_file("cpu", "cpu.cfs_burst_us"), "10000"),
        Layout::V2 => assert_eq!(c.cgroup_file("cpu", "cpu.max.burst"), "10000"),
    }
    let c = Bundle::sleeper().set("linux.resources.cpu", json!({ "idle": 1 }));
    c.create().ok();
    assert_eq!(c.cgroup_file("cpu", "cpu.idle"), "1");
}

#[test]
fn cpusets() {
    Limit::check_all(&[
        Limit {
            path: "linux.resources.cpu.cpus",
            value: json!("0"),
            v1: Some(("cpuset", "cpuset.cpus", "0")),
            v2: Some(("cpuset", "cpuset.cpus", "0")),
        },
        Limit {
            path: "linux.resources.cpu.mems",
            value: json!("0"),
            v1: Some(("cpuset", "cpuset.mems", "0")),
            v2: Some(("cpuset", "cpuset.mems", "0")),
        },
    ]);
}

#[test]
fn a_cpuset_is_where_the_payload_runs() {
    needs!(Cgroups::host().has("cpuset"); "a cpuset controller");
    let c = Bundle::busybox().set("linux.resources.cpu", json!({ "cpus": "1" }));
    c.run_sh("grep Cpus_allowed_list /proc/self/status | cut -f2")
        .prints("1\n");
}

#[test]
fn pids_limits() {
    for (limit, shown) in [(42, "42"), (-1, "max")] {
        Limit::check_all(&[Limit {
            path: "linux.resources.pids.limit",
            value: json!(limit),
            v1: Some(("pids", "pids.max", shown)),
            v2: Some(("pids", "pids.max", shown)),
        }]);
    }
}

#[test]
fn a_pids_limit_of_zero() {
    only!(Runw; "runc 1.1 and crun take 0 for no limit; since 1.3 of the specification it is one");
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = Bundle::sleeper().set("linux.resources.pids.limit", 0);
    c.create().ok();
    // One, as runc has it since 1.2: a cgroup with a limit of none could not be given its first process by clone3.
    assert_eq!(c.cgroup_file("pids", "pids.max"), "1");
}

#[test]
fn too_many_processes_are_refused() {
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = Bundle::busybox().set("linux.resources.pids.limit", 5);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all started";
    let output = c.run_sh(script);
    assert!(output.stderr.contains("fork"), "{}", output.story());
}

#[test]
fn hugepage_limits() {
    Limit::check_all(&[Limit {
        path: "linux.resources.hugepageLimits",
        value: json!([{ "pageSize": "2MB", "limit": 4_194_304 }]),
        v1: Some(("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304")),
        v2: Some(("hugetlb", "hugetlb.2MB.max", "4194304")),
    }]);
}

#[test]
fn reserved_hugepages_are_limited_too() {
    except!(Crun; "crun limits the faults only");
    Limit::check_all(&[Limit {
        path: "linux.resources.hugepageLimits",
        value: json!([{ "pageSize": "2MB", "limit": 4_194_304 }]),
        v1: Some(("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304")),
        v2: Some(("hugetlb", "hugetlb.2MB.rsvd.max", "4194304")),
    }]);
}

#[test]
fn an_unknown_hugepage_size_is_an_error() {
    except!(Crun; "crun ignores it on v1");
    let c = Bundle::sleeper().set(
        "linux.resources.hugepageLimits",
        json!([{ "pageSize": "3MB", "limit": 1 }]),
    );
    c.create().exits(1);
    c.assert_no_trace();
}

/// A block device of the host, as `major:minor`; it must be a whole disk for throttling.
fn disk() -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let mut names: Vec<_> = disks.filter(|d| d.path().join("device").exists()).collect();
    names.sort_by_key(|d| d.file_name());
    Some(
        fs::read_to_string(names.first()?.path().join("dev"))
            .ok()?
            .trim()
            .to_owned(),
    )
}

#[test]
fn block_io_throttles() {
    let Some(disk) = disk() else {
        return crate::harness::not_for_this_host("a disk");
    };
    let host = Cgroups::host();
    let controller = if host.layout() == Layout::V2 { "io" } else { "blkio" };
    needs!(host.has(controller); "a block I/O controller");
    let (major, minor) = disk.split_once(':').unwrap();
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let c = Bundle::sleeper().set(
        "linux.resources.blockIO",
        json!({
            "throttleReadBpsDevice": rate(1_048_576),
            "throttleWriteBpsDevice": rate(2_097_152),
            "throttleReadIOPSDevice": rate(100),
            "throttleWriteIOPSDevice": rate(200),
        }),
    );
    c.create().ok();
    if controller == "io" {
        assert_eq!(
            c.cgroup_file("io", "io.max"),
            format!("{disk} rbps=1048576 wbps=2097152 riops=100 wiops=200")
        );
        return;
    }
    for (file, value) in [
        ("blkio.throttle.read_bps_device", 1_048_576),
        ("blkio.throttle.write_bps_device", 2_097_152),
        ("blkio.throttle.read_iops_device", 100),
        ("blkio.throttle.write_iops_device", 200),
    ] {
        assert_eq!(c.cgroup_file("blkio", file), format!("{disk} {value}"), "{file}");
    }
}

#[test]
fn block_io_weight() {
    let host = Cgroups::host();
    let (controller, files) = match host.layout() {
        Layout::V1 => ("blkio", ["blkio.weight", "blkio.bfq.weight"]),
        Layout::V2 => ("io", ["io.bfq.weight", "io.weight"]),
    };
    needs!(host.has(controller); "a block I/O controller");
    let c = Bundle::sleeper().set("linux.resources.blockIO", json!({ "weight": 500 }));
    let output = c.create();
    let Some(folder) = c
        .cgroup_folders()
        .into_iter()
        .find(|f| files.iter().any(|file| f.join(file).exists()))
    else {
        // A kernel without any scheduler that knows weights.
        only!(Runw; "runc names the file and not the setting");
        assert!(output.stderr.contains("blockIO.weight"), "{}", output.story());
        output.exits(1);
        return c.assert_no_trace();
    };
    output.ok();
    let texts = files.map(|file| fs::read_to_string(folder.join(file)).unwrap_or_default());
    // 500 of 1000, or the same place between 1 and 10000.
    let set = |text: &String| text.trim_end().ends_with(" 500") || text.trim_end().ends_with(" 4950");
    assert!(texts.iter().any(|t| set(t) || t == "500\n"), "{texts:?}");
}

#[test]
fn network_class_and_priorities() {
    needs!(Cgroups::host().has("net_cls"); "a net_cls controller");
    let c = Bundle::sleeper().set("linux.resources.network", json!({ "classID": 1_048_577 }));
    c.create().ok();
    assert_eq!(c.cgroup_file("net_cls", "net_cls.classid"), "1048577");
}

#[test]
fn unified_on_a_host_without_it_is_an_error() {
    needs!(Cgroups::host().layout() == Layout::V1; "a v1 host");
    except!(Crun; "crun ignores it");
    let c = Bundle::sleeper().set("linux.resources.unified", json!({ "memory.high": "67108864" }));
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn unified_writes_the_files_it_names() {
    needs!(Cgroups::host().layout() == Layout::V2; "a v2 host");
    let c = Bundle::sleeper().set("linux.resources.unified", json!({ "cgroup.max.depth": "7" }));
    c.create().ok();
    assert_eq!(c.cgroup_file("cgroup", "cgroup.max.depth"), "7");
}

#[test]
fn unified_refuses_a_missing_controller_and_a_path() {
    needs!(Cgroups::host().layout() == Layout::V2; "a v2 host");
    for key in ["nosuchcontroller.max", "../cgroup.max.depth"] {
        let c = Bundle::sleeper().set("linux.resources.unified", json!({ key: "7" }));
        c.create().exits(1);
        c.assert_no_trace();
    }
}
