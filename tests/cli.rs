//! The command line from outside, as far as it needs no container.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

mod program;

use program::{Place, mode};
use runw::config::check;
use runw::container::{Init, status};
use runw::oci::Bundle;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

#[test]
fn version_is_what_engines_parse() {
    for flag in ["--version", "-v", "-V"] {
        let text = Place::new().call(&[flag]).ok();
        let mut lines = text.lines();
        let version = lines.next().unwrap().strip_prefix("runw version ").unwrap();
        assert_eq!(version.split('.').count(), 3, "{version}");
        assert!(
            lines.all(|line| line.contains(": ") && !line.contains("version")),
            "{text}"
        );
    }
}

#[test]
fn help_is_no_failure() {
    let place = Place::new();
    let all = place.call(&["--help"]).ok();
    for command in [
        "create", "start", "run", "state", "list", "kill", "delete", "spec", "features",
    ] {
        assert!(
            all.contains(&format!("\n  {command} ")),
            "{command} is missing in {all}"
        );
        assert_eq!(
            place.call(&[command, "--help"]).ok(),
            place.call(&["help", command]).ok()
        );
    }
}

#[test]
fn mistakes_end_with_status_1_and_one_line() {
    let place = Place::new();
    for (line, words) in [
        ("", "no command given"),
        ("frob", "\"frob\" is not a command"),
        ("create", "<ID>"),
        ("state", "<ID>"),
        ("kill a b c", "unexpected argument 'c'"),
        ("delete --frob a", "unexpected argument '--frob'"),
        ("kill a FROB", "unknown signal \"FROB\""),
        ("state a/b", "invalid container ID format"),
        ("delete --regex [", "not a regular expression"),
    ] {
        let error = place.runw(line).refused();
        assert!(error.contains(words), "{line}: {error}");
    }
    assert!(!place.root().exists(), "a mistake made the root folder");
}

#[test]
fn nobody_keeps_state_in_slash() {
    for root in ["", "/", "/tmp/..", "../../../../../../../.."] {
        let error = Place::new().call(&["--root", root, "list"]).refused();
        assert!(error.contains("--root argument should not be"), "{root:?}: {error}");
    }
}

#[test]
fn what_does_not_exist_is_told_in_the_words_engines_know() {
    let place = Place::new();
    for line in ["state a", "start a", "kill a", "kill --all a 9", "delete a"] {
        let error = place.runw(line).refused();
        assert!(error.contains("container does not exist"), "{line}: {error}");
    }
    place.runw("delete --force a").ok();
    assert!(!place.root().exists(), "a look made the root folder");
    place.stopped("b");
    assert!(place.runw("state a").refused().contains("container does not exist"));
}

#[test]
fn a_failure_is_one_record_in_the_log_and_one_line_on_stderr() {
    let place = Place::new();
    for calls in 1..3 {
        let line = place.runw("--log log.json --log-format json start a").refused();
        assert_eq!(line, "container does not exist\n");
        let log = place.text("log.json");
        assert_eq!(log.lines().count(), calls, "appended, one record a call: {log}");
        let record = json(log.lines().last().unwrap());
        assert_eq!(record["level"], "error");
        assert_eq!(record["msg"], "container does not exist");
        let time = record["time"].as_str().unwrap();
        assert!(time.len() == 30 && time.ends_with('Z') && time.contains('T'), "{time}");
    }
    assert_eq!(mode(&place.path("log.json")) & 0o133, 0, "0644 less the umask");
    let error = place.runw("--log log.json --log-format json start").refused();
    let last = place.text("log.json").lines().last().map(json).unwrap();
    assert_eq!(
        last["msg"],
        error.trim_end(),
        "a wrong command line is told in the log as well"
    );
}

#[test]
fn without_a_log_stderr_says_which_line_is_the_failure() {
    let error = Place::new().runw("start a").refused();
    assert_eq!(error, "error: container does not exist\n");
}

#[test]
fn text_records_are_those_of_logrus() {
    let place = Place::new();
    place.runw("--log log start a").refused();
    let log = place.text("log");
    assert!(log.starts_with("time=\"20"), "{log}");
    assert!(
        log.ends_with(" level=error msg=\"container does not exist\"\n"),
        "{log}"
    );
}

#[test]
fn a_command_that_succeeds_leaves_the_log_empty() {
    let place = Place::new();
    place.stopped("a");
    place.runw("--log log state a").ok();
    assert_eq!(place.text("log"), "");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let error = Place::new().runw("--log /nonexistent/log list").refused();
    assert!(error.contains("open log \"/nonexistent/log\""), "{error}");
}

#[test]
fn list_makes_nothing_and_wants_the_root_that_was_given() {
    let place = Place::new();
    let error = place.runw("list").refused();
    assert!(error.contains("does not exist"), "{error}");
    assert!(!place.root().exists());
    std::fs::create_dir(place.root()).unwrap();
    assert_eq!(place.runw("list -f json").ok(), "null\n");
    assert_eq!(place.runw("list -q").ok(), "");
    let table = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
    assert_eq!(place.runw("list").ok(), table);
}

#[test]
fn state_and_list_tell_the_same() {
    let place = Place::new();
    let pid = std::process::id() as i32;
    let start_time = status::start_time(pid).unwrap();
    place.container("alive", Init { pid, start_time });
    place.container(
        "reused",
        Init {
            pid,
            start_time: start_time - 1,
        },
    );
    place.stopped("stopped");
    let list = json(&place.runw("list --format=json").ok());
    for (at, (id, status)) in [("alive", "running"), ("reused", "stopped"), ("stopped", "stopped")]
        .iter()
        .enumerate()
    {
        let text = place.runw(&format!("state {id}")).ok();
        assert!(text.ends_with("}\n"), "a newline at the end");
        let state = json(&text);
        assert_eq!(list[at], state);
        assert_eq!(state["id"], *id);
        assert_eq!(state["status"], *status);
        assert_eq!(state["pid"], if *status == "running" { pid } else { 0 });
        assert_eq!(state["bundle"], "/bundle");
        assert_eq!(state["rootfs"], "/bundle/rootfs");
        assert_eq!(state["ociVersion"], "1.2.0");
        assert_eq!(state["annotations"]["org.example"], "x");
        assert_eq!(state["owner"], "root");
    }
    assert_eq!(place.runw("list -q").ok(), "alive\nreused\nstopped\n");
}

#[test]
fn a_broken_record_hides_no_other() {
    let place = Place::new();
    place.stopped("a");
    place.stopped("b");
    std::fs::write(place.root().join("a/state.json"), "{").unwrap();
    let answer = place.runw("list -q");
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "b\n"));
    assert!(answer.stderr.starts_with("container a: "), "{}", answer.stderr);
}

#[test]
fn verbs_mind_the_status() {
    let place = Place::new();
    place.stopped("a");
    assert!(place.runw("kill a").refused().contains("container not running"));
    assert!(place.runw("start a").refused().contains("container that has stopped"));
    place.runw("kill --all a 15").ok();
    place.runw("delete a").ok();
    assert!(place.runw("state a").refused().contains("does not exist"));
}

#[test]
fn regular_expressions_pick_containers() {
    let place = Place::new();
    for id in ["web-1", "web-2", "db"] {
        place.stopped(id);
    }
    place.runw("delete --regex ^web").ok();
    assert_eq!(place.runw("list -q").ok(), "db\n");
    place.runw("delete -r nothing-like-it").ok();
    assert!(
        place
            .runw("kill --regex . 9")
            .refused()
            .contains("container \"db\": container not running")
    );
}

#[test]
fn what_a_killed_create_left_is_cleared_by_delete() {
    let place = Place::new();
    for (id, force) in [("a", false), ("b", true)] {
        std::fs::create_dir_all(place.root().join(id)).unwrap();
        assert_eq!(place.runw("list -q").ok(), "", "no record, no container");
        match force {
            true => drop(place.runw(&format!("delete --force {id}")).ok()),
            false => drop(place.runw(&format!("delete {id}")).refused()),
        }
        assert!(!place.root().join(id).exists());
    }
}

#[test]
fn a_trace_is_valid_after_every_command() {
    let place = Place::new();
    place.stopped("a");
    for calls in 1..4 {
        place.runw("--trace trace.json state a").ok();
        let trace = json(&place.text("trace.json"));
        let whole = trace
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["name"] == "state");
        assert_eq!(whole.clone().count(), calls);
        assert!(
            whole
                .into_iter()
                .all(|event| event["ph"] == "X" && event["dur"].is_number())
        );
    }
    std::fs::write(place.path("other.json"), "{}\n").unwrap();
    let error = place.runw("--trace other.json state a").refused();
    assert!(error.contains("is not a trace"), "{error}");
    assert_eq!(place.text("other.json"), "{}\n");
}

#[test]
fn completions_and_pages_come_from_the_same_table() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            place.call(&["completion", shell]).ok().contains("console-socket"),
            "{shell}"
        );
    }
    std::fs::create_dir(place.path("man")).unwrap();
    place.call(&["man", "man"]).ok();
    let page = place.text("man/runw-create.8");
    assert!(
        page.contains(".TH runw\\-create 8") || page.contains(".TH runw-create 8"),
        "{page}"
    );
    assert!(page.contains("console\\-socket"), "{page}");
    assert!(place.text("man/runw.8").contains("create"));
    assert!(!place.path("man/runw-man.8").exists());
}

#[test]
fn spec_writes_a_config_that_create_takes_and_overwrites_none() {
    let place = Place::new();
    for (words, name) in [
        (vec!["spec"], "config.json"),
        (vec!["spec", "--rootless", "-f", "less.json"], "less.json"),
    ] {
        place.call(&words).ok();
        let written = place.text(name);
        let bundle = Bundle::parse(place.path(""), written.clone().into_bytes()).unwrap();
        assert_eq!(check(&bundle).unwrap().warnings, [""; 0]);
        let error = place.call(&words).refused();
        assert!(error.contains(&format!("{name} exists")), "{error}");
        assert_eq!(place.text(name), written);
    }
    place.call(&["spec", "--bundle", "nowhere"]).refused();
}

#[test]
fn features_tells_what_engines_ask_for() {
    let features = json(&Place::new().call(&["features"]).ok());
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let has = |list: &Value, name: &str| list.as_array().unwrap().iter().any(|item| item == name);
    assert!(has(&features["mountOptions"], "rro"));
    assert!(has(&features["linux"]["namespaces"], "time"));
    assert!(has(&features["linux"]["seccomp"]["archs"], "SCMP_ARCH_X86_64"));
    assert!(has(
        &features["linux"]["seccomp"]["supportedFlags"],
        "SECCOMP_FILTER_FLAG_LOG"
    ));
}
