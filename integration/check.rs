//! `check`: what it passes runs, and what it refuses does not.

use serde_json::{Value, json};

use crate::harness::{Bundle, Output};

fn check(c: &Bundle, more: &[&str]) -> Output {
    // The call writes config.json for the verbs that read it; a create that goes no further does that here.
    let call = c.call("check").no_id().after(&[c.path().to_str().unwrap()]).after(more);
    call.output()
}

fn written(c: Bundle) -> Bundle {
    c.create().ok();
    c.delete_force().ok();
    c
}

fn verdicts(document: &Value, about: &str) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap().iter();
    let of = findings.filter(|finding| finding["about"] == about);
    of.map(|finding| finding["verdict"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_host_that_runs_containers_passes() {
    only!(Runw; "check is our own");
    let c = Bundle::sleeper();
    let document = c.call("check").no_id().flag("--json").output().json();
    assert_ne!(document["verdict"], "failure", "{document}");
    for about in [
        "kernel",
        "namespaces",
        "privileges",
        "cgroups",
        "seccomp",
        "criu",
        "engine",
        "compiler",
        "cache",
    ] {
        assert_eq!(verdicts(&document, about).len(), 1, "{about}: {document}");
    }
    let text = c.call("check").no_id().output().ok().stdout;
    assert!(text.contains("ok       kernel       Linux "), "{text}");
}

#[test]
fn what_passes_runs() {
    only!(Runw; "check is our own");
    for c in [
        Bundle::sleeper(),
        Bundle::docker(),
        Bundle::sleeper().set("process.terminal", true),
    ] {
        let c = match c.create().code {
            0 => {
                c.delete_force().ok();
                c
            }
            // Without a console socket; config.json is there all the same.
            _ => c,
        };
        check(&c, &["--try"])
            .ok()
            .shows("the container was created, and deleted again");
        assert!(c.ids_in_state_root().is_empty());
        c.assert_no_trace();
    }
}

#[test]
fn what_is_refused_does_not_run() {
    only!(Runw; "check is our own");
    let cases = [
        (
            Bundle::sleeper().args(&["/no/such/program"]),
            "no such file or directory",
        ),
        (
            Bundle::sleeper().bind("/no/such/source", "/x", &["bind"]),
            ".source: /no/such/source is not there",
        ),
        (
            Bundle::sleeper().namespace("network", Some("/no/such/ns")),
            "/no/such/ns",
        ),
        (
            Bundle::sleeper().set("linux.namespaces", json!([{ "type": "moon" }])),
            "linux.namespaces[0].type",
        ),
        (Bundle::sleeper().set("root.path", "/no/such/root"), "root.path"),
        (Bundle::sleeper().raw_config("{"), "config.json"),
    ];
    for (c, words) in cases {
        assert_eq!(c.create().code, 1, "{words}");
        let refused = check(&c, &[]).exits(1).stdout;
        let line = refused
            .lines()
            .find(|line| line.starts_with("failure"))
            .unwrap_or_default();
        assert!(line.contains(words), "{words}: {refused}");
        let document: Value = serde_json::from_str(&check(&c, &["--json"]).exits(1).stdout).unwrap();
        assert_eq!(document["verdict"], "failure");
    }
}

#[test]
fn a_cgroup_in_use_is_no_place() {
    only!(Runw; "check is our own");
    let c = Bundle::sleeper();
    c.launch();
    let busy = check(&c, &[]).exits(1).stdout;
    assert!(busy.contains("cgroup is not empty"), "{busy}");
    c.delete_force().ok();
    check(&c, &[]).ok();
}

#[test]
fn an_attempt_finds_what_looking_does_not() {
    only!(Runw; "check is our own");
    let c = written(Bundle::sleeper());
    let c = c.set("hooks.createRuntime", json!([{ "path": "/bin/false" }]));
    assert_eq!(c.create().code, 1);
    check(&c, &[]).ok();
    let tried = check(&c, &["--try"]).exits(1).stdout;
    assert!(tried.contains("createRuntime hook #0"), "{tried}");
    c.assert_no_trace();
    c.call("check")
        .no_id()
        .flag("--try")
        .output()
        .fails("--try needs a bundle");
}
