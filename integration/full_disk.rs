//! State folders on a file system that is full: what fails says so in one line and leaves nothing, and what has to work does.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::checkpoint::{checkpoint, counter, criu_works, launch_counter};
use crate::harness::{Bundle, Call, Cgroups, Output, eventually};

/// A mount namespace in which the bundle's state root is a tmpfs with room for little; it lasts as long as this does.
struct Small<'b> {
    c: &'b Bundle,
    holder: Child,
}

impl<'b> Small<'b> {
    /// `options` are tmpfs'.
    fn new(c: &'b Bundle, options: &str) -> Small<'b> {
        let root = c.scrap_folder("state");
        let script = format!(
            "mount -t tmpfs -o {options} tmpfs {} && echo ready && exec sleep 1000",
            root.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Small { c, holder }
    }

    /// The call, to be made in the namespace.
    fn within(&self, call: Call<'b>) -> Call<'b> {
        call.before(&format!("exec nsenter --target {} --mount -- \"$@\"", self.holder.id()))
    }

    /// A shell script in the namespace; gives what it prints.
    fn sh(&self, script: &str) -> String {
        let target = self.holder.id().to_string();
        let output = Command::new("nsenter")
            .args(["--target", &target, "--mount", "--", "sh", "-c", script])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Takes all room but for `inodes` files, without contents.
    fn fill(&self, inodes: usize) {
        let root = self.c.state_root();
        self.sh(&format!(
            "cd {}; dd if=/dev/zero of=.fill bs=4096; i=0; while touch .more$i; do i=$((i + 1)); done
             while [ $(stat -f -c %d .) -lt {inodes} ]; do i=$((i - 1)); rm .more$i; done",
            root.display()
        ));
        let left = self.sh(&format!("stat -f -c '%d %f' {}", root.display()));
        assert_eq!(left, format!("{inodes} 0"));
    }

    /// What there is in the state root, but for what takes the room.
    fn ids(&self) -> String {
        self.sh(&format!("ls {}", self.c.state_root().display()))
    }

    fn delete(&self) {
        self.within(self.c.call("delete").flag("--force")).output().ok();
        assert_eq!(self.ids(), "");
        self.c.assert_no_trace();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[track_caller]
fn tells_of_no_space(output: &Output) {
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains("no space left on device"),
        "{}",
        output.story()
    );
}

#[test]
fn create_fails_whatever_it_cannot_write() {
    only!(Runw; "others keep other files, and have other words");
    let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let c = Bundle::sleeper().set("linux.seccomp", profile);
    let small = Small::new(&c, "size=64k,nr_inodes=24");
    // The more files can be made, the later it fails; none of them has room for a byte.
    for inodes in 0..6 {
        small.fill(inodes);
        let output = small.within(c.call("create")).output().exits(1);
        tells_of_no_space(&output);
        assert_eq!(small.ids(), "", "{}", output.story());
        c.assert_no_trace();
    }
    // One page of room for each file in turn.
    for pages in 1..8 {
        small.fill(12);
        small.sh(&format!(
            "truncate -s -{} {}/.fill",
            pages * 4096,
            c.state_root().display()
        ));
        let output = small.within(c.call("create")).output();
        if output.code == 0 {
            small.delete();
            return;
        }
        tells_of_no_space(&output);
        assert_eq!(small.ids(), "", "{}", output.story());
        c.assert_no_trace();
    }
    panic!("seven pages are not enough for a container");
}

#[test]
fn who_runs_needs_no_room() {
    except!(Runc, Crun; "runc and crun write their state anew");
    let c = Bundle::sleeper();
    let small = Small::new(&c, "size=64k,nr_inodes=24");
    let created = small.within(c.call("create")).output().ok();
    small.fill(0);
    let call = |verb: &str, after: &[&str]| small.within(c.call(verb).after(after)).output();
    call("start", &[]).ok();
    eventually("the payload to be ready", || created.stdout_now().contains("ready"));
    assert_eq!(call("exec", &["echo", "hello"]).ok().stdout, "hello\n");
    if Cgroups::host().has("pids") {
        call("update", &["--pids-limit", "77"]).ok();
        assert_eq!(c.cgroup_file("pids", "pids.max"), "77");
    }
    for (verb, status) in [("pause", "paused"), ("resume", "running")] {
        call(verb, &[]).ok();
        assert_eq!(call("state", &[]).json()["status"], status);
    }
    let pids: Value = call("ps", &["--format", "json"]).json();
    assert_eq!(pids, serde_json::json!([c.pid()]));
    call("kill", &["KILL"]).ok();
    c.wait();
    call("delete", &[]).ok();
    assert_eq!(small.ids(), "");
    c.assert_no_trace();
}

#[test]
fn a_pid_file_without_room() {
    except!(Runc, Crun; "they have other words");
    let c = Bundle::sleeper();
    let small = Small::new(&c, "size=64k,nr_inodes=24");
    let pid_file = c.state_root().join(".pid");
    small.within(c.call("create")).output().ok();
    small.within(c.call("start")).output().ok();
    small.fill(1);
    let exec = c.call("exec").flag("--detach").flag("--pid-file").flag(pid_file);
    let output = small.within(exec.after(&["sleep", "1000"])).output().exits(255);
    tells_of_no_space(&output);
    let pids = small.within(c.call("ps").after(&["--format", "json"])).output().json();
    assert_eq!(pids, serde_json::json!([c.pid()]));
    small.delete();
}

#[test]
fn a_checkpoint_without_room_leaves_the_container_alone() {
    needs!(criu_works(); "CRIU");
    except!(Runc, Crun; "their words are CRIU's");
    let c = counter();
    launch_counter(&c);
    // The images go where there is no room, the state stays where it was.
    let images = c.scrap_folder("images");
    let no_room = format!("mount -t tmpfs -o size=64k tmpfs {}", images.display());
    let output = checkpoint(&c).among_own_mounts(&no_room).output().exits(1);
    let lines = output.stderr.lines().count();
    assert_eq!(lines, 1, "{}", output.story());
    assert!(
        output.stderr.to_lowercase().contains("no space left on device"),
        "{}",
        output.story()
    );
    assert_eq!(c.status(), "running");
    c.delete_force().ok();
    c.assert_no_trace();
}
