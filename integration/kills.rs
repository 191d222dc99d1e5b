//! A runtime that is killed right before any of its system calls: what it worked on can be worked on by the next call.
//!
//! Beside `faults`, which kills by the clock, and so while the kernel is at work, too.

use std::fs;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::harness::{Bundle, Cgroups, eventually, killed_at};

/// Every `stride`th system call, in each run of the suite others; more of them than a call of the runtime makes.
fn calls(stride: usize) -> impl Iterator<Item = usize> {
    (1 + std::process::id() as usize % stride..2000).step_by(stride)
}

/// A container that runs, and whose init is all that there is in it.
fn running() -> Bundle {
    Bundle::sleeper().up()
}

/// Whether init is the only process of its pid namespace. What the killed runtime left to the suite is reaped: an unreaped
/// process keeps init from ending.
fn is_alone(c: &Bundle) -> bool {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(c.pid());
    assert!(theirs.is_some());
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != c.pid() && namespace(*pid) == theirs);
    let left = others.filter(|pid| {
        let reaped = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
        !reaped.is_ok_and(|status| status != WaitStatus::StillAlive)
    });
    left.count() == 0
}

#[test]
fn update() {
    only!(Runw; "others are many threads, of which this would follow one");
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = running();
    let call = || c.call("update").flag("--pids-limit").flag("77");
    let done = calls(2).find(|n| {
        let was_killed = killed_at(call(), *n);
        assert_eq!(c.status(), "running", "killed at its call {n}");
        !was_killed
    });
    assert!(done.is_some_and(|n| n > 20), "{done:?}");
    assert_eq!(c.cgroup_file("pids", "pids.max"), "77");
    c.call("update").flag("--pids-limit").flag("78").output().ok();
    assert_eq!(c.cgroup_file("pids", "pids.max"), "78");
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn pause_and_resume() {
    only!(Runw; "others are many threads, of which this would follow one");
    let c = running();
    for (verb, back, before, after) in [
        ("pause", "resume", "running", "paused"),
        ("resume", "pause", "paused", "running"),
    ] {
        let done = calls(2).find(|n| {
            let was_killed = killed_at(c.call(verb), *n);
            let status = c.status();
            assert!(
                [before, after].contains(&status.as_str()),
                "{verb} killed at its call {n}: {status}"
            );
            if was_killed && status == after {
                c.call(back).output().ok();
            }
            !was_killed
        });
        assert!(done.is_some_and(|n| n > 20), "{done:?}");
        assert_eq!(c.status(), after);
    }
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn exec() {
    only!(Runw; "others are many threads, of which this would follow one");
    for detached in [false, true] {
        let c = running();
        let call = || match detached {
            true => c.exec(&["--detach"], &["true"]),
            false => c.exec(&[], &["true"]),
        };
        let done = calls(4).find(|n| {
            let was_killed = killed_at(call(), *n);
            assert_eq!(c.status(), "running", "killed at its call {n}");
            !was_killed
        });
        assert!(done.is_some_and(|n| n > 50), "{done:?}");
        // A process that was under way has ended, with the program or before.
        eventually("init to be alone", || is_alone(&c));
        let listed = c.call("ps").flag("--format").flag("json").output().json();
        assert_eq!(listed, serde_json::json!([c.pid()]));
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn delete() {
    only!(Runw; "others are many threads, of which this would follow one");
    let done = calls(4).find(|n| {
        let c = Bundle::sleeper();
        c.launch();
        let was_killed = killed_at(c.call("delete").flag("--force"), *n);
        c.delete_force().ok();
        c.assert_no_trace();
        !was_killed
    });
    assert!(done.is_some_and(|n| n > 50), "{done:?}");
}

#[test]
fn start() {
    only!(Runw; "others are many threads, of which this would follow one");
    let done = calls(3).find(|n| {
        let c = Bundle::sleeper();
        c.create().ok();
        let was_killed = killed_at(c.call("start"), *n);
        let status = c.status();
        assert!(
            ["created", "running"].contains(&status.as_str()),
            "killed at its call {n}: {status}"
        );
        if status == "created" {
            // Init may have been about to go on.
            let again = c.start();
            assert!(
                again.code == 0 || again.stderr.contains("already running"),
                "{}",
                again.story()
            );
        }
        c.delete_force().ok();
        c.assert_no_trace();
        !was_killed
    });
    assert!(done.is_some_and(|n| n > 20), "{done:?}");
}

#[test]
fn create() {
    only!(Runw; "others are many threads, of which this would follow one");
    let done = calls(7).find(|n| {
        let c = Bundle::sleeper();
        let was_killed = killed_at(c.call("create"), *n);
        let _ = c.call("state").output(); // Whatever it says, it must end.
        c.delete_force().ok();
        c.assert_no_trace();
        !was_killed
    });
    assert!(done.is_some_and(|n| n > 100), "{done:?}");
}
