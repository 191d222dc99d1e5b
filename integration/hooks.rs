//! `hooks`: the six kinds, their order and place, what they are told, and what their failure means.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Bundle, Kind, runtime};

/// A hook that runs a shell script on the host.
fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

/// A file on the host for hooks to write to, and its name.
fn diary(c: &Bundle) -> PathBuf {
    c.scrap("diary")
}

fn read(file: &PathBuf) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A bundle whose host-side hooks write their name into the diary, as does the payload, through a bind mount.
fn with_all_hooks(payload: &str) -> (Bundle, PathBuf) {
    let mut c = Bundle::busybox();
    let folder = c.scrap_folder("shared");
    let file = folder.join("diary");
    for kind in KINDS {
        // createContainer runs in the container's namespaces but on the host's root, startContainer on the container's.
        let place = if kind == "startContainer" {
            "/shared/diary".into()
        } else {
            file.display().to_string()
        };
        c = c.push(&format!("hooks.{kind}"), hook(&format!("echo {kind} >>{place}")));
    }
    let c = c.bind(&folder, "/shared", &["bind"]).sh(payload);
    (c, file)
}

#[test]
fn all_kinds_in_order() {
    except!(Runc, Crun; "runc 1.1 runs poststart hooks before the payload is started; crun runs poststart hooks before the payload");
    let (c, file) = with_all_hooks("echo payload >>/shared/diary; sleep 1");
    c.run_as_is().ok();
    let order = read(&file);
    let lines: Vec<&str> = order.lines().collect();
    assert_eq!(
        lines[..4],
        ["prestart", "createRuntime", "createContainer", "startContainer"],
        "{order}"
    );
    // The payload and poststart are not in step with each other.
    let mut middle = lines[4..6].to_vec();
    middle.sort_unstable();
    assert_eq!(
        (middle, lines[6]),
        (vec!["payload", "poststart"], "poststop"),
        "{order}"
    );
    assert_eq!(lines.len(), 7);
}

#[test]
fn each_at_its_command() {
    except!(Runc, Crun; "runc 1.1 runs poststart hooks with create; crun runs poststart hooks before the payload");
    let (c, file) = with_all_hooks("sleep 1000");
    c.create().ok();
    assert_eq!(read(&file), "prestart\ncreateRuntime\ncreateContainer\n");
    c.start().ok();
    assert_eq!(
        read(&file),
        "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\n"
    );
    c.kill("KILL").ok();
    c.wait();
    assert!(!read(&file).contains("poststop"), "poststop belongs to delete");
    c.delete().ok();
    assert!(read(&file).ends_with("poststop\n"));
}

#[test]
fn several_of_a_kind_in_the_listed_order() {
    let mut c = Bundle::busybox().args(&["true"]);
    let file = diary(&c);
    for name in ["a", "b", "c"] {
        c = c.push("hooks.prestart", hook(&format!("echo {name} >>{}", file.display())));
    }
    c.run_as_is().ok();
    assert_eq!(read(&file), "a\nb\nc\n");
}

/// The state that a hook of this kind gets on stdin.
fn state_of(kind: &str) -> (Bundle, Value) {
    let c = Bundle::busybox().set("annotations", json!({ "colour": "a/b" }));
    let folder = c.scrap_folder("shared");
    let place = if kind == "startContainer" {
        "/shared".into()
    } else {
        folder.display().to_string()
    };
    let script = format!("cat >{place}/state");
    let c = c
        .push(&format!("hooks.{kind}"), hook(&script))
        .bind(&folder, "/shared", &["bind"]);
    c.run(&["true"]).ok();
    let text = fs::read_to_string(folder.join("state")).unwrap();
    let state = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind}: {e}: {text}"));
    (c, state)
}

/// A container is "created" after lifecycle step 2, and these hooks are steps 3 to 5 (runtime.md). runc says "creating".
#[test]
fn the_state_on_stdin() {
    for (kind, status) in [
        ("prestart", "created"),
        ("createRuntime", "created"),
        ("createContainer", "created"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let (c, state) = state_of(kind);
        assert_eq!(state["id"], c.id(), "{kind}");
        assert_eq!(state["bundle"], c.path().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["colour"], "a/b", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        assert!(
            state["pid"].as_i64().unwrap_or(0) > 0 || kind == "poststop" || runtime().kind == Kind::Crun,
            "{kind}: {state}"
        );
        if runtime().kind == Kind::Runw {
            assert_eq!(state["status"], status, "{kind}");
        }
    }
}

#[test]
fn the_environment_is_the_hooks_own() {
    let c = Bundle::busybox();
    let file = diary(&c);
    let script = format!("env >{}", file.display());
    let own = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ONLY=this", "PATH=/usr/bin:/bin"] });
    let c = c.push("hooks.prestart", own);
    c.call("run").runs(&["true"]).env("OUTER", "value").output().ok();
    let text = read(&file);
    assert!(text.contains("ONLY=this\n") && !text.contains("OUTER="), "{text}");
}

#[test]
fn a_hook_without_an_environment() {
    let c = Bundle::busybox();
    let file = diary(&c);
    let script = format!("/usr/bin/env >{}", file.display());
    let c = c.push(
        "hooks.prestart",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script] }),
    );
    c.call("run").runs(&["true"]).env("OUTER", "value").output().ok();
    let text = read(&file);
    assert!(
        text.contains("OUTER=value"),
        "only then the runtime's own is inherited: {text}"
    );
}

#[test]
fn args_of_a_hook_start_with_its_name() {
    let c = Bundle::busybox();
    let file = diary(&c);
    let script = format!("echo \"$0 $1\" >{}", file.display());
    let hook = json!({ "path": "/bin/sh", "args": ["the-name", "-c", script, "zero", "one"], "env": ["PATH=/bin"] });
    let c = c.push("hooks.prestart", hook);
    c.run(&["true"]).ok();
    assert_eq!(read(&file), "zero one\n");
}

#[test]
fn hooks_that_fail_before_the_payload_end_the_container() {
    except!(Crun; "crun run ends with 255 then");
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let c = Bundle::busybox().sh("echo the payload ran");
        let c = c.push(&format!("hooks.{kind}"), hook("echo a reason >&2; exit 7"));
        let output = c.create().fails("hook");
        assert!(output.stdout.is_empty(), "{kind}");
        c.assert_no_trace();
        c.run_as_is().exits(1);
        c.assert_no_trace();
    }
}

#[test]
fn a_failed_hooks_words_are_passed_on() {
    except!(Crun; "crun leaves them on the terminal only");
    let c = Bundle::busybox().push("hooks.prestart", hook("echo a telling reason >&2; exit 7"));
    c.run(&["true"]).fails("a telling reason");
    c.assert_no_trace();
}

#[test]
fn a_failing_start_container_hook_fails_the_start() {
    let c = Bundle::busybox()
        .sh("echo the payload ran")
        .push("hooks.startContainer", hook("exit 1"));
    let output = c.run_as_is();
    assert_ne!(output.code, 0, "{}", output.story());
    assert!(!output.stdout.contains("the payload ran"), "{}", output.story());
}

#[test]
fn a_failing_poststart_hook_fails_the_start_and_ends_the_container() {
    except!(Crun, Runc; "crun only warns, runc 1.1 runs the hook with create");
    let c = Bundle::sleeper().push("hooks.poststart", hook("exit 1"));
    c.create().ok();
    c.start().exits(1);
    assert!(!crate::harness::alive(c.pid()));
    let c = Bundle::sleeper().push("hooks.poststart", hook("exit 1"));
    c.run_as_is().exits(1);
    c.assert_no_trace();
}

#[test]
fn a_failing_poststop_hook_is_only_a_warning() {
    let c = Bundle::busybox();
    let file = diary(&c);
    let c = c.push("hooks.poststop", hook("exit 1"));
    let c = c.push("hooks.poststop", hook(&format!("echo the next >{}", file.display())));
    c.run(&["true"]).ok();
    c.assert_no_trace();
    if runtime().kind != Kind::Runc {
        assert_eq!(read(&file), "the next\n", "the others still run");
    }
}

#[test]
fn a_missing_hook_is_an_error() {
    except!(Crun; "crun run ends with 255 then");
    let c = Bundle::busybox().push("hooks.prestart", json!({ "path": "/no/such/hook" }));
    c.run(&["true"]).fails("no such file or directory");
    c.assert_no_trace();
}

/// Creating fails soon after the one second that the hook has.
#[track_caller]
fn assert_ended_in_time(script: &str) {
    let slow = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1, "env": ["PATH=/usr/bin:/bin"] });
    let c = Bundle::busybox().push("hooks.prestart", slow);
    let began = std::time::Instant::now();
    c.run(&["true"]).exits(1);
    assert!(began.elapsed().as_secs() < 20, "took {:?}", began.elapsed());
    c.assert_no_trace();
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    assert_ended_in_time("exec sleep 30");
}

#[test]
fn a_slow_hooks_children_cannot_hold_it_up() {
    except!(Runc; "runc waits for whoever holds the hook's streams");
    assert_ended_in_time("sleep 30; echo too late");
}

#[test]
fn a_hook_within_its_time_is_fine() {
    let quick = json!({ "path": "/bin/true", "args": ["true"], "timeout": 20 });
    Bundle::busybox().push("hooks.prestart", quick).run(&["true"]).ok();
}

#[test]
fn create_runtime_hooks_are_in_the_runtimes_namespaces() {
    except!(Crun; "crun is tested in a mount namespace of its own");
    let c = Bundle::busybox();
    let file = diary(&c);
    let script = format!("readlink /proc/self/ns/mnt /proc/self/ns/net >{}", file.display());
    let c = c.push("hooks.createRuntime", hook(&script));
    c.run(&["true"]).ok();
    let link = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .display()
            .to_string()
    };
    assert_eq!(read(&file), format!("{}\n{}\n", link("mnt"), link("net")));
}

#[test]
fn create_container_hooks_are_in_the_containers_namespaces() {
    let c = Bundle::busybox();
    let file = diary(&c);
    let script = format!(
        "readlink /proc/self/ns/mnt /proc/self/ns/uts >{}; hostname >>{0}",
        file.display()
    );
    let c = c.push("hooks.createContainer", hook(&script));
    c.run(&["true"]).ok();
    let text = read(&file);
    let host = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    assert!(!text.contains(&host), "{text}");
    assert!(text.lines().count() >= 2, "{text}");
}

#[test]
fn start_container_hooks_are_in_the_containers_root() {
    let c = Bundle::busybox();
    let script = "echo from a hook >/made-by-hook; [ -x /bin/busybox ] && cat /etc/passwd | wc -l >>/made-by-hook";
    let c = c.push(
        "hooks.startContainer",
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }),
    );
    c.run(&["cat", "/made-by-hook"]).prints("from a hook\n3\n");
}

#[test]
fn hooks_see_the_mounts_that_prestart_may_add() {
    // nvidia-container-cli works this way: it enters the mount namespace of the pid in the state.
    let c = Bundle::busybox();
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter -t $pid -m true && [ $pid -gt 1 ]";
    c.push("hooks.prestart", hook(script)).run(&["true"]).ok();
}

#[test]
fn a_hooks_output_is_not_the_containers() {
    except!(Crun; "crun's hooks share the streams");
    let c = Bundle::busybox().push("hooks.prestart", hook("echo noise; echo noise >&2"));
    c.run(&["echo", "clean"]).prints("clean\n");
}
