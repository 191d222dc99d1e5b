//! `mounts add` and `mounts remove`: mounts of a container that runs.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Act, Bundle, Output, Payload, eventually};

/// `mounts ACTION ID FILE`, with a document of these mounts.
fn mounts(c: &Bundle, action: &str, list: Value) -> Output {
    let file = c.scrap("mounts.json");
    fs::write(&file, json!({ "mounts": list }).to_string()).unwrap();
    // The action stands where other commands have their flags.
    c.call("mounts").flag(action).after(&[file.to_str().unwrap()]).output()
}

/// What a path of the container holds, as its processes see it.
fn seen(c: &Bundle, path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/root{path}", c.pid())).ok()
}

/// A folder of the host with the file `word`.
fn source(c: &Bundle, word: &str) -> String {
    let folder = c.scrap_folder("source");
    fs::write(folder.join("word"), word).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn come_and_go() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper().up();
    let source = source(&c, "host");
    let list = json!([
        { "destination": "/new/place", "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid"] },
        { "destination": "/new/file", "type": "bind", "source": format!("{source}/word"), "options": ["bind"] },
        { "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=1777"] },
    ]);
    mounts(&c, "add", list.clone()).prints("");
    assert_eq!(seen(&c, "/new/place/word").as_deref(), Some("host"));
    assert_eq!(seen(&c, "/new/file").as_deref(), Some("host"));
    c.exec_sh(&[], "echo x >/new/place/word").exits(1);
    c.exec_sh(&[], "echo guest >/new/file; echo x >/scratch/x; stat -c %a /scratch")
        .prints("1777\n");
    assert_eq!(fs::read_to_string(format!("{source}/word")).unwrap(), "guest\n");
    // Neither the host nor the root file system on it has got anything but empty mountpoints.
    assert!(!c.in_rootfs("/new/place/word").exists() && !c.in_rootfs("/scratch/x").exists());
    mounts(&c, "remove", list).prints("");
    assert_eq!(seen(&c, "/new/place/word"), None);
    assert_eq!(seen(&c, "/new/file").as_deref(), Some(""));
    c.exec_sh(&[], "ls /scratch").prints("");
    c.delete_force().ok();
    c.assert_no_trace();
}

for_each_payload!(reach_every_payload);

fn reach_every_payload(payload: Payload) {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = payload.bundle(&Act::Sleep);
    c.launch_ready();
    let source = source(&c, "host");
    let list = json!([{ "destination": "/place", "source": source, "options": ["rbind"] }]);
    mounts(&c, "add", list.clone()).ok();
    assert_eq!(seen(&c, "/place/word").as_deref(), Some("host"));
    mounts(&c, "remove", list).ok();
    assert_eq!(seen(&c, "/place/word"), None);
}

#[test]
fn links_in_the_container_do_not_lead_out_of_it() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper().up();
    let outside = c.scrap_folder("outside");
    symlink(&outside, c.in_rootfs("/link")).unwrap();
    symlink("../../../../../../..", c.in_rootfs("/up")).unwrap();
    let source = source(&c, "host");
    let list = json!([
        { "destination": "/link/a", "source": source, "options": ["bind"] },
        { "destination": "/up/b", "source": source, "options": ["bind"] },
    ]);
    mounts(&c, "add", list).ok();
    assert!(!outside.join("a").exists(), "made on the host");
    let inside = format!("{}/a/word", outside.display());
    assert_eq!(seen(&c, &inside).as_deref(), Some("host"));
    assert_eq!(seen(&c, "/b/word").as_deref(), Some("host"));
}

#[test]
fn the_hosts_mounts_are_no_peers_of_them() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper().up();
    let source = source(&c, "host");
    mounts(
        &c,
        "add",
        json!([{ "destination": "/place", "source": source, "options": ["rbind"] }]),
    )
    .ok();
    let mountinfo = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
    let line = mountinfo.lines().find(|line| line.contains(" /place ")).unwrap();
    assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
}

#[test]
fn what_is_refused() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper().up();
    let source = source(&c, "host");
    for (mount, words) in [
        (
            json!({ "destination": "/x", "type": "proc", "source": "proc" }),
            "mounts[0].type",
        ),
        (
            json!({ "destination": "/proc/self", "source": source, "options": ["bind"] }),
            "/proc",
        ),
        (
            json!({ "destination": "/", "source": source, "options": ["bind"] }),
            "mounts[0].destination",
        ),
        (
            json!({ "destination": "/x", "source": "/no/such", "options": ["bind"] }),
            "no such file or directory",
        ),
        (
            json!({ "destination": "/etc", "source": format!("{source}/word"), "options": ["bind"] }),
            "not a directory",
        ),
        (
            json!({ "destination": "/x", "source": source, "options": ["bind", "remount"] }),
            "mounts[0].options",
        ),
    ] {
        mounts(&c, "add", json!([mount])).fails(words);
    }
    for (destination, words) in [
        ("/etc", "no mount"),
        ("/", "no mount"),
        ("/no/such", "no such path"),
        ("etc", "absolute"),
    ] {
        mounts(&c, "remove", json!([{ "destination": destination }])).fails(words);
    }
    fs::write(c.scrap("mounts.json"), "[]").unwrap();
    let file = c.scrap("mounts.json");
    let words = [file.to_str().unwrap()];
    c.call("mounts").flag("add").after(&words).output().fails("an object");
    c.call("mounts")
        .flag("add")
        .id("unknown")
        .after(&words)
        .output()
        .fails_as_unknown();
}

#[test]
fn a_container_without_mounts_of_its_own_gets_none() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper();
    let c = c
        .without_namespace("mount")
        .without("mounts")
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths");
    c.launch_ready();
    let source = source(&c, "host");
    let output = mounts(
        &c,
        "add",
        json!([{ "destination": "/x", "source": source, "options": ["bind"] }]),
    );
    output.fails("no mount namespace of its own");
}

#[test]
fn a_user_namespace_gets_bind_mounts() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::sleeper().user_namespace(100_000, 65_536);
    std::process::Command::new("chown")
        .args(["-R", "100000:100000"])
        .arg(c.rootfs())
        .status()
        .unwrap();
    c.launch_ready();
    let source = source(&c, "host");
    mounts(
        &c,
        "add",
        json!([{ "destination": "/x", "source": source, "options": ["bind"] }]),
    )
    .ok();
    assert_eq!(seen(&c, "/x/word").as_deref(), Some("host"));
    let output = mounts(
        &c,
        "add",
        json!([{ "destination": "/y", "type": "tmpfs", "source": "tmpfs" }]),
    );
    output.fails("mounts[0].type");
}

#[test]
fn a_stopped_container_gets_none() {
    only!(Runw; "runc has no such command; crun calls its own experimental");
    let c = Bundle::busybox().args(&["true"]);
    c.launch();
    c.wait();
    eventually("the end", || c.status() == "stopped");
    mounts(&c, "add", json!([])).fails("container not running");
}
