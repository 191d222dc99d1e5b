//! Hooks around a WASI guest: what they change is seen, but for the module itself, which is read at `create`. Ours alone.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, eventually, module};

/// Busybox for the hooks, and the module of all requests as `/view.wasm`.
fn with_shell() -> Bundle {
    let c = Bundle::busybox().set("root.readonly", false);
    fs::copy(module("view"), c.in_rootfs("/view.wasm")).unwrap();
    c
}

/// A hook that runs a shell script.
fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"] }])
}

/// What was checked at `create` is what runs; a further process gets what is there then.
#[test]
fn a_module_that_a_hook_replaces_at_start_is_that_of_create() {
    only!(Runw; "modules are run by our own engine");
    let c = with_shell().set(
        "hooks.startContainer",
        hook("cat /acts.wasm >/new && mv /new /view.wasm"),
    );
    fs::copy(module("acts"), c.in_rootfs("/acts.wasm")).unwrap();
    let c = c.args(&["/view.wasm", "args", "spin"]);
    let created = c.launch();
    eventually("the guest to spin", || created.stdout_now().contains("ready\n"));
    assert_eq!(created.stdout_now(), "[/view.wasm]\n[args]\n[spin]\nready\n");
    c.call("exec")
        .after(&["/view.wasm", "print", "the new one"])
        .output()
        .prints("the new one\n");
}

/// Nor does it matter that the file is overwritten in its place, or gone.
#[test]
fn a_module_that_a_hook_spoils_at_start_runs_on() {
    only!(Runw; "modules are run by our own engine");
    for script in ["echo spoilt >/view.wasm", "rm /view.wasm"] {
        let c = with_shell().set("hooks.startContainer", hook(script));
        c.run(&["/view.wasm", "args"]).prints("[/view.wasm]\n[args]\n");
    }
}

/// Folders are opened once the hooks are through; the `ro` of the config stays with the path.
#[test]
fn a_mount_of_a_hook_is_what_the_guest_finds() {
    only!(Runw; "modules are run by our own engine");
    let script = "for f in /in /out /more; do mount -t tmpfs tmpfs $f; echo hook >$f/file; done";
    let c = with_shell()
        .folder("/in")
        .folder("/out")
        .folder("/more")
        .capabilities(&["CAP_SYS_ADMIN"])
        .set("hooks.startContainer", hook(script));
    let covered = c.scrap_folder("covered");
    fs::write(covered.join("file"), "host\n").unwrap();
    let c = c
        .bind(&covered, "/in", &["bind", "ro"])
        .bind(&covered, "/out", &["bind"]);
    let requests = [
        "read=/in/file",
        "read=/out/file",
        "read=/more/file",
        "write=/out/new",
        "read=/out/new",
    ];
    c.run(&[&["/view.wasm"], &requests[..]].concat())
        .prints("hook\nhook\nhook\nwritten\n");
    c.run(&["/view.wasm", "write=/in/new"]).shows("write /in/new: ");
    assert_eq!(
        fs::read_dir(&covered).unwrap().count(),
        1,
        "nothing came through to the host"
    );
}

/// A hook that fails at `start` ends the container as it would a native one.
#[test]
fn a_hook_that_fails_keeps_the_module_from_running() {
    only!(Runw; "modules are run by our own engine");
    let c = with_shell().set("hooks.startContainer", hook("exit 7"));
    let output = c.run(&["/view.wasm", "args"]).fails("startContainer");
    assert_eq!(output.stdout, "", "{}", output.story());
    c.assert_no_trace();
}

/// The kind is chosen before anything is made; whoever has a hook deliver the program has to say what it will be.
#[test]
fn a_module_that_a_hook_delivers_needs_an_annotation() {
    only!(Runw; "modules are run by our own engine");
    for kind in ["createRuntime", "createContainer"] {
        let c = Bundle::busybox();
        let deliver = format!(
            "cp {} {}",
            module("view").display(),
            c.in_rootfs("/late.wasm").display()
        );
        let c = c.set(&format!("hooks.{kind}"), hook(&deliver));
        c.run(&["/late.wasm", "args"]).fails("exec format error");
        fs::remove_file(c.in_rootfs("/late.wasm")).unwrap();
        let c = c.set("annotations", json!({ "run.oci.handler": "wasm" }));
        c.run(&["/late.wasm", "args"]).prints("[/late.wasm]\n[args]\n");
        c.assert_no_trace();
    }
}
