//! The words and documents that engines search and decode, one case for each row of the contract: were a word to change, the
//! engine named beside it would take a failure for something else.
//!
//! Engines read a failure in two places: containerd, hence Docker and Kubernetes, the last error record of the log that it
//! names; conmon, hence Podman and CRI-O, stderr. Both must hold the words.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Act, Bundle, Kind, Output, Payload, runtime};

/// A call that fails, as containerd makes it: with a JSON log of its own.
struct Refusal {
    output: Output,
    record: Value,
}

impl Refusal {
    #[track_caller]
    fn of(c: &Bundle, verb: &str, runs: Option<&str>, after: &[&str]) -> Refusal {
        let log = c.scrap("contract.json");
        let _ = fs::remove_file(&log);
        let call = c
            .call(verb)
            .global("--log")
            .global(&log)
            .global("--log-format")
            .global("json");
        let call = match runs {
            Some(program) => call.runs(&[program]),
            None => call,
        };
        let output = call.after(after).output();
        let text = fs::read_to_string(&log).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let record = records.filter(|record| record["level"] == "error").last();
        let record = record.unwrap_or_else(|| panic!("no error record\n{}", output.story()));
        Refusal { output, record }
    }

    /// Both places hold the words.
    #[track_caller]
    fn says(&self, words: &str) {
        let message = self.record["msg"].as_str().unwrap();
        assert!(message.contains(words), "{words:?} in the log: {message}");
        assert!(
            self.output.stderr.contains(words),
            "{words:?} on stderr\n{}",
            self.output.story()
        );
    }
}

#[test]
fn does_not_exist() {
    except!(Crun; "crun says `error opening file … No such file or directory`");
    // containerd: the container is gone already, nothing to do.
    let c = Bundle::busybox();
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        Refusal::of(&c, verb, None, &[]).says("container does not exist");
    }
    Refusal::of(&c, "exec", None, &["true"]).says("container does not exist");
}

for_each_payload!(container_not_running, already_exists);

fn container_not_running(payload: Payload) {
    // containerd and CRI-O: as good as killed.
    let c = payload.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    for verb in ["kill", "pause", "update"] {
        if runtime().kind == Kind::Crun && verb != "kill" {
            continue;
        }
        let after: &[&str] = if verb == "update" { &["--pids-limit", "7"] } else { &[] };
        let refusal = Refusal::of(&c, verb, None, after);
        match runtime().kind {
            Kind::Crun => refusal.says("not running"),
            _ => refusal.says("container not running"),
        }
    }
}

fn already_exists(payload: Payload) {
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let log = c.scrap("contract.json");
    let call = c.call("create").no_pid_file().global("--log").global(&log);
    let output = call.output().exits(1);
    let words = match runtime().kind {
        Kind::Crun => "already exists",
        _ => "container with given ID already exists",
    };
    assert!(output.stderr.contains(words), "{}", output.story());
    assert!(fs::read_to_string(&log).unwrap().contains(words));
}

/// A root file system with what cannot be run in it.
fn with_odd_programs() -> Bundle {
    Bundle::busybox().file("/plain", "#!/bin/sh\n").folder("/folder")
}

/// What Docker and Podman make exit codes of: 127, 127, 126, 126.
const PROGRAMS: [(&str, &str); 4] = [
    ("no-such-program", "executable file not found in $PATH"),
    ("/no/such/program", "no such file or directory"),
    ("/plain", "permission denied"),
    ("/folder", "is a directory"),
];

#[test]
fn programs_that_cannot_be_run() {
    except!(Crun; "crun has words of its own for these");
    except!(Runc; "runc 1.1 says `permission denied` of a folder; see programs_that_cannot_be_exec_ed");
    let c = with_odd_programs();
    for (program, words) in PROGRAMS {
        for verb in ["create", "run"] {
            Refusal::of(&c, verb, Some(program), &[]).says(words);
            c.assert_no_trace();
        }
    }
}

#[test]
fn programs_that_cannot_be_exec_ed() {
    except!(Crun; "crun has words and an exit code of its own for these");
    let c = with_odd_programs().sh("echo ready; exec sleep 1000");
    c.launch_ready();
    for (program, words) in PROGRAMS {
        if (runtime().kind, program) == (Kind::Runc, "/folder") {
            continue;
        }
        let refusal = Refusal::of(&c, "exec", None, &[program]);
        refusal.says(words);
        assert_eq!(
            refusal.output.code,
            255,
            "the runtime itself failed\n{}",
            refusal.output.story()
        );
    }
    assert_eq!(
        Refusal::of(&c, "exec", None, &["no-such-program"]).record["msg"]
            .as_str()
            .map(|msg| { msg.contains("exec: \"no-such-program\": executable file not found in $PATH") }),
        Some(true)
    );
}

#[test]
fn modules_that_cannot_be_run() {
    only!(Runw; "modules are run by our own engine");
    let c = with_odd_programs().set("annotations", json!({"run.oci.handler": "wasm"}));
    for (program, words) in [
        ("no-such-module", "no such file or directory"),
        ("/no/such/module", "no such file or directory"),
        ("/folder", "is a directory"),
    ] {
        Refusal::of(&c, "create", Some(program), &[]).says(words);
        c.assert_no_trace();
    }
    // A module needs no right to be executed, but one to be read.
    let c = c
        .file("/secret", "\0asm\u{1}\0\0\0")
        .set("process.user", json!({"uid": 1000, "gid": 1000}));
    fs::set_permissions(c.in_rootfs("/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let refusal = Refusal::of(&c, "create", Some("/secret"), &[]);
    refusal.says("permission denied");
}

#[test]
fn not_a_directory() {
    // Docker: 127, and a hint that a file was mounted over a folder.
    let c = Bundle::busybox().folder("/folder");
    let file = c.scrap("file");
    fs::write(&file, "").unwrap();
    let c = c.bind(&file, "/folder", &["rbind"]);
    let refusal = Refusal::of(&c, "create", Some("true"), &[]);
    match runtime().kind {
        Kind::Crun => refusal.says("Not a directory"),
        _ => refusal.says("not a directory"),
    }
    c.assert_no_trace();
}

#[test]
fn an_unrelated_failure_is_not_taken_for_a_missing_program() {
    only!(Runw; "peers are not that careful");
    // Docker makes exit code 127 of `no such file or directory`, whatever it is about.
    let c = Bundle::busybox().set("linux.sysctl", json!({"kernel.no_such": "1"}));
    let refusal = Refusal::of(&c, "create", Some("true"), &[]);
    let message = refusal.record["msg"].as_str().unwrap().to_lowercase();
    for words in [
        "no such file",
        "executable file not found",
        "permission denied",
        "is a directory",
    ] {
        assert!(!message.contains(words), "{message}");
    }
}

#[test]
fn what_criutils_asks_before_a_checkpoint() {
    // Podman and CRI-O (crutils): `checkpoint --help` that succeeds says that there is one, an option without its argument that
    // pods can be restored.
    let c = Bundle::busybox();
    let help = c.call("checkpoint").no_id().flag("--help").output().ok();
    assert!(help.stdout.contains("--image-path"), "{}", help.story());
    let bare = c
        .call("restore")
        .no_bundle_flag()
        .no_pid_file()
        .no_id()
        .flag("--lsm-mount-context")
        .output();
    assert_ne!(bare.code, 0, "{}", bare.story());
    let said = format!("{}{}", bare.stdout, bare.stderr);
    assert!(
        said.contains("flag needs an argument") || said.contains("requires an argument"),
        "{}",
        bare.story()
    );
}

#[test]
fn a_label_that_cannot_be_given() {
    only!(Runw; "runc has other words, crun's path is what Podman looks for");
    needs!(apparmor(); "AppArmor");
    let c = Bundle::busybox().set("process.apparmorProfile", "no-such-profile");
    let refusal = Refusal::of(&c, "create", Some("true"), &[]);
    refusal.says("attr/apparmor/exec`");
    refusal.says("apply process.apparmorProfile");
    c.assert_no_trace();
}

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

#[test]
fn operation_not_permitted() {
    // Podman: 126, as with `permission denied`.
    except!(Crun; "crun's words begin in upper case");
    // No privilege lifts this limit above what the kernel has memory for (fs.nr_open).
    let c = Bundle::busybox().set(
        "process.rlimits",
        json!([{ "type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40 }]),
    );
    Refusal::of(&c, "create", Some("true"), &[]).says("operation not permitted");
    c.assert_no_trace();
}

#[test]
fn hooks_are_named_and_counted() {
    except!(Runc, Crun; "the words are those of runc since 1.3");
    let hook = |code: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("exit {code}")] });
    let c = Bundle::busybox().set("hooks", json!({ "createRuntime": [hook("0"), hook("3")] }));
    let refusal = Refusal::of(&c, "create", Some("true"), &[]);
    refusal.says("error running createRuntime hook #1: ");
    refusal.says("exit status 3");
    c.assert_no_trace();
}

for_each_payload!(a_created_container_hears_signals);

fn a_created_container_hears_signals(payload: Payload) {
    // As the first process of its pid namespace it has to have a handler for that.
    let c = payload.bundle(&Act::Sleep);
    c.create().ok();
    c.kill("TERM").ok();
    c.until("stopped");
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn a_created_container_holds_nothing_of_the_callers() {
    except!(Crun; "crun keeps them until the start");
    let c = Bundle::sleeper();
    let file = c.scrap("callers");
    fs::write(&file, "").unwrap();
    let script = format!("exec 9<'{}'", file.display());
    c.call("create").before(&script).output().ok();
    let fds = fs::read_dir(format!("/proc/{}/fd", c.pid())).unwrap().flatten();
    let held: Vec<_> = fds
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .filter(|target| *target == file)
        .collect();
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn a_record_is_what_containerd_decodes() {
    let c = Bundle::busybox();
    let record = Refusal::of(&c, "start", None, &[]).record;
    let keys: Vec<&String> = record.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["level", "msg", "time"]);
    let time = record["time"].as_str().unwrap();
    let zone =
        time.ends_with('Z') || time.as_bytes()[time.len() - 6] == b'+' || time.as_bytes()[time.len() - 6] == b'-';
    assert!(
        time.as_bytes()[10] == b'T' && zone,
        "RFC 3339, else containerd drops the whole log: {time}"
    );
}

/// `state` and `list` as go-runc and CRI-O decode them: each key with its type.
#[test]
fn documents_of_state_and_list() {
    let c = Bundle::sleeper().set("annotations", json!({"a": "b"}));
    c.launch_ready();
    let state = c.call("state").output().json();
    let list = c.call("list").no_id().flag("--format").flag("json").output().json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    for document in [&state, &list[0]] {
        for key in ["ociVersion", "id", "status", "bundle", "rootfs", "created", "owner"] {
            assert!(document[key].is_string(), "{key}: {document}");
        }
        assert!(document["pid"].is_i64(), "{document}");
        for (key, value) in document["annotations"].as_object().into_iter().flatten() {
            assert!(value.is_string(), "{key}: {document}");
        }
    }
    assert_eq!(state["annotations"]["a"], "b");
}

/// `features` as Docker, containerd, CRI-O decode it: the types of image-spec's Go structs, where one wrong type voids all.
#[test]
fn document_of_features() {
    let features = Bundle::busybox().call("features").no_id().output().json();
    let strings = |path: &str| {
        let list = features.pointer(path).unwrap_or(&Value::Null);
        let all = list
            .as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string));
        assert!(all, "{path}: {list}");
    };
    for path in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
    ] {
        strings(path);
    }
    for path in [
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/cgroup/systemdUser",
        "/linux/seccomp/enabled",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
    ] {
        assert!(
            features.pointer(path).is_some_and(Value::is_boolean),
            "{path}: {features}"
        );
    }
    for version in ["ociVersionMin", "ociVersionMax"] {
        let text = features[version].as_str().unwrap();
        assert!(text.starts_with("1."), "CRI-O drops features without: {text}");
    }
    if runtime().kind == Kind::Runw {
        for path in [
            "/linux/seccomp/archs",
            "/linux/seccomp/knownFlags",
            "/linux/seccomp/supportedFlags",
            "/linux/memoryPolicy/modes",
            "/potentiallyUnsafeConfigAnnotations",
        ] {
            strings(path);
        }
        for path in [
            "/linux/cgroup/rdma",
            "/linux/intelRdt/enabled",
            "/linux/mountExtensions/idmap/enabled",
            "/linux/netDevices/enabled",
        ] {
            assert!(
                features.pointer(path).is_some_and(Value::is_boolean),
                "{path}: {features}"
            );
        }
    }
}

#[test]
fn a_wrong_number_of_words() {
    let c = Bundle::busybox();
    for (verb, after) in [
        ("start", &["x"][..]),
        ("state", &["x"]),
        ("pause", &["x"]),
        ("events", &["x"]),
    ] {
        if (runtime().kind, verb) == (Kind::Crun, "events") {
            continue;
        }
        c.call(verb).after(after).output().exits(1);
        c.call(verb).no_id().output().exits(1);
    }
}
