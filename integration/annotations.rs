//! crun's `run.oci.*` annotations: what each does, and that `features` and `check` tell of them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Bundle, ConsoleSocket, Kind, runtime};

fn annotated(c: Bundle, key: &str, value: impl Into<Value>) -> Bundle {
    c.set("annotations", json!({ key: value.into() }))
}

fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; {script}")] }])
}

#[test]
fn what_hooks_print_goes_to_the_files_named() {
    except!(Runc; "the annotation is crun's");
    let c = Bundle::busybox().sh("echo ready; exec sleep 1000");
    let (out, err) = (c.scrap("hooks.out"), c.scrap("hooks.err"));
    fs::write(&out, "before\n").unwrap();
    let c = c
        .set(
            "annotations",
            json!({ "run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err }),
        )
        .set("hooks.createRuntime", hook("echo one; echo runtime >&2"))
        .set("hooks.createContainer", hook("echo two; echo container >&2"))
        // It runs in the container, where the file is out of sight.
        .set("hooks.startContainer", hook("echo three; echo start >&2"))
        .set("hooks.poststart", hook("echo four"))
        .set("hooks.poststop", hook("echo five"));
    c.launch_ready();
    let read = |file: &Path| fs::read_to_string(file).unwrap();
    assert_eq!(read(&out), "before\none\ntwo\nthree\nfour\n");
    c.delete_force().ok();
    c.wait();
    assert_eq!(read(&out), "before\none\ntwo\nthree\nfour\nfive\n");
    assert_eq!(read(&err), "runtime\ncontainer\nstart\n");
}

#[test]
fn a_hook_that_fails_is_told_all_the_same() {
    only!(Runw; "the words are runc's, the annotation is crun's");
    let c = Bundle::busybox();
    let err = c.scrap("hooks.err");
    let c = annotated(c, "run.oci.hooks.stderr", err.to_str().unwrap())
        .set("hooks.createRuntime", hook("echo why >&2; exit 3"));
    c.create()
        .fails("error running createRuntime hook #0: /bin/sh: exit status 3");
    assert_eq!(fs::read_to_string(&err).unwrap(), "why\n");
    c.assert_no_trace();
}

#[test]
fn a_file_for_hooks_that_cannot_be_opened() {
    except!(Runc; "the annotation is crun's");
    let c = annotated(Bundle::busybox(), "run.oci.hooks.stdout", "/no/such/folder/file")
        .set("hooks.createContainer", hook("true"));
    let refused = c.create().fails("/no/such/folder/file");
    // Docker makes exit code 127 of these words.
    if runtime().kind == Kind::Runw {
        assert!(!refused.stderr.contains("no such file"), "{}", refused.story());
    }
    c.assert_no_trace();
}

/// The caller's supplementary groups.
const GROUPS: &str = "exec setpriv --groups 7,1234 -- \"$@\"";

#[test]
fn the_callers_groups_are_kept() {
    except!(Runc; "the annotation is crun's");
    let groups = "grep ^Groups /proc/self/status";
    let c = Bundle::busybox().set("process.user.additionalGids", json!([99]));
    let run = |c: &Bundle| {
        let call = c.call("run").runs(&["/bin/sh", "-c", groups]);
        call.before(GROUPS).output().ok().stdout
    };
    assert_eq!(run(&c), "Groups:\t99 \n");
    let c = annotated(c, "run.oci.keep_original_groups", "0");
    assert_eq!(run(&c), "Groups:\t99 \n");
    let c = annotated(c, "run.oci.keep_original_groups", "1");
    assert_eq!(run(&c), "Groups:\t7 1234 \n");
}

#[test]
fn exec_keeps_its_own_callers_groups() {
    except!(Runc; "the annotation is crun's");
    let c = annotated(Bundle::sleeper(), "run.oci.keep_original_groups", "1").up();
    let words = ["grep", "^Groups", "/proc/self/status"];
    let output = c.exec(&[], &words).before(GROUPS).output();
    output.prints("Groups:\t7 1234 \n");
    let words = ["sh", "-c", "grep ^Groups /proc/self/status"];
    let document = json!({ "args": words, "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 1, "gid": 1 } });
    let file = c.scrap("process.json");
    fs::write(&file, document.to_string()).unwrap();
    let by_document = c.call("exec").flag("--process").flag(&file);
    by_document.before(GROUPS).output().prints("Groups:\t7 1234 \n");
}

/// A filter, instruction by instruction, in the form of the annotation.
fn filter(program: &[(u16, u8, u8, u32)]) -> String {
    let bytes = program.iter().flat_map(|(code, jt, jf, k)| {
        let [low, high] = code.to_ne_bytes();
        [[low, high, *jt, *jf], k.to_ne_bytes()].concat()
    });
    let bytes: Vec<u8> = bytes.collect();
    let letters: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/'])
        .collect();
    let group = |three: &[u8]| {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = |i: usize| match i > three.len() {
            true => '=',
            false => letters[(word >> (18 - 6 * i)) as usize & 63],
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// sethostname(2) fails with `errno`, all else is allowed.
fn no_new_hostname(errno: u32) -> String {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    filter(&[
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, nix::libc::SYS_sethostname as u32),
        (RETURN, 0, 0, 0x0005_0000 | errno),
        (RETURN, 0, 0, 0x7fff_0000),
    ])
}

#[test]
fn a_finished_filter_takes_the_place_of_the_profile() {
    except!(Runc; "the annotation is crun's");
    let look = "hostname x 2>&1; grep ^Seccomp: /proc/self/status; mkdir /x && echo made";
    let deny = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
    });
    for profile in [None, Some(deny)] {
        let c = annotated(Bundle::busybox(), "run.oci.seccomp_bpf_data", no_new_hostname(95));
        let c = match profile {
            Some(profile) => c.set("linux.seccomp", profile),
            None => c,
        };
        let c = c.sh(&format!("{look}; echo ready; exec sleep 1000"));
        let created = c.launch_ready();
        let said = created.stdout_now();
        assert!(said.contains("Operation not supported"), "{said}");
        assert!(said.contains("Seccomp:\t2\nmade\nready\n"), "{said}");
        let later = c.exec_sh(&[], "hostname x; grep ^Seccomp: /proc/self/status").ok();
        assert_eq!(later.stdout, "Seccomp:\t2\n", "{}", later.story());
    }
}

#[test]
fn a_filter_that_is_none_is_refused() {
    only!(Runw; "crun loads what it can decode of it");
    for (text, problem) in [("%", "is not base64"), ("AAAA", "3 bytes are no program")] {
        let c = annotated(Bundle::busybox(), "run.oci.seccomp_bpf_data", text);
        let output = c.create().fails("annotations[\"run.oci.seccomp_bpf_data\"]");
        assert!(output.stderr.contains(problem), "{}", output.story());
        c.assert_no_trace();
    }
    // Only the kernel knows whether a program is a valid one.
    let c = annotated(
        Bundle::busybox(),
        "run.oci.seccomp_bpf_data",
        filter(&[(0xffff, 0, 0, 0)]),
    );
    c.create().ok();
    c.start().fails("load linux.seccomp");
}

#[test]
fn the_agent_may_be_named_by_an_annotation() {
    except!(Runc, Crun; "the annotation is crun's, which sends the fd when the container starts");
    let c = Bundle::busybox().sh("exec sleep 1000");
    let socket = ConsoleSocket::listen(&c.scrap("agent.sock"));
    let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
    let c = annotated(c, "run.oci.seccomp.receiver", socket.path().to_str().unwrap()).set(
        "linux.seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }),
    );
    let agent = std::thread::spawn(move || socket.receive());
    c.create().ok();
    let (text, fds) = agent.join().unwrap();
    assert_eq!(fds.len(), 1);
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&state["pid"], &state["fds"]), (&json!(c.pid()), &json!(["seccompFd"])));
}

#[test]
fn unknown_system_calls_can_be_an_error() {
    except!(Runc; "the annotation is crun's");
    let rules = json!([{ "names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO" }]);
    let c = Bundle::busybox().set(
        "linux.seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }),
    );
    c.run(&["true"]).ok();
    let c = annotated(c, "run.oci.seccomp_fail_unknown_syscall", "1");
    c.create().fails("no_such_call");
    c.assert_no_trace();
    annotated(c, "run.oci.seccomp_fail_unknown_syscall", "0")
        .run(&["true"])
        .ok();
}

#[test]
fn a_pidfd_is_sent_to_the_receiver() {
    except!(Runc; "the annotation is crun's");
    let c = Bundle::sleeper();
    let socket = ConsoleSocket::listen(&c.scrap("pidfd.sock"));
    let c = annotated(c, "run.oci.pidfd_receiver", socket.path().to_str().unwrap());
    let receiver = std::thread::spawn(move || socket.receive());
    c.create().ok();
    let (_, fds) = receiver.join().unwrap();
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]));
    let text = fs::read_to_string(info).unwrap();
    assert!(text.lines().any(|line| line == format!("Pid:\t{}", c.pid())), "{text}");
}

#[test]
fn values_without_sense_are_refused_by_their_key() {
    only!(Runw; "crun passes over some of them");
    for (key, value, problem) in [
        (
            "run.oci.mount_context_type",
            "x",
            "context, fscontext, defcontext, rootcontext",
        ),
        ("run.oci.hooks.stdout", "relative", "is not absolute"),
        ("run.oci.pidfd_receiver", "relative", "is not absolute"),
        ("run.oci.seccomp.receiver", "relative", "is not absolute"),
        ("run.oci.seccomp.plugins", "x.so", "not supported"),
        // A virtual machine that is asked for must not become none.
        ("run.oci.handler", "krun", "there is no handler \"krun\""),
    ] {
        let c = annotated(Bundle::busybox(), key, value);
        let output = c.create().fails(&format!("annotations[{key:?}]"));
        assert!(output.stderr.contains(problem), "{}", output.story());
        c.assert_no_trace();
    }
}

#[test]
fn without_selinux_the_kind_of_mount_label_does_not_matter() {
    except!(Runc; "the annotation is crun's");
    for kind in ["context", "fscontext", "defcontext", "rootcontext"] {
        annotated(Bundle::busybox(), "run.oci.mount_context_type", kind)
            .run(&["true"])
            .ok();
    }
}

#[test]
fn what_annotations_can_do_is_told() {
    only!(Runw; "check is our own");
    let c = Bundle::sleeper();
    let features = c.call("features").no_id().output().json();
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    let named = |key: &str| {
        unsafe_ones
            .iter()
            .filter_map(Value::as_str)
            .any(|known| key == known || known.ends_with('.') && key.starts_with(known))
    };
    for key in [
        "run.oci.hooks.stdout",
        "run.oci.keep_original_groups",
        "run.oci.seccomp_bpf_data",
        "run.oci.runw.wasm-aot",
        "org.criu.config",
        "org.systemd.property.TimeoutStopUSec",
        "module.wasm.image/variant",
    ] {
        assert!(named(key), "{key}: {unsafe_ones:?}");
    }
    assert!(!named("org.opencontainers.image.title"));
    let c = c.set(
        "annotations",
        json!({ "run.oci.keep_original_groups": "1", "org.criu.config": "/etc/criu/x", "harmless": "1" }),
    );
    c.create().ok();
    c.delete_force().ok();
    let text = c.call("check").no_id().after(&[c.path().to_str().unwrap()]).output();
    let line = "warning  annotations  org.criu.config, run.oci.keep_original_groups change how the container is run";
    text.ok().shows(line);
}
