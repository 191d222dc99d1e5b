//! `exec`: one more process in a running container, from the command line and from a process document.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, ConsoleSocket, eventually};

/// A running container of busybox.
fn running() -> Bundle {
    Bundle::sleeper().up()
}

#[test]
fn it_runs_beside_init_and_answers_its_exit_code() {
    let c = running();
    c.exec_sh(&[], "echo out; echo err >&2; exit 7").exits(7);
    let output = c.exec_sh(&[], "echo out; echo err >&2").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    // A signal's number is added to 128, as a shell does.
    c.exec_sh(&[], "kill -9 $$").exits(137);
    c.exec_sh(&[], "kill -TERM $$").exits(143);
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
        c.exec_sh(&[], &link).prints(&format!("{}\n", inits.display()));
    }
    // It is a child of nobody there, and leads a session of its own.
    let output = c.exec_sh(&[], "echo $$ $PPID; cut -d' ' -f6 /proc/$$/stat").ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!((words[1], words[2]), ("0", words[0]), "{}", output.story());
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
    let c = Bundle::sleeper().env("KEPT=1").env("CHANGED=old").up();
    let flags = ["-e", "CHANGED=new", "-e", "MORE=a b", "-e", "EMPTY=", "--cwd", "/tmp"];
    let output = c
        .exec_sh(&flags, "echo $KEPT/$CHANGED/$MORE/${EMPTY-unset}/$PWD/$HOME")
        .ok();
    assert_eq!(output.text(), "1/new/a b///tmp//root", "{}", output.story());
}

#[test]
fn another_user_with_more_groups() {
    let c = running();
    let ids = "echo $(id -u) $(id -g) $HOME; grep ^Groups /proc/self/status";
    c.exec_sh(&["-u", "1000:1001"], ids).shows("1000 1001 ");
    c.exec_sh(&["--user", "1000"], ids).shows("1000 0 ");
    c.exec_sh(&["-g", "7", "-g", "1234"], ids).shows("Groups:\t7 1234");
}

#[test]
fn a_detached_process_is_left_to_the_subreaper() {
    let c = running();
    let process = c.exec_detached("echo from inside > /detached; exit 5");
    assert_eq!(process.wait(), 5);
    assert_eq!(fs::read_to_string(c.in_rootfs("/detached")).unwrap(), "from inside\n");
}

#[test]
fn a_detached_process_inherits_the_callers_streams() {
    let c = running();
    let call = c.exec(
        &["-d", "--pid-file", c.scrap("exec.pid").to_str().unwrap()],
        &["sh", "-c", "cat; echo more"],
    );
    let output = call.stdin("typed\n").output().ok();
    eventually("all output", || output.stdout_now() == "typed\nmore\n");
    let pid: i32 = fs::read_to_string(c.scrap("exec.pid")).unwrap().parse().unwrap();
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
}

#[test]
fn the_pidfd_socket_gets_a_pidfd() {
    except!(Runc, Crun; "runc has it since 1.2, crun not at all");
    let c = running();
    let socket = ConsoleSocket::listen(&c.scrap("pidfd.sock"));
    let process = c.detached(c.exec(
        &["-d", "--pidfd-socket", socket.path().to_str().unwrap()],
        &["sleep", "1000"],
    ));
    let (_, fds) = socket.receive();
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]));
    let text = fs::read_to_string(info).unwrap();
    assert!(
        text.lines().any(|line| line == format!("Pid:\t{}", process.pid())),
        "{text}"
    );
}

#[test]
fn a_pid_file_that_cannot_be_written_ends_the_process() {
    except!(Crun; "crun lets the process run on");
    let c = running();
    let output = c
        .exec(&["--pid-file", "/no/such/folder/pid"], &["sh", "-c", "exec sleep 30"])
        .output();
    output.exits(255);
    c.exec_sh(&[], "ps | grep -c 'sleep 3[0]'").exits(1);
}

#[test]
fn signals_to_the_runtime_reach_the_process() {
    let c = running();
    let call = c
        .exec(
            &[],
            &[
                "sh",
                "-c",
                "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done",
            ],
        )
        .spawn();
    eventually("the process", || call.stdout_now().contains("ready"));
    call.signal(nix::sys::signal::Signal::SIGTERM);
    call.wait().exits(9);
}

#[test]
fn config_json_may_change_or_go() {
    only!(Runw; "others read it again");
    let c = Bundle::sleeper().env("KEPT=1").up();
    fs::remove_file(c.path().join("config.json")).unwrap();
    c.exec_sh(&[], "echo $KEPT").prints("1\n");
    fs::write(c.path().join("config.json"), "{").unwrap();
    c.exec_sh(&[], "echo $KEPT").prints("1\n");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let c = running();
    for (flags, words) in [
        (&["-u", "root"][..], &["true"][..]),
        (&["-u", "1x"], &["true"]),
        (&["--user", "-1"], &["true"]),
        (&["-e", "NOVALUE"], &["true"]),
        (&["--cwd", "relative"], &["true"]),
        (&["--process", "/no/such/file"], &[]),
        (&["--preserve-fds", "900"], &["true"]),
        (&["--console-socket", "/x"], &["true"]),
        (&["--no-such-flag"], &["true"]),
        (&[], &[]),
    ] {
        let output = c.exec(flags, words).output();
        assert!(
            output.code != 0 && output.stdout.is_empty()
                || crate::harness::runtime().kind != crate::harness::Kind::Runw,
            "{}",
            output.story()
        );
    }
    // None of them has left a process.
    c.exec_sh(&[], "ls -d /proc/[0-9]* | wc -l").shows("");
}

#[test]
fn many_at_once() {
    let c = running();
    let calls: Vec<_> = (0..20)
        .map(|n| c.exec(&[], &["sh", "-c", &format!("exit {n}")]).spawn())
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        call.wait().exits(n as i32);
    }
}

#[test]
fn a_process_document_says_it_all() {
    let c = Bundle::sleeper().env("CONTAINERS=1").up();
    let more =
        json!({ "cwd": "/tmp", "env": ["PATH=/bin", "A=1"], "user": { "uid": 5, "gid": 6, "additionalGids": [9] } });
    c.exec_document("echo $(id -u) $(id -g) $PWD $A ${CONTAINERS-no}", more)
        .prints("5 6 /tmp 1 no\n");
    c.exec_document("exit 9", json!({})).exits(9);
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
fn what_the_kernel_cannot_execute() {
    let c = running();
    for (name, text, words) in [
        (
            "/script",
            "#!/no/such/shell\n",
            "exec /script: no such file or directory",
        ),
        ("/junk", "\x01\x02", "exec /junk: exec format error"),
    ] {
        fs::write(c.in_rootfs(name), text).unwrap();
        fs::set_permissions(c.in_rootfs(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let output = c.exec(&[], &[name]).output();
        // runc 1.1 tells it on the process' own stderr, with a code of its own.
        assert!(output.code != 0, "{}", output.story());
        assert!(output.stderr.replace('"', "").contains(words), "{}", output.story());
    }
}

#[test]
fn a_stopped_container_takes_no_process() {
    let c = running();
    c.kill("KILL").ok();
    c.wait();
    c.until("stopped");
    let output = c.exec_sh(&[], "true").exits(255);
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
    c.exec_sh(&[], "echo $$").ok();
    c.start().ok();
}
