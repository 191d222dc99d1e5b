//! `pause`, `resume` and `ps`.

use serde_json::json;

use crate::harness::{Act, Bundle, Kind, Payload, alive, eventually, runtime};

for_each_payload!(paused_and_resumed, a_paused_container_can_be_killed, processes_as_json);

fn paused_and_resumed(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.call("pause").output().prints("");
    assert_eq!(c.state()["status"], "paused");
    assert_eq!(c.state()["pid"], c.pid());
    c.call("resume").output().prints("");
    assert_eq!(c.state()["status"], "running");
}

fn a_paused_container_can_be_killed(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.call("pause").output().ok();
    c.call("delete").output().exits(1);
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn a_paused_container_stands_still() {
    let c = Bundle::busybox().sh("while :; do echo tick; usleep 1000; done");
    let output = c.launch();
    eventually("a tick", || output.stdout_now().contains("tick"));
    c.call("pause").output().ok();
    let before = output.stdout_now();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(output.stdout_now(), before, "ticks of a paused container");
    c.call("resume").output().ok();
    eventually("another tick", || output.stdout_now().len() > before.len());
}

#[test]
fn a_created_container_can_be_paused() {
    let c = Bundle::sleeper();
    c.create().ok();
    c.call("pause").output().ok();
    assert_eq!(c.state()["status"], "paused");
    c.call("resume").output().ok();
    assert_eq!(c.state()["status"], "created");
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    let c = Bundle::sleeper();
    c.launch_ready();
    let pid = c.pid();
    c.call("pause").output().ok();
    c.delete_force().ok();
    assert!(!alive(pid));
    c.assert_no_trace();
}

#[test]
fn what_cannot_be_paused_or_resumed() {
    let c = Bundle::busybox().args(&["true"]);
    c.call("pause").output().fails_as_unknown();
    c.call("resume").output().fails_as_unknown();
    c.launch();
    c.wait();
    c.call("pause").output().fails("not running");
    c.call("resume").output().exits(1);
}

#[test]
fn who_runs_cannot_be_resumed() {
    except!(Crun; "crun resumes whoever runs");
    let c = Bundle::sleeper();
    c.launch_ready();
    c.call("resume").output().fails("container not paused");
    c.call("pause").output().ok();
    // runc takes this for running no more.
    c.call("pause").output().fails("container not running");
}

fn processes_as_json(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let pids = c.call("ps").flag("--format").flag("json").output().json();
    assert!(pids.as_array().unwrap().contains(&json!(c.pid())), "{pids}");
    let output = c.call("ps").flag("-f").flag("json").output().ok();
    assert!(
        output.stdout.ends_with("]\n") && output.stdout.lines().count() == 1,
        "{}",
        output.story()
    );
}

#[test]
fn processes_of_a_container_with_several() {
    let c = Bundle::busybox().sh("sleep 1000 & sleep 1000 & echo ready; wait");
    c.launch_ready();
    eventually("three processes", || {
        let pids = c.call("ps").flag("--format").flag("json").output().json();
        let pids = pids.as_array().unwrap();
        pids.len() == 3 && pids.contains(&json!(c.pid()))
    });
}

#[test]
fn processes_as_a_table() {
    except!(Crun; "crun prints a column of pids and takes no options");
    let c = Bundle::sleeper();
    c.launch_ready();
    let pid = c.pid();
    let output = c.call("ps").output().ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(
        lines[0].starts_with("UID") && lines[0].contains(" PID "),
        "{}",
        output.story()
    );
    assert_eq!(lines.len(), 2, "{}", output.story());
    assert_eq!(
        lines[1].split_whitespace().nth(1),
        Some(pid.to_string().as_str()),
        "{}",
        output.story()
    );
    let output = c.call("ps").after(&["-e", "-o", "comm,pid"]).output().ok();
    assert_eq!(
        output.stdout.split_whitespace().collect::<Vec<_>>(),
        ["COMMAND", "PID", "sleep", pid.to_string().as_str()]
    );
    c.call("ps").after(&["-e", "-o", "comm"]).output().fails("PID");
}

#[test]
fn a_stopped_container_has_no_processes() {
    let c = Bundle::busybox().args(&["true"]);
    c.launch();
    c.wait();
    let output = c.call("ps").flag("--format").flag("json").output().ok();
    let nothing = if runtime().kind == Kind::Crun { "[]" } else { "null" };
    assert_eq!(output.text(), nothing);
    c.call("ps").id("unknown").output().fails_as_unknown();
}
