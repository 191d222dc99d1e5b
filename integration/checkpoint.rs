//! `checkpoint` and `restore`: a container that goes on where it was, in new processes.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, Call, Cgroups, ConsoleSocket, Layout, Output, Terminal, eventually};

/// CRIU 4 with a kernel that lets it dump at all.
pub fn criu_works() -> bool {
    std::process::Command::new("criu")
        .arg("check")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A v2 view of a v1 machine: all containers are in the root of each v1 hierarchy, and CRIU would save those of everybody.
pub fn only_the_view_is_v2() -> bool {
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap();
    Cgroups::host().layout() == Layout::V2 && memberships.lines().count() > 1
}

macro_rules! needs_criu {
    () => {
        needs!($crate::checkpoint::criu_works(); "CRIU");
        except!(Runc if $crate::checkpoint::only_the_view_is_v2(); "runc 1.1 cannot keep CRIU away from the cgroups of others");
    };
}
pub(crate) use needs_criu;

/// A container that counts: the number is in its memory, and in /count.
pub fn counter() -> Bundle {
    Bundle::busybox().sh("i=0; while :; do i=$((i + 1)); echo $i >/count.new; mv /count.new /count; sleep 0.05; done")
}

/// Its standard streams are the null device: runc cannot leave files outside of the container alone.
pub const NO_STREAMS: &str = "exec </dev/null >/dev/null";

pub fn count(c: &Bundle) -> u64 {
    let text = fs::read_to_string(c.in_rootfs("/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

pub fn launch(c: &Bundle) {
    let quiet = format!("{NO_STREAMS} 2>&1");
    c.call("run").flag("--detach").before(&quiet).output().ok();
}

pub fn launch_counter(c: &Bundle) {
    launch(c);
    eventually("the container to count", || count(c) > 3);
}

/// A counter that has counted, was saved and is gone.
#[track_caller]
pub fn saved_counter() -> Bundle {
    let c = counter();
    launch_counter(&c);
    well(&c, checkpoint(&c).output());
    c.wait();
    c
}

pub fn with_images<'c>(c: &'c Bundle, verb: &str) -> Call<'c> {
    let call = c.call(verb).flag("--image-path").flag(c.scrap("images"));
    let call = call.flag("--work-path").flag(c.scrap("work"));
    match only_the_view_is_v2() {
        true => call.flag("--manage-cgroups-mode").flag("ignore"),
        false => call,
    }
}

pub fn checkpoint(c: &Bundle) -> Call<'_> {
    with_images(c, "checkpoint")
}

pub fn restore(c: &Bundle) -> Call<'_> {
    with_images(c, "restore").flag("--detach")
}

/// The output, or CRIU's log with it.
#[track_caller]
pub fn well(c: &Bundle, output: Output) -> Output {
    let log = |name| fs::read_to_string(c.scrap("work").join(name)).unwrap_or_default();
    assert!(
        output.code == 0,
        "{}\n{}\n{}",
        output.story(),
        log("dump.log"),
        log("restore.log")
    );
    output
}

#[test]
fn goes_on_where_it_was() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    let before = c.pid();
    well(&c, checkpoint(&c).output());
    c.call("state").output().fails_as_unknown();
    c.wait();
    assert!(c.cgroup_folders().is_empty());
    let saved = count(&c);
    fs::write(c.in_rootfs("/count"), "0").unwrap();
    well(&c, restore(&c).before(NO_STREAMS).output());
    assert_eq!(c.status(), "running");
    assert_eq!(c.pid().to_string(), fs::read_to_string(c.pid_file()).unwrap());
    eventually("the container to count on", || count(&c) > saved + 3);
    assert_ne!(c.pid(), before);
    c.kill("KILL").ok();
    c.wait();
    c.until("stopped");
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn exec_and_pause_after_a_restore() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    c.call("pause").output().ok();
    assert_eq!(c.status(), "paused");
    c.call("resume").output().ok();
    well(&c, checkpoint(&c).output());
    c.wait();
    well(&c, restore(&c).before(NO_STREAMS).output());
    let saved = count(&c);
    eventually("the container to count on", || count(&c) > saved + 3);
    assert_eq!(spaces_of_exec(&c, "pid mnt ipc uts"), 4);
    c.call("pause").output().ok();
    assert_eq!(c.status(), "paused");
    c.call("resume").output().ok();
    assert_eq!(c.status(), "running");
}

/// CRIU gives a restored container a time namespace, so that its clocks go on from where they were.
#[test]
fn exec_after_a_restore_has_the_containers_clocks() {
    except!(Runc; "runc 1.1 knows no time namespace");
    needs_criu!();
    let c = saved_counter();
    well(&c, restore(&c).before(NO_STREAMS).output());
    assert_eq!(spaces_of_exec(&c, "time"), 1);
}

/// A program executed in the container is in the container's namespaces of these kinds; how many they are.
#[track_caller]
fn spaces_of_exec(c: &Bundle, kinds: &str) -> usize {
    let script = format!("for p in self 1; do for kind in {kinds}; do readlink /proc/$p/ns/$kind; done; done");
    let seen = c.call("exec").after(&["/bin/sh", "-c", &script]).output().ok();
    let seen: Vec<&str> = seen.stdout.lines().collect();
    let (own, init) = seen.split_at(seen.len() / 2);
    assert_eq!(own, init);
    own.len()
}

#[test]
fn leave_running() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    let before = c.pid();
    well(&c, checkpoint(&c).flag("--leave-running").output());
    let saved = count(&c);
    eventually("the container to count on", || count(&c) > saved + 3);
    assert_eq!((c.status().as_str(), c.pid()), ("running", before));
}

#[test]
fn in_the_foreground_the_exit_code_is_the_payloads() {
    needs_criu!();
    let c = Bundle::busybox().sh("echo >/ready; while [ ! -e /go ]; do sleep 0.05; done; exit 7");
    launch(&c);
    eventually("the container to be ready", || c.in_rootfs("/ready").exists());
    well(&c, checkpoint(&c).output());
    c.wait();
    fs::write(c.in_rootfs("/go"), "").unwrap();
    with_images(&c, "restore").before(NO_STREAMS).output().exits(7);
    c.assert_no_trace();
}

#[test]
fn a_log_file_outside_goes_on() {
    only!(Runw; "the others cannot leave files outside of the container alone");
    needs_criu!();
    let c = Bundle::busybox().sh("echo ready; while [ ! -e /go ]; do sleep 0.05; done; echo went on; echo so >&2");
    let log = c.scrap("log");
    // CRIU looks at the size of other files, which must not have changed.
    let appending = format!("exec </dev/null >>{} 2>&1", log.display());
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    c.call("run").flag("--detach").before(&appending).output().ok();
    eventually("the container to be ready", || logged() == "ready\n");
    well(&c, checkpoint(&c).output());
    c.wait();
    fs::write(c.in_rootfs("/go"), "").unwrap();
    well(&c, with_images(&c, "restore").before(&appending).output());
    assert_eq!(logged(), "ready\nwent on\nso\n");
}

#[test]
fn pipes_are_those_of_the_restore() {
    needs_criu!();
    let c = Bundle::busybox().sh("echo >/ready; read word; echo got $word; exit 3");
    let mut run = c.call("run").spawn_with_pipes();
    eventually("the container to be ready", || c.in_rootfs("/ready").exists());
    well(&c, checkpoint(&c).output());
    let _ = run.wait().unwrap();
    let restore = with_images(&c, "restore").stdin("hello\n").spawn_with_pipes();
    let output = restore.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got hello\n", "{stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}

#[test]
fn a_terminal_is_handed_over_again() {
    needs_criu!();
    let c = Bundle::busybox()
        .set("process.terminal", true)
        .sh("echo prompt; read line; echo got $line; read line; exit 4");
    let first = ConsoleSocket::listen(&c.scrap("first.sock"));
    let on = |call: Call<'_>, socket: &ConsoleSocket| call.flag("--console-socket").flag(socket.path()).output();
    on(c.call("run").flag("--detach"), &first).ok();
    let terminal = Terminal::of_master(first.receive().1.remove(0));
    terminal.until("prompt");
    well(&c, checkpoint(&c).output());
    c.wait();
    let second = ConsoleSocket::listen(&c.scrap("second.sock"));
    well(&c, on(restore(&c), &second));
    let terminal = Terminal::of_master(second.receive().1.remove(0));
    terminal.type_in("hello\n");
    terminal.until("got hello");
}

#[test]
fn mounts_come_back() {
    needs_criu!();
    let c = counter();
    let (folder, file) = (c.scrap_folder("shared"), c.scrap("file"));
    fs::write(&file, "of the host").unwrap();
    let c = c
        .bind(&folder, "/srv/shared", &["rbind"])
        .bind(&file, "/srv/file", &["bind", "ro"])
        .bind(&file, "/link/file", &["bind"])
        .symlink("/link", "/srv")
        .folder("/real/place")
        .symlink("/way", "/real/place")
        .bind(&folder, "/way", &["bind"])
        .mount("/scratch", "tmpfs", "tmpfs", &["size=1m"])
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"])
        .sh("echo kept >/scratch/file; echo >/ready; while [ ! -e /go ]; do sleep 0.05; done
             { cat /scratch/file /srv/file; ls /sys/fs/cgroup | head -n 1; cat /proc/kcore | wc -c; echo x >/srv/shared/x; echo y >/real/place/y; } >/told 2>&1
             exit 0");
    launch(&c);
    eventually("the container to be ready", || c.in_rootfs("/ready").exists());
    well(&c, checkpoint(&c).output());
    c.wait();
    fs::write(&file, "of the host, later\n").unwrap();
    fs::write(c.in_rootfs("/go"), "").unwrap();
    let output = with_images(&c, "restore").before(NO_STREAMS).output();
    well(&c, output);
    let told = fs::read_to_string(c.in_rootfs("/told")).unwrap();
    assert!(told.starts_with("kept\nof the host, later\n"), "{told}");
    assert!(told.ends_with("\n0\n"), "/proc/kcore is masked: {told}");
    assert!(folder.join("x").exists() && folder.join("y").exists(), "{told}");
}

#[test]
fn mountpoints_are_made_in_a_fresh_root() {
    needs_criu!();
    let c = counter();
    let folder = c.scrap_folder("shared");
    let c = c.bind(&folder, "/srv/deep/shared", &["rbind"]);
    launch_counter(&c);
    well(&c, checkpoint(&c).output());
    c.wait();
    let saved = count(&c);
    fs::remove_dir_all(c.in_rootfs("/srv")).unwrap();
    well(&c, restore(&c).before(NO_STREAMS).output());
    eventually("the container to count on", || count(&c) > saved + 3);
}

#[test]
fn limits_hold_after_a_restore() {
    needs_criu!();
    let c = counter().set("linux.resources.pids.limit", 17);
    needs!(Cgroups::host().has("pids"); "a pids controller");
    launch_counter(&c);
    well(&c, checkpoint(&c).output());
    c.wait();
    well(&c, restore(&c).before(NO_STREAMS).output());
    let limits = c.cgroup_folders().into_iter().map(|folder| folder.join("pids.max"));
    let limits: Vec<String> = limits.filter_map(|file| fs::read_to_string(file).ok()).collect();
    assert_eq!(limits, ["17\n"]);
    let procs = |folder: &Path| fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let pid = c.pid().to_string();
    for folder in c.cgroup_folders() {
        assert!(procs(&folder).lines().any(|line| line == pid), "{}", folder.display());
    }
}

#[test]
fn namespaces_of_others_are_joined_again() {
    needs_criu!();
    let other = std::process::Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", other.id());
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    eventually("the network namespace", || {
        fs::read_link(&path).is_ok_and(|link| link != own)
    });
    let theirs = fs::read_link(&path).unwrap();
    let c = counter().namespace("network", Some(&path));
    launch_counter(&c);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        well(&c, checkpoint(&c).output());
        c.wait();
        well(&c, restore(&c).before(NO_STREAMS).output());
        assert_eq!(fs::read_link(format!("/proc/{}/ns/net", c.pid())).unwrap(), theirs);
    }));
    let mut other = other;
    other.kill().unwrap();
    other.wait().unwrap();
    outcome.unwrap();
}

#[test]
fn the_runtimes_hooks_run_again() {
    needs_criu!();
    let c = counter();
    let log = c.scrap("hooks.log");
    let hook = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; echo {name} >>{}", log.display())] }]);
    let c = c
        .set("hooks.createRuntime", hook("create"))
        .set("hooks.poststop", hook("stop"));
    launch_counter(&c);
    well(&c, checkpoint(&c).output());
    c.wait();
    well(&c, restore(&c).before(NO_STREAMS).output());
    assert_eq!(fs::read_to_string(&log).unwrap(), "create\nstop\ncreate\n");
}

#[test]
fn a_hook_that_fails_fails_the_restore() {
    needs_criu!();
    let c = saved_counter();
    let c = c.set("hooks.createRuntime", json!([{ "path": "/bin/false" }]));
    restore(&c).before(NO_STREAMS).output().fails("hook");
    c.assert_no_trace();
}

#[test]
fn memory_can_be_written_beforehand() {
    needs_criu!();
    let tracked = std::process::Command::new("criu")
        .args(["check", "--feature", "mem_dirty_track"])
        .output();
    let c = counter();
    launch_counter(&c);
    let pre_dump = c
        .call("checkpoint")
        .flag("--pre-dump")
        .flag("--image-path")
        .flag(c.scrap("before"));
    if tracked.is_ok_and(|output| output.status.success()) {
        well(&c, pre_dump.output());
        assert_eq!(c.status(), "running");
        well(&c, checkpoint(&c).flag("--parent-path").flag("../before").output());
        c.wait();
        let saved = count(&c);
        well(&c, restore(&c).before(NO_STREAMS).output());
        eventually("the container to count on", || count(&c) > saved + 3);
    } else {
        pre_dump.output().fails("missing features");
        assert_eq!(c.status(), "running");
    }
}

#[test]
fn images_go_from_one_runtime_to_the_other() {
    only!(Runw; "it is about ours and theirs");
    needs_criu!();
    needs!(Path::new("/usr/sbin/runc").exists(); "runc");
    let c = saved_counter();
    let state = c.scrap_folder("of-runc");
    let runc = |words: &[&str]| {
        let mut command = std::process::Command::new("runc");
        command
            .arg("--root")
            .arg(&state)
            .args(words)
            // It leaves a log of CRIU's version behind where it is.
            .current_dir(c.path())
            .stdin(std::process::Stdio::null());
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command.status().unwrap().success()
    };
    let (images, bundle) = (c.scrap("images"), c.path());
    let (images, bundle) = (images.to_str().unwrap(), bundle.to_str().unwrap());
    let saved = count(&c);
    assert!(runc(&[
        "restore",
        "-d",
        "--image-path",
        images,
        "--bundle",
        bundle,
        c.id()
    ]));
    eventually("the container to count on under runc", || count(&c) > saved + 3);
    let theirs = c.scrap("theirs");
    let dumped = runc(&["checkpoint", "--image-path", theirs.to_str().unwrap(), c.id()]);
    let removed = runc(&["delete", "--force", c.id()]);
    assert!(dumped && removed);
    let saved = count(&c);
    let back = c.call("restore").flag("--detach").flag("--image-path").flag(&theirs);
    well(&c, back.before(NO_STREAMS).output());
    eventually("the container to count on", || count(&c) > saved + 3);
}
