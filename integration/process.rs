//! `process`: identity, limits, environment, directory, fds: what the payload finds itself to be.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout};

#[test]
fn init_is_pid_1_without_a_parent() {
    Bundle::busybox().run_sh("echo $$ $PPID").prints("1 0\n");
}

#[test]
fn user_and_group() {
    let c = Bundle::busybox().set("process.user", json!({ "uid": 1000, "gid": 1001 }));
    c.run_sh("id -u; id -g").prints("1000\n1001\n");
}

#[test]
fn supplementary_groups_are_empty_unless_given() {
    let groups = "grep ^Groups /proc/self/status";
    let c = Bundle::busybox().set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    c.run_sh(groups).prints("Groups:\t \n");
    let c = c.set("process.user.additionalGids", json!([7, 1234]));
    c.run_sh(groups).prints("Groups:\t7 1234 \n");
}

#[test]
fn umask() {
    let c = Bundle::busybox();
    let inherited = c
        .call("run")
        .runs(&["sh", "-c", "umask"])
        .before("umask 0027")
        .output()
        .ok();
    assert!(matches!(inherited.text(), "0027" | "0022"), "{}", inherited.story());
    c.set("process.user.umask", 0o77)
        .run_sh("umask; touch /f; stat -c %a /f")
        .prints("0077\n600\n");
}

#[test]
fn the_environment_is_just_the_configs() {
    let c = Bundle::busybox().set("process.env", json!(["A=1", "B=two words", "PATH=/bin", "C="]));
    let call = c.call("run").runs(&["env"]).env("LEAK", "yes").env("NOTIFY", "x");
    let output = call.output().ok();
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1", "B=two words", "C=", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn of_a_variable_given_twice_the_last_counts() {
    let c = Bundle::busybox().env("TWICE=first").env("TWICE=second");
    c.run_sh("echo $TWICE").prints("second\n");
}

#[test]
fn home_comes_from_the_containers_passwd() {
    let home = |uid: u32| Bundle::busybox().set("process.user", json!({ "uid": uid, "gid": 0 }));
    home(0).run_sh("echo $HOME").prints("/root\n");
    home(1000).run_sh("echo $HOME").prints("/home/ann\n");
    home(1001).run_sh("echo $HOME").prints("/srv/bob\n");
    home(4242).run_sh("echo $HOME").prints("/\n");
    home(1000)
        .env("HOME=/elsewhere")
        .run_sh("echo $HOME")
        .prints("/elsewhere\n");
}

#[test]
fn home_by_a_passwd_that_is_a_symlink() {
    let c = Bundle::busybox().file("/data/users", "root:x:0:0::/from/link:/bin/sh\n");
    c.symlink("/etc/passwd", "/data/users")
        .run_sh("echo $HOME")
        .prints("/from/link\n");
}

#[test]
fn home_without_a_passwd() {
    let c = Bundle::busybox();
    fs::remove_file(c.in_rootfs("/etc/passwd")).unwrap();
    c.run_sh("echo $HOME").prints("/\n");
}

#[test]
fn cwd_is_honoured_and_made() {
    let c = Bundle::busybox().set("process.cwd", "/etc");
    c.run_sh("pwd").prints("/etc\n");
    let c = c.set("process.cwd", "/new/and/deep");
    c.run_sh("pwd; ls -ld . | cut -c1-10")
        .prints("/new/and/deep\ndrwxr-xr-x\n");
}

#[test]
fn cwd_only_root_may_enter() {
    let c = Bundle::busybox().folder("/closed").set("process.cwd", "/closed");
    let c = c.set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    std::os::unix::fs::chown(c.in_rootfs("/closed"), Some(1000), Some(1000)).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(c.in_rootfs("/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    c.run(&["pwd"]).prints("/closed\n");
}

#[test]
fn rlimits() {
    let c = Bundle::busybox().set(
        "process.rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_FSIZE", "soft": 4096, "hard": 8192 },
        ]),
    );
    c.run_sh("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Sf; ulimit -Hf")
        .prints("100\n200\n0\n8\n16\n");
}

#[test]
fn a_raised_rlimit_without_the_power_to_raise_is_an_error() {
    let c = Bundle::busybox().set(
        "process.rlimits",
        json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 64 }]),
    );
    c.call("run")
        .runs(&["sh", "-c", "ulimit -n"])
        .before("ulimit -n 128")
        .output()
        .prints("64\n");
}

#[test]
fn oom_score_adj() {
    let c = Bundle::busybox().set("process.oomScoreAdj", 321);
    c.run(&["cat", "/proc/self/oom_score_adj"]).prints("321\n");
    let c = c.without("process.oomScoreAdj");
    c.call("run")
        .runs(&["cat", "/proc/self/oom_score_adj"])
        .before("echo 77 >/proc/self/oom_score_adj")
        .output()
        .prints("77\n");
}

#[test]
fn scheduler() {
    except!(Runc; "runc 1.1 knows no scheduler");
    needs!(std::path::Path::new("/proc/self/sched").exists(); "/proc/self/sched");
    let c = Bundle::busybox().set("process.scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }));
    let look = "sed -n 's/^policy *: *//p;s/^prio *: *//p' /proc/self/sched";
    c.run_sh(look).prints("3\n127\n");
    let c = c.set("process.scheduler", json!({ "policy": "SCHED_IDLE", "nice": 3 }));
    c.run_sh(look).prints("5\n123\n");
    needs!(Cgroups::host().layout() == Layout::V2; "real-time scheduling in a cgroup without a share of it");
    let c = c.set("process.scheduler", json!({ "policy": "SCHED_FIFO", "priority": 5 }));
    c.run_sh(look).prints("1\n94\n");
}

#[test]
fn io_priority() {
    except!(Runc; "runc 1.1 knows no ioPriority");
    let c = Bundle::busybox().set(
        "process.ioPriority",
        json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }),
    );
    c.run(&["ionice", "-p", "1"]).prints("best-effort: prio 6\n");
    let c = c.set(
        "process.ioPriority",
        json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }),
    );
    c.run(&["ionice", "-p", "1"]).shows("idle");
}

#[test]
fn personality() {
    except!(Runc; "runc 1.1 knows no personality");
    let c = Bundle::busybox().set("linux.personality", json!({ "domain": "LINUX32" }));
    c.run(&["cat", "/proc/self/personality"]).prints("00000008\n");
    let c = c.set("linux.personality", json!({ "domain": "LINUX" }));
    c.run(&["cat", "/proc/self/personality"]).prints("00000000\n");
}

#[test]
fn an_inherited_cpu_affinity_is_reset() {
    except!(Runc, Crun; "runc 1.1 keeps it; crun 1.21 keeps it");
    let look = "grep Cpus_allowed_list /proc/self/status | cut -f2";
    let all = Bundle::busybox().run_sh(look).ok();
    let c = Bundle::busybox();
    let pinned = c
        .call("run")
        .runs(&["sh", "-c", look])
        .before("taskset -pc 0 $$ >/dev/null")
        .output();
    pinned.prints(&all.stdout);
}

#[test]
fn the_callers_fds_stay_outside() {
    let c = Bundle::busybox();
    let call = c
        .call("run")
        .runs(&["ls", "/proc/self/fd"])
        .before("exec 5</etc/passwd 7</ 9>/dev/null");
    // The fourth is the listing's own.
    call.output().prints("0\n1\n2\n3\n");
}

#[test]
fn the_callers_fds_stay_outside_of_a_started_container() {
    let c = Bundle::busybox().args(&["ls", "/proc/self/fd"]);
    let created = c
        .call("create")
        .before("exec 5</etc/passwd 7</ 9>/dev/null")
        .output()
        .ok();
    c.call("start").before("exec 4</etc/passwd 6</").output().ok();
    assert_eq!(c.wait(), 0);
    assert_eq!(created.stdout_now(), "0\n1\n2\n3\n");
}

#[test]
fn preserved_fds_are_kept() {
    let c = Bundle::busybox();
    let call = c
        .call("run")
        .runs(&["sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd"])
        .flag("--preserve-fds")
        .flag("2");
    let files = ["three", "four"].map(|name| {
        let file = c.scrap(name);
        fs::write(&file, format!("{name}\n")).unwrap();
        file
    });
    let before = format!("exec 3<{} 4<{} 5</etc/passwd", files[0].display(), files[1].display());
    call.before(&before).output().prints("three\nfour\n0\n1\n2\n3\n4\n5\n");
}

/// The runtime has descriptors of its own under the numbers that the caller leaves free: the host's root, among others.
#[test]
fn preserved_fds_that_are_not_open_let_nothing_else_in() {
    except!(Runc; "runc calls it an error");
    let c = Bundle::busybox();
    let call = c.call("run").runs(&["ls", "/proc/self/fd"]);
    let call = call.flag("--preserve-fds").flag("6").before("exec 5</dev/null");
    // The second to last is the listing's own.
    call.output().prints("0\n1\n2\n3\n5\n");
}

#[test]
fn socket_activation() {
    except!(Crun; "crun does not tell the number");
    let c = Bundle::busybox();
    let file = c.scrap("socket");
    fs::write(&file, "as if a socket\n").unwrap();
    let script = "echo $LISTEN_FDS $LISTEN_PID; cat <&3";
    let before = format!("exec 3<{}; export LISTEN_FDS=1 LISTEN_PID=$$", file.display());
    c.call("run")
        .runs(&["sh", "-c", script])
        .before(&before)
        .output()
        .prints("1 1\nas if a socket\n");
}

#[test]
fn signals_are_at_their_defaults() {
    let c = Bundle::busybox();
    c.call("run")
        .runs(&["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"])
        .output()
        .prints("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn stdin_from_nowhere() {
    let c = Bundle::busybox();
    let output = c
        .call("run")
        .runs(&["ls", "/proc/self/fd"])
        .before("exec <&- 2>&-")
        .output();
    assert_eq!(
        output.code,
        0,
        "closed standard streams are no reason to fail\n{}",
        output.story()
    );
}

#[test]
fn a_session_of_its_own() {
    let c = Bundle::busybox();
    c.run_sh("cut -d' ' -f5,6,7 /proc/1/stat").prints("1 1 0\n");
}

#[test]
fn exit_codes_of_signals() {
    for (signal, code) in [("KILL", 137), ("ABRT", 134), ("SEGV", 139)] {
        // A child of init, whose end the shell passes on: the kernel shields init itself.
        let c = Bundle::busybox().without_namespace("pid");
        c.run_sh(&format!("kill -{signal} $$")).exits(code);
    }
}

#[test]
fn a_new_session_keyring_unless_told_otherwise() {
    let c = Bundle::busybox();
    let look = ["cat", "/proc/keys"];
    let c = c.without("linux.maskedPaths");
    let own = c.run(&look).ok();
    assert!(own.stdout.contains(&format!("{}: empty", c.id())), "{}", own.story());
    let other = Bundle::busybox().without("linux.maskedPaths");
    let none = other.call("run").runs(&look).flag("--no-new-keyring").output().ok();
    assert!(
        !none.stdout.contains(&format!("{}: empty", other.id())),
        "{}",
        none.story()
    );
}

#[test]
fn apparmor_without_apparmor() {
    needs!(!std::path::Path::new("/sys/kernel/security/apparmor").exists(); "a kernel without AppArmor");
    let c = Bundle::busybox().set("process.apparmorProfile", "no-such-profile");
    c.run(&["true"]).fails_with_one_of(&["apparmor"]);
    c.assert_no_trace();
}
