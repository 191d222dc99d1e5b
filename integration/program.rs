//! `process.args`: how the program is found, and the words with which a missing one is reported.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::Bundle;

#[test]
fn a_relative_program_is_below_cwd() {
    let c = Bundle::busybox().set("process.cwd", "/bin");
    c.run(&["./busybox", "echo", "here"]).prints("here\n");
    let c = c.set("process.cwd", "/");
    c.run(&["bin/busybox", "echo", "there"]).prints("there\n");
}

#[test]
fn a_bare_program_is_looked_up_in_the_containers_path() {
    let c = Bundle::busybox()
        .folder("/opt/tools")
        .symlink("/opt/tools/hello", "/bin/echo");
    let c = c.set("process.env", json!(["PATH=/nowhere:/opt/tools"]));
    c.file("/bin/echo.txt", "")
        .run(&["/bin/busybox", "echo", "x"])
        .prints("x\n");
    let c = Bundle::busybox().file("/opt/tools/greet", "#!/bin/sh\necho greetings\n");
    fs::set_permissions(c.in_rootfs("/opt/tools/greet"), fs::Permissions::from_mode(0o755)).unwrap();
    c.set("process.env", json!(["PATH=/nowhere:/opt/tools"]))
        .run(&["greet"])
        .prints("greetings\n");
}

#[test]
fn args_reach_the_program_as_they_are() {
    let c = Bundle::busybox();
    c.run(&["printf", "[%s]", "", "a b", "ü\n", "$HOME", "--", "-x"])
        .prints("[][a b][ü\n][$HOME][--][-x]");
}

#[test]
fn a_missing_program_in_the_words_that_engines_search() {
    let c = Bundle::busybox();
    for verb in ["run", "create"] {
        let call = c.call(verb).runs(&["no-such-program"]);
        call.output().fails_with_one_of(&[
            "executable file not found in $PATH",
            "executable file `no-such-program` not found in $PATH",
        ]);
        c.assert_no_trace();
        c.call(verb)
            .runs(&["/no/such/program"])
            .output()
            .fails("no such file or directory");
        c.assert_no_trace();
    }
}

#[test]
fn a_program_without_execute_permission() {
    except!(Crun; "crun says operation not permitted");
    let c = Bundle::busybox().file("/plain", "#!/bin/sh\n");
    c.run(&["/plain"]).fails("permission denied");
    c.assert_no_trace();
}

#[test]
fn a_program_that_is_a_folder() {
    except!(Crun; "crun words it otherwise");
    let c = Bundle::busybox().folder("/folder");
    c.run(&["/folder"])
        .fails_with_one_of(&["is a directory", "permission denied"]);
    c.assert_no_trace();
}

#[test]
fn a_program_that_is_no_program() {
    let c = Bundle::busybox().file("/noise", "\u{1}\u{2}\u{3}");
    fs::set_permissions(c.in_rootfs("/noise"), fs::Permissions::from_mode(0o755)).unwrap();
    c.run(&["/noise"]).fails("exec format error");
    c.assert_no_trace();
}

#[test]
fn a_script_whose_interpreter_is_missing() {
    let c = Bundle::busybox().file("/script", "#!/no/such/interpreter\n");
    fs::set_permissions(c.in_rootfs("/script"), fs::Permissions::from_mode(0o755)).unwrap();
    c.run(&["/script"]).fails("no such file or directory");
    c.assert_no_trace();
}

#[test]
fn command_lines_longer_than_a_page() {
    let c = Bundle::busybox();
    let long = "x".repeat(100_000);
    c.run(&["sh", "-c", "echo ${#1}", "sh", &long]).prints("100000\n");
}

#[test]
fn a_large_environment() {
    let many: Vec<String> = (0..2000).map(|n| format!("V{n}=value number {n}")).collect();
    let c = many.iter().fold(Bundle::busybox(), |c, variable| c.env(variable));
    c.run_sh("echo $V0; echo $V1999; env | grep -c ^V")
        .prints("value number 0\nvalue number 1999\n2000\n");
}

/// Init says why before it ends; `start` returns after that.
#[test]
fn a_container_whose_start_failed_is_stopped() {
    only!(Runw; "runc's start does not wait for execve");
    for _ in 0..30 {
        let c = Bundle::busybox()
            .file("/script", "#!/no/such/interpreter\n")
            .args(&["/script"]);
        fs::set_permissions(c.in_rootfs("/script"), fs::Permissions::from_mode(0o755)).unwrap();
        c.create().ok();
        c.start().exits(1);
        assert_eq!(c.status(), "stopped");
        c.delete().ok();
        c.assert_no_trace();
    }
}
