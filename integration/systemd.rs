//! `--systemd-cgroup`: the container's cgroup is that of a unit of systemd's. For a host that runs systemd; `scripts/test-vm`
//! has one. (Limits: `systemd_limits`.)

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout, Scope, alive, cgroup_of, eventually, has_systemd, property};

#[test]
fn a_scope_by_its_three_names() {
    needs!(has_systemd(); "systemd");
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
    needs!(has_systemd(); "systemd");
    except!(Crun; "crun puts init into a cgroup of its own below the scope");
    let c = Bundle::sleeper().without("linux.cgroupsPath");
    c.call("create").global("--systemd-cgroup").output().ok();
    let cgroup = cgroup_of(c.pid());
    assert!(cgroup.starts_with("/system.slice/"), "{cgroup}");
    assert!(cgroup.ends_with(&format!("-{}.scope", c.id())), "{cgroup}");
}

#[test]
fn all_of_the_lifecycle_needs_the_flag_once() {
    needs!(has_systemd(); "systemd");
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
    needs!(has_systemd(); "systemd");
    let c = Scope::sleeper();
    for _ in 0..5 {
        c.launch();
        c.0.delete_force().ok();
        c.assert_gone();
        c.0.wait();
    }
}

#[test]
fn pause_exec_and_ps_need_no_flag() {
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
    except!(Crun; "crun puts init into a cgroup of its own below the scope");
    let c = Scope::sleeper();
    c.launch();
    let own = c.0.call("exec").after(&["cat", "/proc/self/cgroup"]).output().ok();
    assert!(own.text().contains(&c.unit()), "{}", own.text());
    c.0.call("pause").output().ok();
    assert_eq!(c.file("cgroup.freeze"), "1");
    assert_eq!(c.0.status(), "paused");
    c.0.call("resume").output().ok();
    assert_eq!(c.0.status(), "running");
    let pids = c.0.call("ps").flag("--format=json").output().json();
    assert_eq!(pids, json!([c.0.pid()]));
    c.end();
}

#[test]
fn annotations_set_properties() {
    needs!(has_systemd(); "systemd");
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
    needs!(has_systemd(); "systemd");
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
    needs!(has_systemd() && Cgroups::host().has("memory"); "systemd and a memory controller");
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
    needs!(has_systemd(); "systemd");
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
    needs!(has_systemd(); "systemd");
    let c = Scope::of(Bundle::busybox().args(&["/no/such/program"]));
    let output = c.create();
    assert_ne!(output.code, 0, "{}", output.story());
    c.assert_gone();
    c.0.assert_no_trace();
}

#[test]
fn a_path_of_another_form_is_refused() {
    needs!(has_systemd(); "systemd");
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
    needs!(!has_systemd(); "a host without systemd");
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
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
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
    needs!(has_systemd() && Cgroups::host().layout() == Layout::V2; "systemd on cgroup v2");
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
