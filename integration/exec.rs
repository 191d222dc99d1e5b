//! `exec`: one more process in a running container, from the command line and from a process document.

use std::fs;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Bundle, Output, eventually};

/// A running container of busybox.
fn running() -> Bundle {
    up(Bundle::sleeper())
}

fn up(bundle: Bundle) -> Bundle {
    bundle.launch_ready();
    bundle
}

/// `exec [flags] ID sh -c script`.
#[track_caller]
fn sh(c: &Bundle, flags: &[&str], script: &str) -> Output {
    let call = flags.iter().fold(c.call("exec"), |call, flag| call.flag(flag));
    call.after(&["sh", "-c", script]).output()
}

/// `exec --process` with these properties beside a shell script.
#[track_caller]
fn document(c: &Bundle, script: &str, more: Value) -> Output {
    let mut process =
        json!({ "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    for (key, value) in more.as_object().unwrap() {
        process[key] = value.clone();
    }
    let file = c.scrap("process.json");
    fs::write(&file, process.to_string()).unwrap();
    c.call("exec").flag("--process").flag(&file).output()
}

/// Waits for a detached process, as a shim does, and gives its exit code.
#[track_caller]
fn reap(pid: i32) -> i32 {
    let mut code = None;
    eventually("the detached process to end", || {
        code = match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).expect("it is no child of the subreaper") {
            WaitStatus::Exited(_, code) => Some(code),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
            _ => None,
        };
        code.is_some()
    });
    code.unwrap()
}

#[test]
fn it_runs_beside_init_and_answers_its_exit_code() {
    let c = running();
    sh(&c, &[], "echo out; echo err >&2; exit 7").exits(7);
    let output = sh(&c, &[], "echo out; echo err >&2").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    // A signal's number is added to 128, as a shell does.
    sh(&c, &[], "kill -9 $$").exits(137);
    sh(&c, &[], "kill -TERM $$").exits(143);
}

#[test]
fn stdin_is_passed_on() {
    let c = running();
    let call = c.call("exec").after(&["cat"]).stdin("some words\n");
    call.output().prints("some words\n");
}

#[test]
fn it_is_in_the_namespaces_of_the_container() {
    let c = running();
    let there = format!("/proc/{}/ns", c.pid());
    for kind in ["pid", "mnt", "net", "ipc", "uts"] {
        let inits = fs::read_link(format!("{there}/{kind}")).unwrap();
        let link = format!("readlink /proc/self/ns/{kind}");
        sh(&c, &[], &link).prints(&format!("{}\n", inits.display()));
    }
    // It is a child of nobody there, and leads a session of its own.
    sh(
        &c,
        &[],
        "[ $PPID = 0 ] && [ $$ != 1 ] && cut -d' ' -f6 /proc/$$/stat; echo $$",
    )
    .ok();
    let output = sh(&c, &[], "echo $$ $PPID; cut -d' ' -f6 /proc/$$/stat").ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!((words[1], words[2]), ("0", words[0]), "{}", output.story());
}

#[test]
fn it_is_in_the_cgroups_of_the_container() {
    let c = running();
    let inits = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let call = c
        .call("exec")
        .flag("-d")
        .flag("--pid-file")
        .flag(c.scrap("pid"))
        .after(&["sleep", "1000"]);
    call.output().ok();
    let pid: i32 = fs::read_to_string(c.scrap("pid")).unwrap().parse().unwrap();
    let its = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    c.kill("KILL").ok();
    reap(pid);
    assert_eq!(its, inits);
}

#[test]
fn flags_end_at_the_id() {
    let c = running();
    c.call("exec")
        .after(&["sh", "-c", "echo $0 $@", "-t", "-d", "--", "x"])
        .output()
        .prints("-t -d -- x\n");
}

#[test]
fn environment_and_directory() {
    let c = up(Bundle::sleeper().env("KEPT=1").env("CHANGED=old"));
    let flags = ["-e", "CHANGED=new", "-e", "MORE=a b", "-e", "EMPTY=", "--cwd", "/tmp"];
    let output = sh(&c, &flags, "echo $KEPT/$CHANGED/$MORE/${EMPTY-unset}/$PWD/$HOME").ok();
    assert_eq!(output.text(), "1/new/a b///tmp//root", "{}", output.story());
}

#[test]
fn another_user_with_more_groups() {
    let c = running();
    let ids = "echo $(id -u) $(id -g) $HOME; grep ^Groups /proc/self/status";
    sh(&c, &["-u", "1000:1001"], ids).shows("1000 1001 ");
    sh(&c, &["--user", "1000"], ids).shows("1000 0 ");
    sh(&c, &["-g", "7", "-g", "1234"], ids).shows("Groups:\t7 1234");
}

#[test]
fn a_detached_process_is_left_to_the_subreaper() {
    let c = running();
    let file = c.scrap("exec.pid");
    let call = c.call("exec").flag("--detach").flag("--pid-file").flag(&file);
    call.after(&["sh", "-c", "echo from inside > /detached; exit 5"])
        .output()
        .ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
    assert_eq!(reap(text.parse().unwrap()), 5);
    assert_eq!(fs::read_to_string(c.in_rootfs("/detached")).unwrap(), "from inside\n");
}

#[test]
fn a_process_document_says_it_all() {
    let c = up(Bundle::sleeper().env("CONTAINERS=1"));
    let more =
        json!({ "cwd": "/tmp", "env": ["PATH=/bin", "A=1"], "user": { "uid": 5, "gid": 6, "additionalGids": [9] } });
    document(&c, "echo $(id -u) $(id -g) $PWD $A ${CONTAINERS-no}", more).prints("5 6 /tmp 1 no\n");
    document(&c, "exit 9", json!({})).exits(9);
}

#[test]
fn the_error_words_that_engines_look_for() {
    let c = running();
    let failure = |args: &[&str]| {
        let output = c.call("exec").after(args).output().exits(255);
        assert_eq!(output.stdout, "");
        // runc quotes the quotes.
        output.stderr.replace('\\', "")
    };
    assert!(failure(&["nope"]).contains("exec: \"nope\": executable file not found in $PATH"));
    assert!(failure(&["/no/such"]).contains("no such file or directory"));
    assert!(failure(&["/etc"]).contains("is a directory") || failure(&["/etc"]).contains("permission denied"));
    assert!(failure(&["/etc/passwd"]).contains("permission denied"));
    let missing = c.call("exec").id("nobody").after(&["true"]).output().exits(255);
    assert!(
        missing.stderr.contains("container does not exist"),
        "{}",
        missing.story()
    );
}

#[test]
fn a_stopped_container_takes_no_process() {
    let c = running();
    c.kill("KILL").ok();
    c.wait();
    c.until("stopped");
    let output = sh(&c, &[], "true").exits(255);
    assert!(
        output.stderr.contains("cannot exec in a stopped container"),
        "{}",
        output.story()
    );
}

#[test]
fn a_created_container_takes_one() {
    let c = Bundle::sleeper();
    c.create().ok();
    sh(&c, &[], "echo $$").ok();
    c.start().ok();
}
