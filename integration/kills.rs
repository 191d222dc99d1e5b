//! A runtime that is killed right before any of its system calls: what it worked on can be worked on by the next call.
//!
//! Beside `faults`, which kills by the clock, and so while the kernel is at work, too.

use crate::harness::{Bundle, Call, Cgroups, eventually, killed_at, reap_beside};

/// About thirty of the system calls of a call that makes `total` of them; in each run of the suite others.
fn some_of(total: usize) -> impl Iterator<Item = usize> {
    assert!(total > 20, "{total} system calls");
    let stride = total / 30 + 1;
    (1 + std::process::id() as usize % stride..=total).step_by(stride)
}

/// How many system calls a call makes that nothing happens to.
fn count(call: Call<'_>) -> usize {
    killed_at(call, usize::MAX).unwrap()
}

/// A container that runs, and whose init is all that there is in it.
fn running() -> Bundle {
    Bundle::sleeper().up()
}

#[test]
fn update() {
    only!(Runw; "others are many threads, of which this would follow one");
    needs!(Cgroups::host().has("pids"); "a pids controller");
    let c = running();
    let call = || c.call("update").flag("--pids-limit").flag("77");
    for n in some_of(count(call())) {
        killed_at(call(), n);
        assert_eq!(c.status(), "running", "killed at its call {n}");
    }
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
        let total = count(c.call(verb));
        assert_eq!(c.status(), after);
        for n in some_of(total) {
            if c.status() == after {
                c.call(back).output().ok();
            }
            killed_at(c.call(verb), n);
            let status = c.status();
            assert!(
                [before, after].contains(&status.as_str()),
                "{verb} killed at its call {n}: {status}"
            );
        }
        if c.status() == before {
            c.call(verb).output().ok();
        }
        assert_eq!(c.status(), after);
    }
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn exec() {
    only!(Runw; "others are many threads, of which this would follow one");
    for flags in [&[][..], &["--detach"]] {
        let c = running();
        let call = || c.exec(flags, &["true"]);
        for n in some_of(count(call())) {
            killed_at(call(), n);
            assert_eq!(c.status(), "running", "killed at its call {n}");
        }
        // A process that was under way has ended, with the program or before.
        eventually("init to be alone", || reap_beside(c.pid()) == 0);
        let listed = c.call("ps").flag("--format").flag("json").output().json();
        assert_eq!(listed, serde_json::json!([c.pid()]));
        c.delete_force().ok();
        c.assert_no_trace();
    }
}

#[test]
fn delete() {
    only!(Runw; "others are many threads, of which this would follow one");
    let delete = |n: usize| {
        let c = Bundle::sleeper();
        c.launch();
        let total = killed_at(c.call("delete").flag("--force"), n);
        c.delete_force().ok();
        c.assert_no_trace();
        total
    };
    for n in some_of(delete(usize::MAX).unwrap()) {
        delete(n);
    }
}

#[test]
fn start() {
    only!(Runw; "others are many threads, of which this would follow one");
    let start = |n: usize| {
        let c = Bundle::sleeper();
        c.create().ok();
        let total = killed_at(c.call("start"), n);
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
        total
    };
    for n in some_of(start(usize::MAX).unwrap()) {
        start(n);
    }
}

#[test]
fn create() {
    only!(Runw; "others are many threads, of which this would follow one");
    let create = |n: usize| {
        let c = Bundle::sleeper();
        let total = killed_at(c.call("create"), n);
        let _ = c.call("state").output(); // Whatever it says, it must end.
        c.delete_force().ok();
        c.assert_no_trace();
        total
    };
    for n in some_of(create(usize::MAX).unwrap()) {
        create(n);
    }
}
