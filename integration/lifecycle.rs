//! create, start, state, kill, delete, run: one lifecycle, whatever the payload is.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use crate::harness::{Act, Payload, alive, eventually};

for_each_payload!(
    exit_code_is_the_payloads,
    create_start_kill_delete,
    output_and_input_pass_through,
    the_environment_passes_through,
    a_killed_payload_is_128_plus_the_signal,
    run_foreground_leaves_nothing,
    run_with_the_same_id_again,
    run_keep_leaves_a_stopped_container,
    run_detached_returns_while_it_runs,
    the_payload_waits_for_start,
    started_only_once,
    no_start_after_the_end,
    kill_before_start_stops_it,
    kill_of_a_stopped_container_has_no_effect,
    kill_all_of_a_stopped_container_is_fine,
    signals_by_number_and_name,
    signals_in_small_letters,
    an_unknown_signal_is_refused,
    delete_of_a_created_container,
    delete_of_a_running_container_needs_force,
    delete_of_a_stopped_container,
    verbs_on_an_unknown_id,
    delete_force_of_an_unknown_id_is_fine,
    an_id_is_taken_once,
    edits_after_create_have_no_effect,
    init_is_a_child_a_shim_can_wait_for,
    foreground_run_forwards_signals,
    a_short_life_never_hangs,
    the_runtime_lets_go_of_the_streams,
    two_containers_of_one_bundle,
);

fn exit_code_is_the_payloads(payload: Payload) {
    for code in [0, 3, 255] {
        payload.bundle(&Act::Exit(code)).run_as_is().exits(code.into());
    }
}

fn create_start_kill_delete(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    let created = c.create().ok();
    assert_eq!(
        (created.stdout.as_str(), created.stderr.as_str()),
        ("", ""),
        "create is silent"
    );
    assert_eq!(c.status(), "created");
    let started = c.start().ok();
    assert_eq!(
        (started.stdout.as_str(), started.stderr.as_str()),
        ("", ""),
        "start is silent"
    );
    assert_eq!(c.status(), "running");
    eventually("the payload to be ready", || created.stdout_now() == "ready\n");
    c.kill("TERM").ok();
    assert_eq!(c.wait(), 143);
    c.until("stopped");
    c.delete().ok();
    c.assert_no_trace();
    c.call("state").output().fails_as_unknown();
}

fn output_and_input_pass_through(payload: Payload) {
    let c = payload.bundle(&Act::Copy);
    c.call("run").stdin("one\ntwo\n").output().prints("one\ntwo\n");
    let c = payload.then(c, &Act::Complain("woe"));
    let output = c.run_as_is().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "woe\n"));
}

fn the_environment_passes_through(payload: Payload) {
    payload
        .bundle(&Act::Env("COLOUR"))
        .env("COLOUR=sea green")
        .run_as_is()
        .prints("sea green\n");
}

fn a_killed_payload_is_128_plus_the_signal(payload: Payload) {
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        let c = payload.bundle(&Act::Sleep);
        let run = c.call("run").spawn();
        eventually("the payload to be ready", || run.stdout_now().contains("ready"));
        c.kill(signal).ok();
        run.wait().exits(code);
    }
}

fn run_foreground_leaves_nothing(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    c.run_as_is().ok();
    c.assert_no_trace();
}

fn run_with_the_same_id_again(payload: Payload) {
    let c = payload.bundle(&Act::Print("again"));
    for _ in 0..3 {
        c.run_as_is().prints("again\n");
    }
}

fn run_keep_leaves_a_stopped_container(payload: Payload) {
    let c = payload.bundle(&Act::Exit(3));
    c.call("run").flag("--keep").output().exits(3);
    assert_eq!(c.status(), "stopped");
    c.run_as_is().fails("already exists");
    c.delete().ok();
    c.assert_no_trace();
}

fn run_detached_returns_while_it_runs(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.run_detached().ok();
    assert_eq!(c.status(), "running");
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    assert_eq!(c.status(), "stopped", "a detached container stays until it is deleted");
    c.delete().ok();
}

fn the_payload_waits_for_start(payload: Payload) {
    let c = payload.bundle(&Act::Print("begun"));
    let created = c.create().ok();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(created.stdout_now(), "", "nothing of the payload runs before start");
    c.start().ok();
    assert_eq!(c.wait(), 0);
    assert_eq!(created.stdout_now(), "begun\n");
}

fn started_only_once(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.start()
        .fails_with_one_of(&["cannot start an already running container", "state"]);
    assert_eq!(c.status(), "running", "a refused start has no effect");
}

fn no_start_after_the_end(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    c.start()
        .fails_with_one_of(&["cannot start a container that has stopped", "is not running"]);
    assert_eq!(c.status(), "stopped");
}

fn kill_before_start_stops_it(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.create().ok();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
    c.until("stopped");
    c.delete().ok();
}

fn kill_of_a_stopped_container_has_no_effect(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    c.until("stopped");
    c.kill("TERM").fails("not running");
    only_engine_words(&c.kill("KILL").stderr);
}

/// containerd and CRI-O take just these words for "done already".
fn only_engine_words(stderr: &str) {
    if crate::harness::runtime().kind != crate::harness::Kind::Crun {
        assert!(stderr.contains("container not running"), "{stderr}");
    }
}

fn kill_all_of_a_stopped_container_is_fine(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    c.until("stopped");
    c.call("kill").flag("--all").after(&["9"]).output().ok();
}

fn signals_by_number_and_name(payload: Payload) {
    for (signal, code) in [("15", 143), ("TERM", 143), ("SIGTERM", 143), ("INT", 130), ("9", 137)] {
        let c = payload.bundle(&Act::Sleep);
        c.launch_ready();
        c.kill(signal).ok();
        assert_eq!(c.wait(), code, "kill {signal}");
    }
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.call("kill").output().ok();
    assert_eq!(c.wait(), 143, "the default signal is TERM");
}

fn signals_in_small_letters(payload: Payload) {
    except!(Crun; "crun wants capitals");
    for (signal, code) in [("term", 143), ("sigint", 130)] {
        let c = payload.bundle(&Act::Sleep);
        c.launch_ready();
        c.kill(signal).ok();
        assert_eq!(c.wait(), code, "kill {signal}");
    }
}

fn an_unknown_signal_is_refused(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    for signal in ["SIGNOPE", "NOPE", "1000"] {
        let output = c.kill(signal).exits(1);
        assert!(!output.stderr.is_empty(), "{}", output.story());
    }
    assert!(alive(c.pid()));
}

fn delete_of_a_created_container(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.create().ok();
    c.delete().ok();
    c.assert_no_trace();
    assert!(!alive(c.pid()));
}

fn delete_of_a_running_container_needs_force(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    c.delete()
        .fails_with_one_of(&["that is not stopped: running", "`stopped` state"]);
    assert_eq!(c.status(), "running", "a refused delete has no effect");
    assert!(alive(c.pid()));
    c.delete_force().ok();
    assert!(!alive(c.pid()));
    c.assert_no_trace();
}

/// Native only: a guest has no way to be deaf, every signal that can end a process ends it.
#[test]
fn delete_force_ends_a_deaf_payload() {
    let payload = Payload::Native;
    let c = payload.bundle(&Act::SleepDeaf);
    c.launch_ready();
    c.kill("TERM").ok();
    c.delete_force().ok();
    assert_eq!(c.wait(), 137);
    c.assert_no_trace();
}

fn delete_of_a_stopped_container(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    c.until("stopped");
    let deleted = c.delete().ok();
    assert_eq!(
        (deleted.stdout.as_str(), deleted.stderr.as_str()),
        ("", ""),
        "delete is silent"
    );
    c.assert_no_trace();
    c.delete().fails_as_unknown();
}

fn verbs_on_an_unknown_id(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    for verb in ["state", "start", "kill", "delete"] {
        c.call(verb).output().fails_as_unknown();
    }
    c.assert_no_trace();
}

fn delete_force_of_an_unknown_id_is_fine(payload: Payload) {
    payload.bundle(&Act::Exit(0)).delete_force().ok();
}

fn an_id_is_taken_once(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let pid = c.pid();
    c.call("create").no_pid_file().output().fails("already exists");
    c.call("run").no_pid_file().output().fails("already exists");
    assert_eq!(
        (c.status().as_str(), c.pid()),
        ("running", pid),
        "the first container lives on"
    );
    assert!(alive(pid));
}

fn edits_after_create_have_no_effect(payload: Payload) {
    let c = payload.bundle(&Act::Print("first"));
    let created = c.create().ok();
    std::fs::write(c.path().join("config.json"), "{}").unwrap();
    c.start().ok();
    assert_eq!(c.wait(), 0);
    assert_eq!(created.stdout_now(), "first\n");
    c.delete().ok();
}

fn init_is_a_child_a_shim_can_wait_for(payload: Payload) {
    let c = payload.bundle(&Act::Exit(7));
    c.launch();
    assert_eq!(
        c.wait(),
        7,
        "the suite is a subreaper, and the runtime's processes are gone"
    );
}

fn foreground_run_forwards_signals(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    let run = c.call("run").spawn();
    eventually("the payload to be ready", || run.stdout_now().contains("ready"));
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.wait().exits(143);
}

fn a_short_life_never_hangs(payload: Payload) {
    let c = payload.bundle(&Act::Exit(0));
    for _ in 0..20 {
        c.run_as_is().ok();
    }
}

fn the_runtime_lets_go_of_the_streams(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    let mut create = c.call("create").spawn_with_pipes();
    let mut stdout = BufReader::new(create.stdout.take().unwrap());
    c.until_exists();
    c.start().ok();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let rest = std::thread::spawn(move || std::io::read_to_string(stdout).unwrap());
    assert!(!rest.is_finished(), "the payload holds the streams");
    c.kill("KILL").ok();
    assert_eq!(rest.join().unwrap(), "");
    assert!(create.wait_with_output().unwrap().stderr.is_empty());
}

fn two_containers_of_one_bundle(payload: Payload) {
    let c = payload.bundle(&Act::Sleep).without("linux.cgroupsPath");
    let names = ["a", "b"].map(|end| format!("{}-{end}", c.id()));
    for name in &names {
        c.call("create").id(name).no_pid_file().output().ok();
        c.call("start").id(name).output().ok();
    }
    let list = c.call("list").no_id().flag("--format").flag("json").output().json();
    let mut ids: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, names);
    for name in &names {
        c.call("delete").flag("--force").id(name).output().ok();
    }
    c.assert_no_trace();
}
