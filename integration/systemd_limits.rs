//! `linux.resources` with `--systemd-cgroup`: systemd and the kernel hold the same limits, whatever systemd does later.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout, Scope, eventually, has_systemd, systemctl};

#[test]
fn limits_are_systemds_and_the_kernels() {
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    let c = Scope::of(Bundle::sleeper().set(
        "linux.resources",
        json!({
            "memory": { "limit": 67_108_864, "reservation": 33_554_432 },
            "cpu": { "shares": 512, "quota": 20_000, "period": 50_000 },
            "pids": { "limit": 50 },
            "unified": { "memory.high": "50331648" },
            "devices": [{ "allow": false, "access": "rwm" }],
        }),
    ));
    c.launch();
    let expected = [
        ("MemoryMax", "67108864", "memory.max", "67108864"),
        ("MemoryLow", "33554432", "memory.low", "33554432"),
        ("MemoryHigh", "50331648", "memory.high", "50331648"),
        ("CPUQuotaPerSecUSec", "400ms", "cpu.max", "20000 50000"),
        ("CPUQuotaPeriodUSec", "50ms", "cpu.max", "20000 50000"),
        ("TasksMax", "50", "pids.max", "50"),
    ];
    let check = |when: &str| {
        for (name, value, file, content) in expected {
            assert_eq!(c.property(name), value, "{name} {when}");
            assert_eq!(c.file(file), content, "{file} {when}");
        }
        assert_eq!(c.property("CPUWeight"), c.file("cpu.weight"), "{when}");
    };
    check("at first");
    systemctl(&["daemon-reload"]);
    check("after a daemon-reload");
    // systemd writes all of a unit's values again when one changes.
    systemctl(&["set-property", "--runtime", &c.unit(), "CPUWeight=77"]);
    assert_eq!(c.file("cpu.weight"), "77");
    check("after a change by the administrator");
    c.end();
}

#[test]
fn updates_are_systemds_and_the_kernels() {
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    except!(Runc, Crun; "runc 1.1 and crun tell systemd of a quota only with its period");
    let c = Scope::of(Bundle::sleeper().set("linux.resources.cpu", json!({ "quota": 20_000, "period": 50_000 })));
    c.launch();
    // No flag: what made the cgroup is known.
    let update = |flags: &[&str]| {
        let call = flags.iter().fold(c.0.call("update"), |call, flag| call.flag(flag));
        call.output().ok();
    };
    update(&["--memory", "67108864"]);
    assert_eq!(c.property("MemoryMax"), "67108864");
    let quota_stays = || {
        assert_eq!(c.file("cpu.max"), "20000 50000");
        assert_eq!(c.property("CPUQuotaPeriodUSec"), "50ms");
        systemctl(&["daemon-reload"]);
        assert_eq!(c.file("cpu.max"), "20000 50000");
        assert_eq!(c.file("memory.max"), "67108864");
    };
    quota_stays();
    update(&["--pids-limit", "40", "--cpu-share", "512"]);
    assert_eq!(c.property("TasksMax"), "40");
    assert_eq!(c.property("CPUWeight"), c.file("cpu.weight"));
    quota_stays();
    update(&["--cpu-quota", "10000"]);
    assert_eq!(c.property("CPUQuotaPerSecUSec"), "200ms");
    assert_eq!(c.file("cpu.max"), "10000 50000");
    systemctl(&["daemon-reload"]);
    assert_eq!(c.file("cpu.max"), "10000 50000");
    c.end();
}

#[test]
fn cpus_are_systemds_and_the_kernels() {
    needs!(has_systemd() && Cgroups::host().has("cpuset"); "systemd and a cpuset controller");
    let c = Scope::of(Bundle::sleeper().set("linux.resources.cpu", json!({ "cpus": "0", "mems": "0" })));
    c.launch();
    assert_eq!(c.property("AllowedCPUs"), "0");
    assert_eq!(c.property("AllowedMemoryNodes"), "0");
    systemctl(&["daemon-reload"]);
    assert_eq!(c.file("cpuset.cpus"), "0");
    assert_eq!(c.file("cpuset.mems"), "0");
    c.end();
}

#[test]
fn a_quota_of_no_whole_percent_is_the_same_to_both() {
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    except!(Runc; "runc 1.1 leaves the kernel with another quota than systemd");
    let c = Scope::of(Bundle::sleeper().set("linux.resources.cpu", json!({ "quota": 12_345, "period": 100_000 })));
    c.launch();
    let before = c.file("cpu.max");
    systemctl(&["daemon-reload"]);
    systemctl(&["set-property", "--runtime", &c.unit(), "CPUWeight=77"]);
    assert_eq!(c.file("cpu.max"), before);
    assert_eq!(before, "13000 100000");
    c.end();
}

#[test]
fn limits_bite() {
    needs!(has_systemd() && Cgroups::host().has("memory") && Cgroups::host().has("pids"); "systemd and controllers");
    let c = Scope::of(Bundle::busybox().set(
        "linux.resources.memory",
        json!({ "limit": 20_971_520, "swap": 20_971_520 }),
    ));
    let run = c.call("run").runs(&["/bin/sh", "-c", "a=x; while :; do a=$a$a; done"]);
    run.output().exits(137);
    c.assert_gone();
    let c = Scope::of(Bundle::busybox().set("linux.resources.pids.limit", 3));
    let script = "for i in 1 2 3 4 5; do sleep 1 & done; wait";
    let output = c.call("run").runs(&["/bin/sh", "-c", script]).output();
    assert!(output.stderr.contains("fork"), "{}", output.story());
    c.assert_gone();
}

#[test]
fn device_rules_outlast_a_reload() {
    needs!(has_systemd(); "systemd");
    let script = "mkdir -p /tmp; mknod /tmp/kmsg c 1 11; echo ready; while :; do \
        (head -c 1 /tmp/kmsg >/dev/null 2>&1 && echo open || echo shut) >/tmp/now; sleep 0.1; done";
    let capabilities = ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG"];
    let c = Bundle::busybox().sh(script).capabilities(&capabilities);
    let c = Scope::of(c.set(
        "linux.resources.devices",
        json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "access": "m" }]),
    ));
    c.launch();
    let now = c.0.in_rootfs("/tmp/now");
    let is_shut = |when: &str| {
        let _ = fs::remove_file(&now);
        eventually("an attempt to open", || {
            fs::read_to_string(&now).is_ok_and(|text| text.ends_with('\n'))
        });
        assert_eq!(fs::read_to_string(&now).unwrap(), "shut\n", "{when}");
    };
    is_shut("at first");
    systemctl(&["daemon-reload"]);
    is_shut("after a daemon-reload");
    systemctl(&["set-property", "--runtime", &c.unit(), "CPUWeight=77"]);
    is_shut("after a change by the administrator");
    c.end();
}
