//! The walls around a WASI guest beside those of its container: the engine's own memory, native code, and what leaks.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, eventually, guest, has_compiler, module};

/// A line of `/proc/PID/status`.
#[track_caller]
fn status(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_default().trim().to_owned()
}

/// A guest that spins.
fn spinning(c: Bundle) -> Bundle {
    let c = c.args(&["/view.wasm", "spin"]);
    let created = c.launch();
    eventually("the guest to spin", || created.stdout_now() == "ready\n");
    c
}

const MEM: &str = "open=/proc/self/mem";

#[test]
fn the_engines_memory_cannot_be_opened_for_writing() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").set("root.readonly", false);
    c.run(&[
        "/view.wasm",
        MEM,
        "open=/proc/1/mem",
        "open=/proc/self/oom_score_adj",
        "write=/new",
    ])
    .shows("open /proc/self/mem: Read-only file system\n")
    .shows("open /proc/1/mem: Read-only file system\n")
    .shows("open /proc/self/oom_score_adj: Read-only file system\n")
    .hides("/new");
}

#[test]
fn nor_by_the_hosts_procfs_that_comes_with_a_folder() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").folder("/host").bind("/", "/host", &["rbind", "rw"]);
    let output = c.run(&[
        "/view.wasm",
        "open=/host/proc/self/mem",
        "open=/host/sys/kernel/mm/ksm/run",
        "open=/host/proc/sys/vm/swappiness",
    ]);
    let text = output.stdout.clone();
    assert_eq!(text.lines().count(), 3, "{}", output.story());
    assert!(text.lines().all(|line| !line.ends_with("done")), "{}", output.story());
    // The host's own mounts are as they were.
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let proc = table
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/proc"))
        .unwrap();
    assert!(proc.split(' ').nth(5).unwrap().starts_with("rw"), "{proc}");
}

#[test]
fn without_a_mount_namespace_only_the_guest_sees_them_so() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view")
        .without_namespace("mount")
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths");
    let c = spinning(c);
    let options = |table: &str, path: &str| {
        let lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = lines.filter(|fields| fields[4] == path).last();
        found.map(|fields| fields[5].to_owned()).unwrap_or_default()
    };
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
    let outside = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(options(&inside, "/proc").starts_with("ro"), "{inside}");
    let path = c.in_rootfs("/proc");
    assert!(options(&outside, path.to_str().unwrap()).starts_with("rw"), "{outside}");
}

#[test]
fn the_engine_has_a_filter_of_its_own() {
    only!(Runw; "modules are run by our own engine");
    let c = spinning(guest("view").without("linux.seccomp"));
    assert_eq!(status(c.pid(), "Seccomp"), "2");
    assert_eq!(status(c.pid(), "Seccomp_filters"), "1");
    assert_eq!(status(c.pid(), "NoNewPrivs"), "1");
    let c = spinning(guest("view").set(
        "linux.seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]}),
    ));
    assert_eq!(status(c.pid(), "Seccomp_filters"), "2");
}

#[test]
fn capabilities_are_those_of_the_config_before_the_module_is_read() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").capabilities(&["CAP_KILL"]);
    c.create().ok();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(c.pid(), set), "0000000000000020", "{set}");
    }
    assert_eq!(status(c.pid(), "Seccomp"), "2");
}

#[test]
fn no_descriptor_of_the_host_is_left() {
    only!(Runw; "modules are run by our own engine");
    let c = spinning(guest("view").folder("/data").mount("/data", "tmpfs", "tmpfs", &["ro"]));
    let root = fs::metadata(format!("/proc/{}/root/", c.pid())).unwrap();
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(format!("/proc/{}/fd", c.pid())).unwrap() {
        let path = entry.unwrap().path();
        let number: i32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(&path).unwrap();
        let open = fs::metadata(&path).unwrap();
        let preopen = open.is_dir() && (open.dev() == root.dev() || target.to_str() == Some("/data"));
        assert!(number <= 2 || preopen, "{} -> {}", path.display(), target.display());
    }
}

/// crun takes the folder of plug-ins from the container's environment: native code of the image in the engine's process.
#[test]
fn plug_ins_do_not_come_from_the_image() {
    only!(Runw; "modules are run by our own engine");
    needs!(has_compiler(); "a C compiler");
    let c = guest("view").folder("/plugins");
    let source = c.scrap("plugin.c");
    fs::write(
        &source,
        "#include <unistd.h>\n__attribute__((constructor)) static void on_load(void) { write(1, \"owned\\n\", 6); }\n",
    )
    .unwrap();
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&c.in_rootfs("/plugins/libwasmedgePluginOwn.so"), &source])
        .status();
    assert!(made.unwrap().success());
    let c = c
        .env("WASMEDGE_PLUGIN_PATH=/plugins")
        .env("LD_PRELOAD=/plugins/libwasmedgePluginOwn.so");
    c.run(&["/view.wasm", "tty=1"]).prints("no terminal\n");
}

#[test]
fn a_module_joins_a_native_container() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::sleeper().file("/etc/motd", "welcome\n");
    fs::copy(module("view"), c.in_rootfs("/view.wasm")).unwrap();
    c.launch_ready();
    let exec = |args: &[&str]| c.call("exec").flag("--env").flag("A=1").after(args).output();
    let output = exec(&["/view.wasm", "read=/etc/motd", "env", "exit=7"]).exits(7);
    assert!(
        output.stdout.starts_with("welcome\n") && output.stdout.contains("A=1\n"),
        "{}",
        output.story()
    );
    exec(&["/view.wasm", MEM]).prints("open /proc/self/mem: Read-only file system\n");
    // For the container's own programs nothing has changed.
    c.call("exec")
        .after(&["sh", "-c", "echo 0 >/proc/self/oom_score_adj && echo writable"])
        .output()
        .prints("writable\n");
    let missing = exec(&["/etc/motd.wasm"]).exits(255);
    assert!(
        missing.stderr.contains("no such file or directory"),
        "{}",
        missing.story()
    );
}

#[test]
fn a_module_and_a_native_program_join_a_wasm_container() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::busybox();
    fs::copy(module("view"), c.in_rootfs("/view.wasm")).unwrap();
    let c = spinning(c);
    let exec = |args: &[&str]| c.call("exec").after(args).output();
    let output = exec(&["/view.wasm", "args", "exit=3"]).exits(3);
    assert_eq!(output.stdout, "[/view.wasm]\n[args]\n[exit=3]\n");
    exec(&["sh", "-c", "echo $(( 6 * 7 ))"]).prints("42\n");
    exec(&["/view.wasm", MEM]).prints("open /proc/self/mem: Read-only file system\n");
    assert_eq!(c.status(), "running");
}

#[test]
fn the_walls_stand_in_dockers_config_and_in_a_user_namespace() {
    only!(Runw; "modules are run by our own engine");
    let requests = ["/view.wasm", MEM, "args"];
    let expected = format!("open /proc/self/mem: Read-only file system\n[/view.wasm]\n[{MEM}]\n[args]\n");
    let docker = Bundle::docker();
    fs::copy(module("view"), docker.in_rootfs("/view.wasm")).unwrap();
    docker.run(&requests).prints(&expected);
    // Not owned by the guest there, so that the file's mode forbids it already.
    let apart = guest("view").user_namespace(100_000, 65536);
    apart.run(&requests).shows("[args]\n").hides("done");
    let user = guest("view")
        .set("process.user", json!({ "uid": 1000, "gid": 1000 }))
        .capabilities(&[]);
    // As anybody else the guest may not even open its own memory.
    user.run(&requests).shows("[args]\n").hides("done");
    guest("view")
        .call("run")
        .flag("--no-pivot")
        .runs(&requests)
        .output()
        .prints(&expected);
}

/// A hook of startContainer is a program, so the walls that forbid those go up behind it.
#[test]
fn hooks_in_the_container_run_before_the_walls_go_up() {
    only!(Runw; "modules are run by our own engine");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "mkdir /made && echo by a hook >/made/file"] }]);
    let c = Bundle::busybox()
        .set("root.readonly", false)
        .set("hooks.startContainer", hook);
    fs::copy(module("view"), c.in_rootfs("/view.wasm")).unwrap();
    let c = c.args(&["/view.wasm", "read=/made/file", MEM, "spin"]);
    let created = c.launch();
    eventually("the guest to spin", || created.stdout_now().contains("ready\n"));
    assert_eq!(
        created.stdout_now(),
        "by a hook\nopen /proc/self/mem: Read-only file system\nready\n"
    );
    assert_eq!(
        (
            status(c.pid(), "Seccomp").as_str(),
            status(c.pid(), "NoNewPrivs").as_str()
        ),
        ("2", "1")
    );
}
