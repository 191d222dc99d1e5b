//! The documents that engines read: `state`, `list`, the pid file, the id's alphabet.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Act, Bundle, Kind, Payload, runtime};

/// The keys of a printed JSON object, in the order of the text.
fn keys_in_order(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("  \""));
    lines
        .filter_map(|line| line.split_once("\":"))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn state_has_these_keys_in_this_order() {
    except!(Crun; "crun adds keys of its own and a fixed version");
    let c = Bundle::sleeper().set("annotations", json!({ "a.b/c": "d", "e": "" }));
    c.create().ok();
    let output = c.call("state").output().ok();
    let keys = [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ];
    assert_eq!(keys_in_order(&output.stdout), keys, "{}", output.stdout);
    let state = output.json();
    assert_eq!(state["id"], c.id());
    assert_eq!(state["pid"], c.pid());
    assert_eq!(state["bundle"], c.path().to_str().unwrap());
    assert_eq!(state["rootfs"], c.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"], json!({ "a.b/c": "d", "e": "" }));
}

#[test]
fn state_without_annotations_has_no_such_key() {
    except!(Crun; "crun prints an empty object");
    let c = Bundle::sleeper();
    c.create().ok();
    assert!(c.state().get("annotations").is_none());
}

#[test]
fn state_names_no_keys_that_engines_would_misread() {
    let c = Bundle::sleeper();
    c.create().ok();
    let state = c.state();
    for key in ["started", "finished", "exitCode", "initPid", "initStartTime"] {
        assert!(state.get(key).is_none(), "{state}");
    }
}

#[test]
fn created_is_an_rfc_3339_instant_in_utc() {
    let c = Bundle::sleeper();
    c.create().ok();
    let state = c.state();
    let created = state["created"].as_str().unwrap();
    assert!(is_rfc_3339_nano_utc(created), "{created}");
    c.start().ok();
    assert_eq!(c.state()["created"], created, "the instant does not move");
}

/// `2024-02-01T03:04:05.123456789Z`, the fraction of any length.
fn is_rfc_3339_nano_utc(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (seconds, fraction) = shape
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((shape.trim_end_matches('Z'), "0"));
    shape.ends_with('Z') && seconds == "0000-00-00T00:00:00" && (1..=9).contains(&fraction.len())
}

#[test]
fn pid_is_0_when_stopped() {
    let c = Payload::Native.bundle(&Act::Exit(0));
    c.launch();
    c.wait();
    assert_eq!(c.state()["pid"], 0);
    assert_eq!(c.state()["status"], "stopped");
}

#[test]
fn the_bundle_is_absolute_even_if_given_relative() {
    except!(Crun; "crun gives the rootfs as the config has it");
    let c = Bundle::sleeper();
    let parent = c.path().parent().unwrap().to_owned();
    c.call("create")
        .no_bundle_flag()
        .cwd(&parent)
        .flag("-b")
        .flag("bundle")
        .output()
        .ok();
    assert_eq!(c.state()["bundle"], c.path().to_str().unwrap());
    assert_eq!(c.state()["rootfs"], c.rootfs().to_str().unwrap());
}

#[test]
fn the_bundle_is_the_current_directory_unless_said() {
    let c = Bundle::sleeper();
    c.call("create").no_bundle_flag().cwd(c.path()).output().ok();
    assert_eq!(c.state()["bundle"], c.path().to_str().unwrap());
}

#[test]
fn list_of_nothing() {
    let c = Bundle::sleeper();
    fs::create_dir(c.state_root()).unwrap();
    let table = c.call("list").no_id().output().ok();
    assert!(
        table.stdout.starts_with("ID") || runtime().kind == Kind::Crun,
        "{}",
        table.stdout
    );
    assert_eq!(table.stdout.lines().count(), 1, "{}", table.stdout);
    let json = c.call("list").no_id().flag("-f").flag("json").output().json();
    assert!(json.is_null() || json == json!([]), "{json}");
    c.call("list").no_id().flag("-q").output().prints("");
}

#[test]
fn list_of_a_missing_root_fails_and_creates_nothing() {
    except!(Crun, Runc; "runc 1.1 and crun list nothing and succeed");
    let c = Bundle::sleeper();
    c.call("list")
        .no_id()
        .output()
        .fails_with_one_of(&["no such file or directory", "does not exist"]);
    assert!(!c.state_root().exists());
}

#[test]
fn list_shows_each_container() {
    let c = Bundle::sleeper();
    c.launch_ready();
    c.call("list")
        .no_id()
        .flag("--quiet")
        .output()
        .prints(&format!("{}\n", c.id()));
    let json = c.call("list").no_id().flag("--format=json").output().json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    let entry = &json[0];
    assert_eq!(
        (&entry["id"], &entry["pid"], &entry["status"], &entry["owner"]),
        (&json!(c.id()), &json!(c.pid()), &json!("running"), &json!("root"))
    );
    assert_eq!(entry["bundle"], c.path().to_str().unwrap());
}

#[test]
fn list_prints_runcs_table() {
    except!(Crun; "crun prints another table");
    let c = Bundle::sleeper();
    c.launch_ready();
    let table = c.call("list").no_id().output().ok();
    let lines: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let (pid, bundle) = (c.pid().to_string(), c.path());
    assert_eq!(lines[1][..4], [c.id(), &pid, "running", bundle.to_str().unwrap()]);
    assert_eq!(lines[1][5], "root");
    assert_eq!(lines.len(), 2);
}

#[test]
fn list_goes_on_past_a_broken_entry() {
    except!(Crun; "crun stops at it");
    let c = Bundle::sleeper();
    c.launch_ready();
    fs::create_dir(c.state_root().join("broken")).unwrap();
    fs::write(c.state_root().join("broken/state.json"), "{").unwrap();
    let output = c.call("list").no_id().flag("-q").output();
    assert!(output.stdout.lines().any(|line| line == c.id()), "{}", output.story());
    fs::remove_dir_all(c.state_root().join("broken")).unwrap();
}

#[test]
fn list_refuses_an_unknown_format() {
    let c = Bundle::sleeper();
    c.launch_ready();
    let output = c.call("list").no_id().flag("--format").flag("yaml").output();
    assert_ne!(output.code, 0, "{}", output.story());
}

#[test]
fn the_pid_file_holds_digits_only() {
    let c = Bundle::sleeper();
    c.create().ok();
    let text = fs::read_to_string(c.pid_file()).unwrap();
    assert!(!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
    assert_eq!(c.state()["pid"].to_string(), text);
}

#[test]
fn a_relative_pid_file_is_the_callers() {
    except!(Crun; "crun takes it from the bundle");
    let c = Bundle::sleeper();
    let folder = c.scrap_folder("caller");
    c.call("create")
        .cwd(&folder)
        .flag("--pid-file")
        .flag("its.pid")
        .no_pid_file()
        .output()
        .ok();
    let text = fs::read_to_string(folder.join("its.pid")).unwrap();
    assert_eq!(c.state()["pid"].to_string(), text);
    assert!(!c.path().join("its.pid").exists());
    fs::copy(folder.join("its.pid"), c.pid_file()).unwrap();
}

#[test]
fn the_pid_file_of_a_foreground_run() {
    let c = Bundle::busybox();
    c.run_sh("exit 0").ok();
    assert!(fs::read_to_string(c.pid_file()).unwrap().parse::<i32>().is_ok());
}

#[test]
fn ids_of_all_allowed_letters() {
    for id in ["A", "a.b", "under_score", "plus+minus-", "0", "-"] {
        if id == "-" {
            continue; // Looks like a flag; nobody can pass it.
        }
        let c = Bundle::busybox();
        c.call("run").id(id).output().ok();
    }
}

#[test]
fn ids_that_are_refused() {
    except!(Crun; "crun 1.21 still takes blanks");
    for id in ["", ".", "..", "a/b", "../x", "a b", "ü", "a:b", "a\nb"] {
        let c = Bundle::busybox();
        let output = c.call("create").id(id).output().exits(1);
        assert!(!output.stderr.is_empty(), "{}", output.story());
        c.assert_no_trace();
    }
}

#[test]
fn the_state_root_is_private() {
    let c = Bundle::sleeper();
    c.create().ok();
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(c.state_root().join(c.id())).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o022,
        0,
        "others must not write into a container's state: {mode:o}"
    );
}

#[test]
fn a_leftover_folder_without_state_is_deleted() {
    let c = Bundle::sleeper();
    fs::create_dir_all(c.state_root().join(c.id())).unwrap();
    c.delete_force().ok();
    c.assert_no_trace();
}

#[test]
fn a_foreign_root_is_another_world() {
    let (a, b) = (Bundle::sleeper(), Bundle::sleeper());
    a.create().ok();
    b.call("state").id(a.id()).output().fails_as_unknown();
    b.create().ok();
    assert_eq!(b.call("list").no_id().flag("-q").output().ok().text(), b.id());
}

#[test]
fn the_root_folder_cannot_be_the_hosts() {
    only!(Runw; "neither runc 1.1 nor crun has such a guard");
    for root in ["/", "", "//", "/tmp/.."] {
        let status = std::process::Command::new(&runtime().path)
            .args(["--root", root, "list", "-q"])
            .output()
            .unwrap();
        assert_eq!(status.status.code(), Some(1), "--root {root:?}");
    }
}

#[test]
fn status_survives_a_busy_list() {
    let c = Bundle::sleeper();
    c.launch_ready();
    let value: Value = c.state();
    for _ in 0..5 {
        assert_eq!(c.state(), value);
    }
}
