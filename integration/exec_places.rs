//! Where a process of `exec` comes in: namespaces, cgroups, paused containers; and what its end leaves.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout, alive, eventually};

fn running() -> Bundle {
    Bundle::sleeper().up()
}

#[test]
fn it_is_in_the_cgroups_of_the_container() {
    let c = running();
    let inits = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let process = c.exec_detached("sleep 1000");
    assert_eq!(
        fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap(),
        inits
    );
}

#[test]
fn a_cgroup_below_the_containers() {
    except!(Crun; "crun has another form of it");
    let host = Cgroups::host();
    let c = running();
    for folder in host.folders(&format!("{}/sub", c.cgroup_path())) {
        let _ = fs::create_dir(&folder);
        for file in ["cpuset.mems", "cpuset.cpus"] {
            if let Ok(text) = fs::read(folder.parent().unwrap().join(file)) {
                let _ = fs::write(folder.join(file), text);
            }
        }
    }
    let path = format!("{}/sub", c.cgroup_path());
    let process = c.detached(c.exec(&["-d", "--cgroup", "sub"], &["sleep", "1000"]));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    let mut lines = text.lines();
    match host.layout() {
        Layout::V2 => assert!(lines.any(|l| l == format!("0::{path}")), "{text}"),
        // runc leaves the unified hierarchy of a hybrid host alone.
        Layout::V1 => assert!(lines.all(|l| l.starts_with("0::") || l.ends_with(&path)), "{text}"),
    }
}

#[test]
fn one_controllers_cgroup() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("memory") && Cgroups::host().has("pids"); "cgroup v1");
    except!(Crun; "crun has another form of it");
    let c = running();
    let path = format!("{}/sub", c.cgroup_path());
    fs::create_dir(Cgroups::host().folder("memory", &path)).unwrap();
    let process = c.detached(c.exec(&["-d", "--cgroup", "memory:sub"], &["sleep", "1000"]));
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    let line = |controller: &str| {
        text.lines()
            .find(|l| l.contains(&format!(":{controller}:")))
            .unwrap()
            .to_owned()
    };
    assert!(line("memory").ends_with(&path), "{text}");
    assert!(line("pids").ends_with(&c.cgroup_path()), "{text}");
}

#[test]
fn no_cgroup_outside_of_the_containers() {
    let c = running();
    for path in ["..", "../x", "sub/../..", "/../../x", "no-such-cgroup"] {
        let output = c.exec_sh(&["--cgroup", path], "true");
        assert!(output.code != 0, "{path}: {}", output.story());
        let words = match path {
            "no-such-cgroup" => "/no-such-cgroup/cgroup.procs: no such file or directory",
            _ => "is not a sub cgroup path",
        };
        except!(Crun; "crun words it in its own way");
        assert!(output.stderr.contains(words), "{}", output.story());
    }
}

#[test]
fn init_has_moved_to_a_cgroup_of_its_own() {
    // On cgroup v2 the container's folder can become an inner node, which takes no processes.
    needs!(Cgroups::host().layout() == Layout::V2; "cgroup v2");
    needs!(Cgroups::host().has("hugetlb"); "a controller");
    except!(Crun; "crun looks elsewhere");
    let c = running();
    let folder = Cgroups::host().folder("hugetlb", &c.cgroup_path());
    fs::create_dir(folder.join("init")).unwrap();
    fs::write(folder.join("init/cgroup.procs"), c.pid().to_string()).unwrap();
    fs::write(folder.join("cgroup.subtree_control"), "+hugetlb").unwrap();
    let process = c.exec_detached("sleep 1000");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    assert!(text.trim().ends_with(&format!("{}/init", c.cgroup_path())), "{text}");
}

#[test]
fn a_user_namespace() {
    let c = Bundle::sleeper().user_namespace(100_000, 65536).up();
    let output = c
        .exec_sh(&["-u", "5:6"], "id -u; id -g; readlink /proc/self/ns/user")
        .ok();
    let inits = fs::read_link(format!("/proc/{}/ns/user", c.pid())).unwrap();
    assert_eq!(output.stdout, format!("5\n6\n{}\n", inits.display()));
    let process = c.exec_detached("sleep 1000");
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    c.exec_sh(&["-u", "70000"], "true").exits(255);
}

#[test]
fn a_time_namespace() {
    except!(Runc, Crun; "runc 1.1 has none");
    needs!(std::path::Path::new("/proc/self/ns/time").exists(); "time namespaces");
    let c = Bundle::sleeper()
        .namespace("time", None)
        .set("linux.timeOffsets", json!({ "boottime": { "secs": 1_000_000 } }))
        .up();
    let output = c.exec_sh(&[], "cut -d. -f1 /proc/uptime").ok();
    assert!(output.text().parse::<u64>().unwrap() >= 1_000_000, "{}", output.story());
}

#[test]
fn a_cgroup_namespace() {
    let c = Bundle::sleeper().namespace("cgroup", None).up();
    c.exec_sh(&[], "grep -v ':/$' /proc/self/cgroup || echo all")
        .shows("all");
}

#[test]
fn a_shared_pid_namespace() {
    let c = Bundle::sleeper().without_namespace("pid").up();
    let process = c.exec_detached("echo $$ > /pid; exec sleep 1000");
    eventually("the pid", || {
        fs::read_to_string(c.in_rootfs("/pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    assert_eq!(
        fs::read_to_string(c.in_rootfs("/pid")).unwrap().trim(),
        process.pid().to_string()
    );
}

#[test]
fn without_a_mount_namespace_the_root_is_the_containers() {
    except!(Runc, Crun; "runc would run it in the host's root");
    let c = Bundle::sleeper()
        .without_namespace("mount")
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths")
        .config(|spec| spec["mounts"] = json!([]))
        .file("/only-here", "")
        .up();
    c.exec_sh(&[], "ls -d /only-here && pwd").prints("/only-here\n/\n");
}

#[test]
fn a_paused_container_takes_none() {
    needs!(Cgroups::host().layout() == Layout::V2 || Cgroups::host().has("freezer"); "a freezer");
    except!(Crun; "crun starts it all the same");
    let c = running();
    c.call("pause").output().ok();
    let output = c.exec_sh(&[], "true").exits(255);
    assert!(
        output.stderr.contains("cannot exec in a paused container"),
        "{}",
        output.story()
    );
    let call = c.exec(&["--ignore-paused"], &["sh", "-c", "echo went on"]).spawn();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(call.stdout_now(), "");
    c.call("resume").output().ok();
    call.wait().prints("went on\n");
}

#[test]
fn the_end_of_init_ends_it() {
    let c = running();
    let call = c.exec(&[], &["sh", "-c", "echo in; sleep 1000"]).spawn();
    eventually("the process", || call.stdout_now().contains("in"));
    c.kill("KILL").ok();
    call.wait().exits(137);
    assert_eq!(c.wait(), 137);
}

#[test]
fn a_process_that_nobody_has_reaped_does_not_hold_up_a_delete() {
    except!(Runc, Crun; "runc waits 10 s and gives up");
    let c = running();
    let process = c.exec_detached("exit 3");
    process.until_zombie();
    c.delete_force().ok();
    assert_eq!(process.wait(), 3);
    c.assert_no_trace();
}

#[test]
fn killed_meanwhile_a_process_that_nobody_has_reaped_does_not_hold_up_a_delete() {
    except!(Runc, Crun; "runc waits 10 s and gives up");
    let c = running();
    let process = c.exec_detached("sleep 1000");
    c.delete_force().ok();
    assert!(!alive(process.pid()));
    assert_eq!(process.wait(), 137);
    c.assert_no_trace();
}

#[test]
fn nothing_of_it_is_left() {
    let c = running();
    let mounts = || fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
    let (before, hosts) = (mounts(), fs::read_to_string("/proc/self/mountinfo").unwrap());
    let state = |c: &Bundle| fs::read_dir(c.state_root().join(c.id())).unwrap().count();
    let files = state(&c);
    c.exec_sh(&[], "exit 1").exits(1);
    c.exec(&[], &["no-such-program"]).output().exits(255);
    assert_eq!(mounts(), before);
    assert_eq!(state(&c), files);
    let ours = |text: &str| text.lines().filter(|l| l.contains(c.id())).count();
    assert_eq!(ours(&fs::read_to_string("/proc/self/mountinfo").unwrap()), ours(&hosts));
    assert_eq!(c.status(), "running");
}

#[test]
fn a_user_without_privileges() {
    only!(Runw; "others need other flags for it");
    let c = Bundle::busybox();
    let folder = c.scrap_folder("rootless");
    let bundle = folder.join("bundle");
    fs::create_dir(&bundle).unwrap();
    let shell = |script: &str| {
        let words = [
            "--reuid",
            "1000",
            "--regid",
            "1000",
            "--clear-groups",
            "sh",
            "-ec",
            script,
            "sh",
        ];
        let runtime = folder.join("runw");
        let call = Command::new("setpriv")
            .args(words)
            .arg(runtime)
            .current_dir(&bundle)
            .stdin(Stdio::null())
            .output();
        let call = call.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (call.status.code(), text(&call.stdout), text(&call.stderr))
    };
    fs::copy(&crate::harness::runtime().path, folder.join("runw")).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(c.rootfs())
        .arg(bundle.join("rootfs"))
        .status();
    assert!(copied.unwrap().success());
    let given = Command::new("chown").args(["-R", "1000:1000"]).arg(&folder).status();
    assert!(given.unwrap().success());
    assert_eq!(shell("\"$1\" spec --rootless").0, Some(0));
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sleep", "1000"]);
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    let run = shell("\"$1\" --root ../state run --detach c >run.log 2>&1 || { cat run.log; exit 1; }");
    assert_eq!(run.0, Some(0), "{run:?}");
    let exec = shell("\"$1\" --root ../state exec c sh -c 'id -u; [ $$ != 1 ] && kill -0 1 && exit 4'");
    let missing = shell("\"$1\" --root ../state exec c nope");
    assert_eq!(shell("\"$1\" --root ../state delete --force c").0, Some(0));
    assert_eq!((exec.0, exec.1.as_str()), (Some(4), "0\n"), "{exec:?}");
    assert_eq!(missing.0, Some(255));
    assert!(missing.2.contains("executable file not found in $PATH"), "{missing:?}");
}
