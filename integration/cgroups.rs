//! `linux.cgroupsPath`: where a container's cgroups are, who is in them, what it sees of them, and their end.

use std::fs;

use crate::harness::{Bundle, Cgroups, Layout, alive, eventually};

#[test]
fn init_is_in_the_cgroup_when_create_returns() {
    let c = Bundle::sleeper();
    c.create().ok();
    let pid = c.pid().to_string();
    let folders = c.cgroup_folders();
    assert!(!folders.is_empty());
    for folder in folders {
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap();
        assert!(
            processes.lines().any(|line| line == pid),
            "{}: {processes}",
            folder.display()
        );
    }
}

#[test]
fn each_hierarchy_has_the_cgroup() {
    needs!(Cgroups::host().layout() == Layout::V1; "a v1 host");
    let c = Bundle::sleeper();
    c.create().ok();
    for controller in ["memory", "cpu", "cpuset", "pids", "devices", "freezer", "blkio"] {
        if Cgroups::host().has(controller) {
            assert!(
                Cgroups::host().folder(controller, &c.cgroup_path()).exists(),
                "{controller}"
            );
        }
    }
}

#[test]
fn a_relative_cgroups_path() {
    let c = Bundle::sleeper();
    // One name, so that no parent is made that nobody removes: runtimes may put it below their own cgroup.
    let c = c.config(|spec| {
        spec["linux"]["cgroupsPath"] = spec["linux"]["cgroupsPath"].as_str().unwrap()[1..]
            .replace('/', "-")
            .into()
    });
    c.create().ok();
    let table = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let paths: Vec<&str> = table.lines().filter_map(|line| line.rsplit(':').next()).collect();
    assert!(paths.iter().any(|path| path.contains(c.id())), "{table}");
    c.delete().ok();
    for path in paths.iter().filter(|path| path.contains(c.id())) {
        assert!(
            Cgroups::host().folders(path).iter().all(|folder| !folder.exists()),
            "{path} is left"
        );
    }
}

#[test]
fn no_cgroups_path_at_all() {
    let c = Bundle::sleeper().without("linux.cgroupsPath");
    c.create().ok();
    let line = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    assert!(line.contains(c.id()), "the id names the cgroup: {line}");
}

#[test]
fn a_cgroups_path_stays_below_the_hierarchy() {
    let c = Bundle::sleeper();
    let climbing = format!("/../../../..{}", c.cgroup_path());
    let c = c.set("linux.cgroupsPath", climbing);
    let output = c.create();
    if output.code == 0 {
        let line = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
        assert!(line.contains(&c.cgroup_path()), "{line}");
    }
}

#[test]
fn cgroups_nested_by_the_container_are_removed() {
    let c = Bundle::sleeper();
    c.create().ok();
    for folder in c.cgroup_folders() {
        fs::create_dir_all(folder.join("inner/innermost")).unwrap();
    }
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn processes_in_nested_cgroups_end_with_delete() {
    except!(Runc if Cgroups::host().layout() == Layout::V2; "runc 1.1 removes a v2 cgroup before its processes have left");
    let c = Bundle::busybox()
        .without_namespace("pid")
        .sh("sleep 1000 & echo $!; wait");
    let created = c.launch();
    eventually("the child to be there", || !created.stdout_now().is_empty());
    let child = created.stdout_now().trim().to_owned();
    for folder in c.cgroup_folders() {
        let inner = folder.join("inner");
        fs::create_dir_all(&inner).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // v1 has them everywhere, and empty; v2 only where the controller is enabled.
            if inner.join(file).exists() {
                fs::write(inner.join(file), fs::read(folder.join(file)).unwrap()).unwrap();
            }
        }
        fs::write(inner.join("cgroup.procs"), &child).unwrap();
    }
    c.delete_force().ok();
    assert!(!alive(child.parse().unwrap()));
    c.assert_no_trace();
}

#[test]
fn a_cgroup_in_use_is_refused() {
    except!(Crun, Runc; "crun joins it, runc 1.1 only warns");
    let first = Bundle::sleeper();
    first.launch();
    let second = Bundle::sleeper().set("linux.cgroupsPath", first.cgroup_path());
    second.create().fails("cgroup");
    second.assert_no_trace();
    assert_eq!(first.status(), "running");
}

#[test]
fn an_empty_cgroup_that_exists_is_taken() {
    except!(Crun; "crun does not see the unified hierarchy of a hybrid host");
    let c = Bundle::sleeper();
    for folder in Cgroups::host().folders(&c.cgroup_path()) {
        fs::create_dir_all(folder).unwrap();
    }
    c.create().ok();
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn the_container_sees_its_own_cgroup() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("pids"); "a v1 pids controller");
    for own_namespace in [false, true] {
        let c = Bundle::busybox().set("linux.resources.pids.limit", 77);
        let c = if own_namespace { c.namespace("cgroup", None) } else { c };
        let c = c.mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        );
        let script = "cd /sys/fs/cgroup/pids; cat pids.max; echo 5 2>/dev/null >pids.max || echo read-only";
        c.run_sh(script).prints("77\nread-only\n");
    }
}

#[test]
fn the_container_sees_its_own_unified_cgroup() {
    needs!(Cgroups::host().layout() == Layout::V2; "a v2 host");
    let c = Bundle::busybox().namespace("cgroup", None);
    let c = c.mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    );
    c.run_sh("cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only")
        .shows("1\n");
}

#[test]
fn a_writable_cgroup_mount() {
    let c = Bundle::busybox().namespace("cgroup", None);
    let c = c.mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "rw"],
    );
    let place = if Cgroups::host().layout() == Layout::V1 {
        "/sys/fs/cgroup/pids/x"
    } else {
        "/sys/fs/cgroup/x"
    };
    c.run_sh(&format!("mkdir {place} && echo made")).prints("made\n");
    c.assert_no_trace();
}

/// Freezes a container from outside, as an administrator may.
#[track_caller]
fn freeze(c: &Bundle) {
    let host = Cgroups::host();
    let folder = host.folder("freezer", &c.cgroup_path());
    match host.layout() {
        // A v1 freezer that meets a process at the wrong moment stays FREEZING until it is asked again.
        Layout::V1 => eventually("the container to freeze", || {
            fs::write(folder.join("freezer.state"), "FROZEN").unwrap();
            c.cgroup_file("freezer", "freezer.state") == "FROZEN"
        }),
        Layout::V2 => fs::write(folder.join("cgroup.freeze"), "1").unwrap(),
    }
}

#[test]
fn a_frozen_container_can_be_deleted() {
    let c = Bundle::sleeper();
    c.launch();
    freeze(&c);
    c.until("paused");
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn kill_reaches_a_frozen_container() {
    except!(Crun; "crun's signal waits for the thaw");
    let c = Bundle::sleeper();
    c.launch();
    freeze(&c);
    c.until("paused");
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
}
