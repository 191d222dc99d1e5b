//! `--systemd-cgroup`: the container's cgroup is that of a unit of systemd's. For a host that runs systemd; `scripts/test-vm`
//! has one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Bundle, Call, Cgroups, Layout, Output, alive, eventually};

fn here() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A container by systemd, in a slice of its own kind.
struct Scope(Bundle);

impl Scope {
    fn of(c: Bundle) -> Scope {
        let path = format!("system.slice:runw-it:{}", c.id());
        Scope(c.set("linux.cgroupsPath", path))
    }

    fn sleeper() -> Scope {
        Scope::of(Bundle::sleeper())
    }

    fn unit(&self) -> String {
        format!("runw-it-{}.scope", self.0.id())
    }

    fn call(&self, verb: &str) -> Call<'_> {
        self.0.call(verb).global("--systemd-cgroup")
    }

    fn create(&self) -> Output {
        self.call("create").output()
    }

    /// Runs it until it says `ready`.
    #[track_caller]
    fn launch(&self) -> Output {
        let created = self.create().ok();
        self.0.start().ok();
        eventually("the payload to be ready", || created.stdout_now().contains("ready"));
        created
    }

    fn property(&self, name: &str) -> String {
        property(&self.unit(), name)
    }

    fn folder(&self) -> PathBuf {
        Cgroups::host().folder("memory", &format!("system.slice/{}", self.unit()))
    }

    #[track_caller]
    fn file(&self, name: &str) -> String {
        let path = self.folder().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    #[track_caller]
    fn assert_gone(&self) {
        assert!(!self.folder().exists(), "{} is left", self.folder().display());
        assert_eq!(self.property("LoadState"), "not-found");
    }

    #[track_caller]
    fn end(&self) {
        self.0.kill("KILL").ok();
        self.0.until("stopped");
        self.0.delete().ok();
        self.assert_gone();
    }
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--property", name, "--value", "--", unit])
}

#[track_caller]
fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).output().unwrap();
    assert!(output.status.success(), "systemctl {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn cgroup_of(pid: i32) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    table.trim_end().rsplit(':').next().unwrap().to_owned()
}

#[test]
fn a_scope_by_its_three_names() {
    needs!(here(); "systemd");
    except!(Crun; "crun puts init into a cgroup of its own below the scope");
    let c = Bundle::sleeper();
    let name = c.id().to_owned();
    let c = c.set("linux.cgroupsPath", format!("runwit-a.slice:pre:{name}"));
    c.call("create").global("--systemd-cgroup").output().ok();
    assert_eq!(
        cgroup_of(c.pid()),
        format!("/runwit.slice/runwit-a.slice/pre-{name}.scope")
    );
    let unit = format!("pre-{name}.scope");
    assert_eq!(property(&unit, "Slice"), "runwit-a.slice");
    assert_eq!(property(&unit, "Delegate"), "yes");
    c.delete().ok();
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

#[test]
fn a_scope_by_default() {
    needs!(here(); "systemd");
    except!(Crun; "crun puts init into a cgroup of its own below the scope");
    let c = Bundle::sleeper().without("linux.cgroupsPath");
    c.call("create").global("--systemd-cgroup").output().ok();
    let cgroup = cgroup_of(c.pid());
    assert!(cgroup.starts_with("/system.slice/"), "{cgroup}");
    assert!(cgroup.ends_with(&format!("-{}.scope", c.id())), "{cgroup}");
}

#[test]
fn all_of_the_lifecycle_needs_the_flag_once() {
    needs!(here(); "systemd");
    except!(Crun; "crun puts init into a cgroup of its own below the scope");
    let c = Scope::sleeper();
    c.launch();
    let pid = c.0.pid();
    assert_eq!(c.property("ActiveState"), "active");
    let pids = c.file("cgroup.procs");
    assert!(pids.lines().any(|line| line == pid.to_string()), "{pids}");
    c.0.kill("KILL").ok();
    c.0.until("stopped");
    c.0.delete().ok();
    assert!(!alive(pid));
    c.assert_gone();
}

#[test]
fn a_name_can_be_used_again_at_once() {
    needs!(here(); "systemd");
    let c = Scope::sleeper();
    for _ in 0..5 {
        c.launch();
        c.0.delete_force().ok();
        c.assert_gone();
        c.0.wait();
    }
}

#[test]
fn limits_are_systemds_and_the_kernels() {
    needs!(here() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
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
fn cpus_are_systemds_and_the_kernels() {
    needs!(here() && Cgroups::host().has("cpuset"); "systemd and a cpuset controller");
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
    needs!(here() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
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
    needs!(here() && Cgroups::host().has("memory") && Cgroups::host().has("pids"); "systemd and controllers");
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
    needs!(here(); "systemd");
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

#[test]
fn annotations_set_properties() {
    needs!(here(); "systemd");
    except!(Crun; "crun insists on its own description");
    let c = Scope::of(Bundle::sleeper().set(
        "annotations",
        json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.Description": "'it is mine'",
        }),
    ));
    c.launch();
    assert_eq!(c.property("TimeoutStopUSec"), "7s");
    assert_eq!(c.property("CollectMode"), "inactive");
    assert_eq!(c.property("Description"), "it is mine");
    c.end();
}

#[test]
fn a_broken_annotation_is_refused() {
    needs!(here(); "systemd");
    except!(Crun; "crun names the property alone");
    let c = Scope::of(Bundle::sleeper().set(
        "annotations",
        json!({ "org.systemd.property.TimeoutStopUSec": "uint64 x" }),
    ));
    c.create().fails("org.systemd.property.TimeoutStopUSec");
    c.assert_gone();
}

#[test]
fn a_scope_that_failed_is_forgotten() {
    needs!(here() && Cgroups::host().has("memory"); "systemd and a memory controller");
    // Without a CollectMode of ours a scope whose memory ran out stays, failed.
    let c = Scope::of(
        Bundle::busybox()
            .set(
                "annotations",
                json!({ "org.systemd.property.CollectMode": "'inactive'", "org.systemd.property.OOMPolicy": "'kill'" }),
            )
            .set(
                "linux.resources.memory",
                json!({ "limit": 20_971_520, "swap": 20_971_520 }),
            )
            .sh("a=x; while :; do a=$a$a; done"),
    );
    for _ in 0..2 {
        c.create().ok();
        c.0.start().ok();
        c.0.until("stopped");
        c.0.wait();
        c.0.delete().ok();
        c.assert_gone();
    }
}

#[test]
fn another_ones_scope_is_not_taken() {
    needs!(here(); "systemd");
    let first = Scope::sleeper();
    first.create().ok();
    let second = Bundle::sleeper().set("linux.cgroupsPath", format!("system.slice:runw-it:{}", first.0.id()));
    let output = second.call("create").global("--systemd-cgroup").output();
    assert_ne!(output.code, 0, "{}", output.story());
    assert!(alive(first.0.pid()));
    assert_eq!(first.property("ActiveState"), "active");
    first.0.delete().ok();
    first.assert_gone();
}

#[test]
fn a_failed_create_leaves_no_unit() {
    needs!(here(); "systemd");
    let c = Scope::of(Bundle::busybox().args(&["/no/such/program"]));
    let output = c.create();
    assert_ne!(output.code, 0, "{}", output.story());
    c.assert_gone();
    c.0.assert_no_trace();
}

#[test]
fn a_path_of_another_form_is_refused() {
    needs!(here(); "systemd");
    except!(Crun; "crun takes it for the name of a scope");
    let c = Bundle::sleeper().set("linux.cgroupsPath", "/a/b");
    c.call("create")
        .global("--systemd-cgroup")
        .output()
        .fails("expected cgroupsPath to be of format");
    c.assert_no_trace();
}

#[test]
fn without_systemd_the_flag_is_refused() {
    needs!(!here(); "a host without systemd");
    except!(Crun; "crun has words of its own");
    let c = Bundle::sleeper().without("linux.cgroupsPath");
    c.call("create")
        .global("--systemd-cgroup")
        .output()
        .fails("systemd not running on this host, cannot use systemd cgroups manager");
    c.assert_no_trace();
}

#[test]
fn a_cgroup_below_the_scope() {
    needs!(here() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    except!(Runc; "the annotation is crun's");
    let c = Scope::of(
        Bundle::sleeper()
            .set("annotations", json!({ "run.oci.systemd.subgroup": "inner" }))
            .set("linux.resources.pids.limit", 50),
    );
    c.launch();
    assert_eq!(cgroup_of(c.0.pid()), format!("/system.slice/{}/inner", c.unit()));
    assert_eq!(c.file("inner/pids.max"), "50");
    assert_eq!(c.property("TasksMax"), "50");
    c.end();
}

#[test]
fn a_cgroup_that_the_payload_may_rule() {
    needs!(here() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    except!(Runc; "the annotations are crun's");
    let c = Bundle::busybox()
        .namespace("cgroup", None)
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &[])
        .sh("cat /proc/self/cgroup; mkdir /sys/fs/cgroup/rest; echo ready; exec sleep 1000");
    let c = Scope::of(c.set(
        "annotations",
        json!({ "run.oci.systemd.subgroup": "inner", "run.oci.delegate-cgroup": "payload" }),
    ));
    let output = c.launch();
    assert!(
        output.stdout_now().starts_with("0::/payload\n"),
        "{}",
        output.stdout_now()
    );
    let inner = format!("/system.slice/{}/inner", c.unit());
    assert_eq!(cgroup_of(c.0.pid()), format!("{inner}/payload"));
    assert!(c.folder().join("inner/rest").exists());
    c.end();
}

#[test]
fn no_cgroup_at_all() {
    except!(Runc; "the flag is crun's");
    let c = Bundle::sleeper()
        .set("linux.resources.pids.limit", 50)
        .without("linux.cgroupsPath");
    let created = c.call("create").global("--cgroup-manager=disabled").output().ok();
    c.start().ok();
    eventually("the payload to be ready", || created.stdout_now().contains("ready"));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap(), own);
    c.kill("KILL").ok();
    c.until("stopped");
    c.delete().ok();
    c.assert_no_trace();
}
