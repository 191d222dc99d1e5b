//! `linux.seccomp`: actions, arguments, flags, and the listener.

use serde_json::{Value, json};

use crate::harness::{Bundle, Kind, runtime};

/// A profile that allows all but these system calls.
fn deny(names: &[&str], action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": names, "action": action }],
    })
}

fn with(profile: Value) -> Bundle {
    Bundle::busybox().set("linux.seccomp", profile)
}

#[test]
fn a_denied_call_is_eperm() {
    let c = with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"));
    let output = c.run_sh("mkdir /x; echo code $?").ok();
    assert!(output.stderr.contains("Operation not permitted"), "{}", output.story());
    assert_eq!(output.stdout, "code 1\n");
}

#[test]
fn an_errno_of_ones_own() {
    let mut profile = deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO");
    profile["syscalls"][0]["errnoRet"] = json!(100); // ENETDOWN
    let output = with(profile).run_sh("mkdir /x; true").ok();
    assert!(output.stderr.contains("Network is down"), "{}", output.story());
}

#[test]
fn a_default_errno_of_ones_own() {
    let mut profile = docker_profile();
    profile["defaultErrnoRet"] = json!(100);
    let output = with(profile).run_sh("unshare -u true; true").ok();
    assert!(output.stderr.contains("Network is down"), "{}", output.story());
}

/// The profile of Docker's default config.
fn docker_profile() -> Value {
    let config: Value = serde_json::from_str(include_str!("data/docker-config.json")).unwrap();
    config["linux"]["seccomp"].clone()
}

#[test]
fn killing_actions_kill() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"] {
        let c = with(deny(&["mkdir", "mkdirat"], action));
        c.run_sh("busybox mkdir /x & wait $!; echo $?").prints("159\n");
    }
}

#[test]
fn a_trap_is_sigsys() {
    with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_TRAP"))
        .run_sh("busybox mkdir /x & wait $!; echo $?")
        .prints("159\n");
}

#[test]
fn trace_without_a_tracer_is_enosys() {
    let output = with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_TRACE"))
        .run_sh("mkdir /x; true")
        .ok();
    assert!(output.stderr.contains("not implemented"), "{}", output.story());
}

#[test]
fn log_lets_the_call_pass() {
    with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_LOG"))
        .run_sh("mkdir /x && echo made")
        .prints("made\n");
}

#[test]
fn arguments_are_compared() {
    // setpriority-like calls differ by argument; here kill(2) by its signal: USR1 is 10.
    for (op, value, denied) in [
        ("SCMP_CMP_EQ", 10, true),
        ("SCMP_CMP_EQ", 11, false),
        ("SCMP_CMP_NE", 10, false),
        ("SCMP_CMP_GE", 10, true),
        ("SCMP_CMP_GT", 10, false),
        ("SCMP_CMP_LE", 10, true),
        ("SCMP_CMP_LT", 10, false),
    ] {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": value, "op": op }] }],
        });
        let c = with(profile);
        let expected = if denied { "denied\n" } else { "sent\n" };
        c.run_sh("trap '' USR1; kill -USR1 $$ 2>/dev/null && echo sent || echo denied")
            .prints(expected);
    }
}

#[test]
fn arguments_are_compared_under_a_mask() {
    for (value, denied) in [(0o10, true), (0o4, false)] {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                // USR1 is 10 = 0b1010.
                "args": [{ "index": 1, "value": value, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" }],
            }],
        });
        let expected = if denied { "denied\n" } else { "sent\n" };
        with(profile)
            .run_sh("trap '' USR1; kill -USR1 $$ 2>/dev/null && echo sent || echo denied")
            .prints(expected);
    }
}

#[test]
fn rules_of_one_call_add_up() {
    let rule = |signal: u32| json!({ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": signal, "op": "SCMP_CMP_EQ" }] });
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(10), rule(12)] });
    let script =
        "trap '' USR1 USR2 HUP; for s in USR1 USR2 HUP; do kill -$s $$ 2>/dev/null && echo sent || echo denied; done";
    with(profile).run_sh(script).prints("denied\ndenied\nsent\n");
}

#[test]
fn flags_are_accepted() {
    except!(Runc; "runc 1.1 knows no flags");
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let mut profile = deny(&["mkdir"], "SCMP_ACT_ERRNO");
        profile["flags"] = flags;
        with(profile).run(&["true"]).ok();
    }
}

/// It has a meaning only for those who wait for an agent's answer, and the kernel takes it with no other filter.
#[test]
fn a_flag_about_agents_without_an_agent() {
    only!(Runw; "runc knows no such flag, with crun the kernel refuses it");
    let mut profile = deny(&["mkdir"], "SCMP_ACT_ERRNO");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_LOG"]);
    with(profile).run(&["true"]).ok();
}

#[test]
fn an_unknown_flag_is_refused() {
    except!(Crun; "crun ignores it");
    let mut profile = deny(&["mkdir"], "SCMP_ACT_ERRNO");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WHATEVER"]);
    let c = with(profile);
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn unknown_system_calls_are_passed_over() {
    with(deny(&["mkdir", "a_call_of_the_future"], "SCMP_ACT_ERRNO"))
        .run(&["true"])
        .ok();
}

#[test]
fn without_no_new_privileges_too() {
    let c = with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")).set("process.noNewPrivileges", false);
    c.run_sh("mkdir /x 2>/dev/null || echo denied; grep NoNewPrivs /proc/self/status")
        .prints("denied\nNoNewPrivs:\t0\n");
}

#[test]
fn the_filter_is_seen_in_proc() {
    with(docker_profile())
        .run_sh("grep ^Seccomp: /proc/self/status")
        .prints("Seccomp:\t2\n");
    Bundle::busybox()
        .run_sh("grep ^Seccomp: /proc/self/status")
        .prints("Seccomp:\t0\n");
}

#[test]
fn calls_newer_than_the_profile_are_enosys() {
    except!(Crun; "crun answers what the profile says");
    // Number 1000 exists on no kernel; a libc that probes it must hear ENOSYS, not EPERM. busybox cannot call it, but
    // the shell's own start-up on a new libc can: here the proof is that an allow-list of today runs at all.
    let c = with(docker_profile());
    c.run(&["true"]).ok();
}

#[test]
fn notify_needs_a_listener_path() {
    except!(Crun; "crun leaves the calls without an answer");
    let c = with(deny(&["mkdir"], "SCMP_ACT_NOTIFY"));
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn notify_with_nobody_listening() {
    let mut profile = deny(&["mkdir"], "SCMP_ACT_NOTIFY");
    let c = Bundle::busybox();
    profile["listenerPath"] = json!(c.scrap("nobody.sock"));
    let c = c.set("linux.seccomp", profile);
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn the_listener_gets_the_process_state_and_one_fd() {
    except!(Crun; "crun sends the fd when the container starts");
    use crate::harness::ConsoleSocket as UnixSocket;
    let mut profile = deny(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
    let c = Bundle::busybox().set("annotations", json!({ "who": "me" }));
    let socket = UnixSocket::listen(&c.scrap("agent.sock"));
    profile["listenerPath"] = json!(socket.path());
    profile["listenerMetadata"] = json!("some words");
    let c = c.set("linux.seccomp", profile).sh("echo ready; exec sleep 1000");
    let agent = std::thread::spawn(move || socket.receive());
    c.create().ok();
    let (text, fds) = agent.join().unwrap();
    assert_eq!(fds.len(), 1);
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["metadata"], "some words");
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], c.pid());
    assert_eq!(state["state"]["id"], c.id());
    assert_eq!(state["state"]["status"], "creating");
    assert_eq!(state["state"]["annotations"]["who"], "me");
    c.start().ok();
}

#[test]
fn the_listener_decides_calls() {
    except!(Crun; "crun sends the fd when the container starts");
    use crate::harness::ConsoleSocket as UnixSocket;
    let mut profile = deny(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
    let c = Bundle::busybox();
    let socket = UnixSocket::listen(&c.scrap("agent.sock"));
    profile["listenerPath"] = json!(socket.path());
    let c = c.set("linux.seccomp", profile).sh("mkdir /x 2>&1; echo over");
    let agent = std::thread::spawn(move || socket.receive());
    let created = c.create().ok();
    let (_, fds) = agent.join().unwrap();
    c.start().ok();
    // With the agent gone the kernel answers ENOSYS to the call it would have decided.
    drop(fds);
    assert_eq!(c.wait(), 0);
    let text = created.stdout_now();
    assert!(text.contains("not implemented") && text.contains("over"), "{text}");
}

#[test]
fn what_callers_hear_of_a_listener_that_cannot_be_used() {
    except!(Runc, Crun; "runc 1.1 and crun have other words");
    let mut profile = deny(&["mkdir"], "SCMP_ACT_NOTIFY");
    let c = Bundle::busybox();
    profile["listenerPath"] = json!(c.scrap("nobody.sock"));
    let c = c.set("linux.seccomp", profile.clone());
    c.run(&["true"]).fails("failed to connect with seccomp agent");
    profile["syscalls"][0]["names"] = json!(["mkdir", "write"]);
    let c = c.set("linux.seccomp", profile);
    c.run(&["true"])
        .fails("SCMP_ACT_NOTIFY cannot be used for the write syscall")
        .at("linux.seccomp.syscalls[0].names");
}

/// A hook that runs in the container is bound by its filter, as its program is.
#[test]
fn start_container_hooks_are_filtered() {
    for no_new_privileges in [false, true] {
        let c = with(deny(&["mkdir", "mkdirat"], "SCMP_ACT_KILL"))
            .set("process.noNewPrivileges", no_new_privileges)
            .push(
                "hooks.startContainer",
                json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec busybox mkdir /x"] }),
            );
        let output = c.run(&["true"]);
        if runtime().kind == Kind::Runw {
            output
                .fails("error running startContainer hook")
                .fails("bad system call");
        } else {
            assert_ne!(output.code, 0, "{}", output.story());
        }
        assert!(!c.in_rootfs("x").exists());
    }
}
