//! The command line around the lifecycle: versions, features, spec, wrong use, the log.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Bundle, Kind, Output, runtime};

/// A bare call without any of the harness's flags.
fn bare(args: &[&str]) -> std::process::Output {
    Command::new(&runtime().path).args(args).output().unwrap()
}

#[test]
fn version_lines() {
    let name = match runtime().kind {
        Kind::Runw => "runw",
        Kind::Runc => "runc",
        Kind::Crun => "crun",
        Kind::Other => return crate::harness::not_for_this_runtime("its name is unknown"),
    };
    for flag in ["--version", "-v"] {
        let output = bare(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with(&format!("{name} version ")), "{text}");
        // A build outside git has no commit to tell.
        let commit = lines.clone().find_map(|line| line.strip_prefix("commit: "));
        assert!(
            commit.is_none_or(|commit| !commit.is_empty()),
            "Docker reads it: {text}"
        );
        assert!(text.lines().any(|line| line.starts_with("spec: ")), "{text}");
        assert!(
            !lines.any(|line| line.contains("version")),
            "a second `version` misleads Docker: {text}"
        );
    }
}

#[test]
fn help_is_fine_and_nonsense_is_not() {
    let short: &[&str] = if runtime().kind == Kind::Crun { &["-?"] } else { &["-h"] };
    for args in [&["--help"][..], short, &["create", "--help"]] {
        assert_eq!(bare(args).status.code(), Some(0), "{args:?}");
    }
    for args in [
        &["frobnicate"][..],
        &["--frobnicate", "list"],
        &["run", "--frobnicate", "x"],
    ] {
        assert_ne!(bare(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn too_few_and_too_many_words_are_wrong() {
    let c = Bundle::busybox();
    for verb in ["create", "run", "start", "state", "kill", "delete"] {
        let output = c.call(verb).no_id().output();
        assert_ne!(output.code, 0, "{}", output.story());
    }
    for verb in ["start", "state", "delete"] {
        c.call(verb).after(&["one-more"]).output().exits_not_0();
    }
    c.assert_no_trace();
}

trait ExitsNot0 {
    fn exits_not_0(self);
}

impl ExitsNot0 for Output {
    #[track_caller]
    fn exits_not_0(self) {
        assert_ne!(self.code, 0, "{}", self.story());
    }
}

#[test]
fn features_is_pure_json() {
    let c = Bundle::busybox();
    let output = c.call("features").no_id().output().ok();
    assert_eq!(output.stderr, "", "CRI-O parses both streams together");
    let features = output.json();
    for key in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"] {
        assert!(!features[key].is_null(), "{key} is missing: {features}");
    }
    assert_has(
        &features["hooks"],
        &[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
        ],
    );
    assert_has(
        &features["mountOptions"],
        &["ro", "rro", "rbind", "rprivate", "rslave", "tmpcopyup", "nosuid"],
    );
    assert_has(
        &features["linux"]["namespaces"],
        &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
    );
    assert_has(&features["linux"]["capabilities"], &["CAP_CHOWN", "CAP_NET_ADMIN"]);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert_has(
        &features["linux"]["seccomp"]["actions"],
        &["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL"],
    );
}

#[track_caller]
fn assert_has(list: &Value, words: &[&str]) {
    for word in words {
        assert!(
            list.as_array().is_some_and(|list| list.iter().any(|w| w == word)),
            "no {word} in {list}"
        );
    }
}

#[test]
fn features_names_what_engines_ask_for() {
    only!(Runw; "runc 1.1 and crun 1.21 each lack some of these");
    let features = Bundle::busybox().call("features").no_id().output().json();
    assert_has(&features["linux"]["namespaces"], &["time"]);
    assert_has(
        &features["mountOptions"],
        &[
            "idmap",
            "ridmap",
            "rnosymfollow",
            "nosymfollow",
            "rnoatime",
            "rrelatime",
        ],
    );
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_has(&features["linux"]["seccomp"]["archs"], &["SCMP_ARCH_X86_64"]);
    assert_has(
        &features["linux"]["seccomp"]["knownFlags"],
        &["SECCOMP_FILTER_FLAG_LOG"],
    );
    assert!(
        features["linux"]["seccomp"]["operators"]
            .as_array()
            .is_some_and(|list| list.len() == 7)
    );
    let strings = features["annotations"].as_object().into_iter().flatten();
    assert!(
        strings.map(|(_, value)| value).all(Value::is_string),
        "annotation values are strings: {features}"
    );
    assert!(features["potentiallyUnsafeConfigAnnotations"].is_array());
}

#[test]
fn features_promises_no_mount_option_that_is_refused() {
    except!(Crun; "crun 1.21 promises clearing flags that the kernel refuses");
    let features = Bundle::busybox().call("features").no_id().output().json();
    let source = Bundle::busybox();
    let folder = source.scrap_folder("source");
    let runc_fails_at =
        |option: &str| runtime().kind == Kind::Runc && option.starts_with('r') && option.ends_with("atime");
    let plain = |option: &str| {
        !runc_fails_at(option)
            && !matches!(
                option,
                "remount" | "bind" | "rbind" | "tmpcopyup" | "idmap" | "ridmap" | "rro" | "mand"
            )
            && !option.contains("copy-symlink")
            && !option.contains("nofollow")
    };
    let options: Vec<&str> = features["mountOptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o.as_str().unwrap())
        .collect();
    let mut c = Bundle::busybox();
    for (index, option) in options.iter().filter(|option| plain(option)).enumerate() {
        c = c.bind(&folder, &format!("/mnt/{index}"), &["rbind", option]);
    }
    c.run(&["true"]).ok();
}

#[test]
fn spec_writes_a_config_that_runs() {
    let c = Bundle::busybox();
    let folder = c.path();
    let output = c.call("spec").no_id().cwd(&folder).output().ok();
    assert_eq!(output.stdout, "");
    let text = fs::read_to_string(folder.join("config.json")).unwrap();
    assert!(text.starts_with("{\n"), "indented");
    let spec: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["root"]["path"], "rootfs");
    c.call("spec")
        .no_id()
        .cwd(&folder)
        .output()
        .fails_with_one_of(&["exists"]);
    let plain = text
        .replace("\"terminal\": true", "\"terminal\": false")
        .replace("\"sh\"", "\"true\"");
    Bundle::busybox().raw_config(&plain).run_as_is().ok();
}

#[test]
fn spec_writes_into_the_bundle() {
    let c = Bundle::busybox();
    c.call("spec").no_id().flag("--bundle").flag(c.path()).output().ok();
    assert!(c.path().join("config.json").exists());
}

#[test]
fn spec_rootless_maps_the_caller() {
    except!(Crun; "crun leaves the maps to the run");
    let c = Bundle::busybox();
    c.call("spec").no_id().flag("--rootless").cwd(c.path()).output().ok();
    let spec: Value = serde_json::from_slice(&fs::read(c.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["linux"]["uidMappings"][0]["hostID"], 0);
    assert_eq!(spec["linux"]["gidMappings"][0]["size"], 1);
    let types: Vec<&str> = spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["type"].as_str().unwrap())
        .collect();
    assert!(types.contains(&"user") && !types.contains(&"network"), "{types:?}");
}

#[test]
fn an_error_goes_to_stderr_and_to_the_json_log() {
    let c = Bundle::busybox();
    let log = c.scrap("log.json");
    let call = || {
        c.call("start")
            .global("--log")
            .global(&log)
            .global("--log-format")
            .global("json")
    };
    call().output().fails_as_unknown();
    let records = records_of(&log);
    let errors: Vec<&Value> = records.iter().filter(|r| r["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "Podman wants one record: {records:?}");
    assert!(Output::speaks_of_unknown(errors[0]["msg"].as_str().unwrap()));
    call().output().fails_as_unknown();
    assert_eq!(records_of(&log).len(), 2 * records.len(), "a log is appended to");
}

/// The records of a JSON log; each must be an object with a level, a message and an RFC 3339 time.
fn records_of(log: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in &records {
        assert!(record["msg"].is_string(), "{record}");
        assert!(
            matches!(record["level"].as_str(), Some("error" | "warning" | "info" | "debug")),
            "{record}"
        );
        let time = record["time"].as_str().unwrap();
        assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
    }
    records
}

#[test]
fn an_error_of_init_reaches_the_json_log() {
    let c = Bundle::busybox().args(&["/no/such/program"]);
    let log = c.scrap("log.json");
    c.call("run")
        .global("--log")
        .global(&log)
        .global("--log-format=json")
        .output()
        .fails("no such file or directory");
    let records = records_of(&log);
    let last = records.iter().rev().find(|r| r["level"] == "error").unwrap();
    let message = last["msg"].as_str().unwrap().to_lowercase();
    assert!(message.contains("no such file or directory"), "{last}");
}

#[test]
fn a_good_call_writes_no_error_record() {
    let c = Bundle::busybox();
    let log = c.scrap("log.json");
    c.call("run")
        .runs(&["true"])
        .global("--log")
        .global(&log)
        .global("--log-format=json")
        .output()
        .ok();
    let records = if log.exists() { records_of(&log) } else { Vec::new() };
    assert!(
        records.iter().all(|r| r["level"] != "error" && r["level"] != "warning"),
        "{records:?}"
    );
}

#[test]
fn debug_records_parse_too() {
    let c = Bundle::busybox();
    let log = c.scrap("log.json");
    let call = c
        .call("run")
        .runs(&["true"])
        .global("--debug")
        .global("--log")
        .global(&log);
    call.global("--log-format=json").output().ok();
    assert!(!records_of(&log).is_empty());
}

#[test]
fn a_text_log() {
    let c = Bundle::busybox();
    let log = c.scrap("log.txt");
    c.call("state").global("--log").global(&log).output().fails_as_unknown();
    assert!(Output::speaks_of_unknown(&fs::read_to_string(&log).unwrap()));
}

#[test]
fn an_unknown_log_format_is_refused() {
    let c = Bundle::busybox();
    let output = c.call("list").no_id().global("--log-format").global("xml").output();
    assert_ne!(output.code, 0, "{}", output.story());
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let c = Bundle::busybox();
    let output = c
        .call("run")
        .runs(&["true"])
        .global("--log")
        .global("/no/such/folder/log")
        .output();
    assert_ne!(output.code, 0, "{}", output.story());
    c.assert_no_trace();
}

#[test]
fn flags_with_and_without_equals_sign() {
    let c = Bundle::busybox();
    let flag = format!("--bundle={}", c.path().display());
    c.call("run").no_bundle_flag().flag(flag).runs(&["true"]).output().ok();
    c.call("run")
        .no_bundle_flag()
        .flag("-b")
        .flag(c.path())
        .runs(&["true"])
        .output()
        .ok();
}

#[test]
fn flags_that_engines_pass() {
    let c = Bundle::busybox();
    c.call("run")
        .runs(&["true"])
        .flag("--no-new-keyring")
        .flag("--no-subreaper")
        .output()
        .ok();
    c.call("run").runs(&["true"]).global("--rootless=false").output().ok();
    c.call("run")
        .runs(&["true"])
        .global("--rootless")
        .global("auto")
        .output()
        .ok();
    c.call("run").runs(&["true"]).flag("--no-pivot").output().ok();
}

#[test]
fn flags_of_crun_that_engines_pass() {
    except!(Runc; "runc has no --log-level and no --config");
    let c = Bundle::busybox();
    c.call("run")
        .runs(&["true"])
        .global("--log-level")
        .global("error")
        .output()
        .ok();
    let elsewhere = c.scrap("other.json");
    c.run(&["true"]).ok();
    fs::copy(c.path().join("config.json"), &elsewhere).unwrap();
    c.call("run").flag("--config").flag(&elsewhere).output().ok();
}

#[test]
fn cgroups_can_be_disabled() {
    except!(Runc; "runc has no --cgroup-manager");
    let c = Bundle::busybox().without("linux.cgroupsPath");
    let script = "for f in /proc/self/cgroup; do cat $f; done";
    let output = c
        .call("run")
        .runs(&["sh", "-c", script])
        .global("--cgroup-manager=disabled")
        .output()
        .ok();
    assert!(!output.stdout.contains(c.id()), "{}", output.stdout);
}
