//! A runtime that is killed at any moment leaves nothing that `delete --force` cannot remove.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::checkpoint::{NO_STREAMS, checkpoint, counter, criu_works, launch_counter, restore};
use crate::harness::{Bundle, Cgroups, Kind, eventually, runtime};

#[test]
fn killed_during_create() {
    except!(Runc, Crun; "runc 1.1 forgets the cgroups it made before it saved its state; crun forgets the cgroups it made before it saved its state");
    // About one kill per phase of a launch, which takes some ten to a hundred milliseconds.
    for step in 0..40 {
        let c = Bundle::sleeper();
        let create = c.call("create").spawn();
        std::thread::sleep(Duration::from_micros(step * step * 60));
        create.signal(Signal::SIGKILL);
        let output = create.wait();
        assert!(matches!(output.code, -9 | 0), "{}", output.story());
        let _ = c.call("state").output(); // Whatever it says, it must end.
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_start() {
    for step in 0..15 {
        let c = Bundle::sleeper();
        c.create().ok();
        let start = c.call("start").spawn();
        std::thread::sleep(Duration::from_micros(step * 700));
        start.signal(Signal::SIGKILL);
        let _ = start.wait();
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_delete() {
    for step in 0..10 {
        let c = Bundle::sleeper();
        c.launch();
        let delete = c.call("delete").flag("--force").spawn();
        std::thread::sleep(Duration::from_micros(step * 1500));
        delete.signal(Signal::SIGKILL);
        let _ = delete.wait();
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_exec() {
    except!(Runc; "runc 1.1 leaves a process of its own behind, which holds the cgroup");
    for step in 0..15 {
        let c = Bundle::sleeper();
        c.launch();
        let exec = c.call("exec").after(&["/bin/sh", "-c", "exec sleep 1000"]).spawn();
        std::thread::sleep(Duration::from_micros(step * 1500));
        exec.signal(Signal::SIGKILL);
        let _ = exec.wait();
        assert_eq!(c.status(), "running");
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_pause_and_resume() {
    for step in 0..8 {
        let c = Bundle::sleeper();
        c.launch();
        let verbs = if step % 2 == 0 {
            &["pause"][..]
        } else {
            &["pause", "resume"]
        };
        for verb in verbs {
            let call = c.call(verb).spawn();
            std::thread::sleep(Duration::from_micros(step * 700));
            call.signal(Signal::SIGKILL);
            let _ = call.wait();
        }
        let status = c.status();
        assert!(["running", "paused"].contains(&status.as_str()), "{status}");
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_checkpoint() {
    needs!(criu_works(); "CRIU");
    for step in 0..8 {
        let c = counter();
        launch_counter(&c);
        let call = checkpoint(&c).spawn();
        std::thread::sleep(Duration::from_millis(step * 50));
        call.signal(Signal::SIGKILL);
        let _ = call.wait();
        let _ = c.call("state").output(); // Whatever it says, it must end.
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_restore() {
    except!(Runc; "runc 1.1 forgets what it made before it saved its state");
    needs!(criu_works(); "CRIU");
    let c = counter();
    launch_counter(&c);
    checkpoint(&c).output().ok();
    c.wait();
    for step in 0..8 {
        let call = restore(&c).before(NO_STREAMS).spawn();
        std::thread::sleep(Duration::from_millis(step * 30));
        call.signal(Signal::SIGKILL);
        let _ = call.wait();
        let _ = c.call("state").output();
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn killed_during_run_the_container_is_still_there() {
    except!(Crun; "crun writes its state after the start");
    let c = Bundle::sleeper();
    let run = c.call("run").spawn();
    eventually("the payload to be ready", || run.stdout_now().contains("ready"));
    run.signal(Signal::SIGKILL);
    let _ = run.wait();
    assert_eq!(c.status(), "running");
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn a_record_that_is_damaged_is_named() {
    only!(Runw; "runc and crun word it in their own ways");
    let c = Bundle::sleeper();
    c.create().ok();
    let record = c.state_root().join(c.id()).join("state.json");
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{\"id\": ").unwrap();
    // Whose cgroup and processes would be left nobody can tell, so even force does not throw the folder away.
    for verb in ["state", "start", "kill", "delete"] {
        c.call(verb).output().fails("state.json");
    }
    c.delete_force().fails("state.json");
    std::fs::write(&record, whole).unwrap();
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn init_killed_before_start() {
    let c = Bundle::sleeper();
    c.create().ok();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(c.pid()), Signal::SIGKILL).unwrap();
    c.wait();
    c.until("stopped");
    c.start().exits(1);
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn a_full_disk_of_states() {
    // A state root on a tmpfs without room: the error is clear and nothing is left.
    let c = Bundle::busybox();
    let root = c.scrap_folder("state");
    let script = format!(
        "mount -t tmpfs -o size=4k,nr_inodes=4 tmpfs {}; dd if=/dev/zero of={0}/fill bs=4096 count=1 2>/dev/null",
        root.display()
    );
    let output = c.call("run").runs(&["true"]).among_own_mounts(&script).output();
    assert_ne!(output.code, 0, "{}", output.story());
    assert!(c.cgroup_folders().is_empty());
}

/// A limit by config.json and by a flag of `update`, its controller, and where config.json has it.
type Limit = (&'static str, Value, &'static [&'static str], &'static str);

fn limits() -> [Limit; 6] {
    [
        (
            "memory",
            json!({ "memory": { "limit": 64 << 20 } }),
            &["--memory", "32m"],
            "linux.resources.memory.limit",
        ),
        (
            "pids",
            json!({ "pids": { "limit": 50 } }),
            &["--pids-limit", "40"],
            "linux.resources.pids.limit",
        ),
        (
            "cpu",
            json!({ "cpu": { "shares": 512 } }),
            &["--cpu-share", "256"],
            "linux.resources.cpu.shares",
        ),
        (
            "cpuset",
            json!({ "cpu": { "cpus": "0" } }),
            &["--cpuset-cpus", "0"],
            "linux.resources.cpu.cpus",
        ),
        (
            "hugetlb",
            json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 2 << 20 }] }),
            &[],
            "linux.resources.hugepageLimits",
        ),
        (
            "rdma",
            json!({ "rdma": { "mlx5_1": { "hcaHandles": 3 } } }),
            &[],
            "linux.resources.rdma",
        ),
    ]
}

#[test]
fn a_controller_that_the_host_lacks() {
    // As in runc, a limit that would not hold is no container. Docker would take `no such file or directory` for a missing program.
    let plain = Bundle::sleeper();
    plain.launch();
    let lacking = limits().into_iter().filter(|limit| !Cgroups::host().has(limit.0));
    for (controller, resources, flags, at) in lacking {
        let c = Bundle::sleeper().set("linux.resources", resources);
        let refused = c.create().exits(1);
        c.assert_no_trace();
        let told = (!flags.is_empty()).then(|| plain.call("update").after(flags).output().exits(1));
        if runtime().kind != Kind::Runw {
            continue;
        }
        for output in [Some(refused), told].into_iter().flatten() {
            let text = &output.stderr;
            let words = format!("controller {controller:?} not available");
            assert!(
                text.contains(&words) && !text.contains("no such file"),
                "{}",
                output.story()
            );
            assert_eq!(text.lines().count(), 1, "{}", output.story());
            assert!(
                text.contains(at) || output.line.contains("\"update\""),
                "{}",
                output.story()
            );
        }
    }
    assert_eq!(plain.status(), "running");
}

#[test]
fn a_state_root_that_is_a_file() {
    let c = Bundle::busybox();
    std::fs::write(c.state_root(), "").unwrap();
    c.run(&["true"]).exits(1);
    std::fs::remove_file(c.state_root()).unwrap();
    c.assert_no_trace();
}

#[test]
fn no_fds_left() {
    let c = Bundle::busybox();
    let output = c.call("run").runs(&["true"]).before("ulimit -n 12").output();
    assert!(
        matches!(output.code, 0 | 1),
        "few descriptors are an error at most, not a hang: {}",
        output.story()
    );
    if output.code == 1 {
        c.assert_no_trace();
    }
}

#[test]
fn no_processes_left() {
    let c = Bundle::busybox().set("linux.resources.pids.limit", 1);
    let output = c.run(&["true"]);
    assert!(output.code >= 0, "{}", output.story());
    c.assert_no_trace();
}

#[test]
fn no_proc_on_the_host() {
    only!(Runw; "Go's and crun's errors differ; ours must be one line");
    let c = Bundle::busybox();
    let output = c
        .call("run")
        .runs(&["true"])
        .among_own_mounts("mount -t tmpfs tmpfs /proc")
        .output();
    assert_eq!(output.code, 1, "{}", output.story());
    assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.story());
    c.assert_no_trace();
}
