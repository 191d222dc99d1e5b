//! `--trace FILE`: where the time of a launch goes, as Chrome trace JSON. Ours alone.

use std::fs;

use serde_json::Value;

use crate::harness::{Bundle, guest};

/// The events of one traced call.
fn traced(c: &Bundle, verb: &str) -> Vec<Value> {
    let file = c.scrap(&format!("{verb}.trace.json"));
    c.call(verb).global("--trace").global(&file).output().ok();
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let events = trace.get("traceEvents").unwrap_or(&trace);
    events.as_array().unwrap().clone()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["name"].as_str()).collect()
}

#[test]
fn a_launch_shows_its_phases() {
    only!(Runw; "--trace is ours");
    let c = Bundle::docker().args(&["true"]);
    let events = traced(&c, "run");
    let names = names(&events);
    for phase in ["parse", "check", "plan", "clone", "cgroup"] {
        assert!(names.iter().any(|name| name.contains(phase)), "no {phase} in {names:?}");
    }
    assert!(names.len() > 10, "steps of init are there too: {names:?}");
}

#[test]
fn each_event_is_a_span_in_time() {
    only!(Runw; "--trace is ours");
    let c = Bundle::busybox().args(&["true"]);
    for event in traced(&c, "run") {
        match event["ph"].as_str().unwrap() {
            "X" => assert!(
                event["ts"].is_number() && event["dur"].as_f64().unwrap() >= 0.0,
                "{event}"
            ),
            "B" | "E" | "i" | "I" => assert!(event["ts"].is_number(), "{event}"),
            "M" => assert!(event["args"].is_object(), "{event}"),
            other => panic!("{other}: {event}"),
        }
        assert!(event["pid"].is_number() && event["tid"].is_number(), "{event}");
    }
}

#[test]
fn init_and_parent_are_told_apart() {
    only!(Runw; "--trace is ours");
    let c = Bundle::busybox().args(&["true"]);
    let events = traced(&c, "create");
    let spans = events.iter().filter(|event| event["ph"] != "M");
    let mut lanes: Vec<String> = spans
        .map(|event| format!("{}/{}", event["pid"], event["tid"]))
        .collect();
    lanes.sort();
    lanes.dedup();
    assert!(lanes.len() >= 2, "{lanes:?}");
}

/// What comes from an image is for init alone, behind the container's walls; the parent looks for native code meanwhile.
#[test]
fn native_code_is_loaded_by_init() {
    only!(Runw; "--trace is ours");
    let c = guest("acts").args(&["/acts.wasm", "print", "hello"]);
    let cache = c.scrap("cache");
    let file = c.scrap("trace.json");
    let call = c.call("run").global("--trace").global(&file);
    let call = call.flag("--wasm-cache").flag(&cache).flag("--wasm-aot").flag("wait");
    call.output().prints("hello\n");
    let events: Vec<Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let lane = |name: &str| {
        let event = events.iter().find(|event| event["name"] == name);
        event.unwrap_or_else(|| panic!("no {name} in {:?}", names(&events)))["tid"].clone()
    };
    assert_eq!(lane("find native code"), lane("clone"));
    assert_eq!(lane("load native code"), lane("change the root"));
    assert_ne!(lane("clone"), lane("change the root"));
}

#[test]
fn every_command_can_be_traced() {
    only!(Runw; "--trace is ours");
    let c = Bundle::sleeper();
    for verb in ["create", "start", "state"] {
        assert!(!traced(&c, verb).is_empty(), "{verb}");
    }
}

#[test]
fn a_failed_launch_is_traced_too() {
    only!(Runw; "--trace is ours");
    let c = Bundle::busybox().args(&["/no/such/program"]);
    let file = c.scrap("trace.json");
    c.call("run").global("--trace").global(&file).output().exits(1);
    serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap();
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error() {
    only!(Runw; "--trace is ours");
    let c = Bundle::busybox();
    let call = c
        .call("run")
        .runs(&["true"])
        .global("--trace")
        .global("/no/such/folder/trace.json");
    call.output().fails("trace");
    c.assert_no_trace();
}
