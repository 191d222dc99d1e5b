//! What a process of `exec` is and may do.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, ConsoleSocket, eventually};

/// The five sets as /proc shows them, in the order inheritable, permitted, effective, bounding, ambient.
const SHOW_CAPABILITIES: &str = "grep ^Cap /proc/self/status | cut -f2 | sed 's/^0*//;s/^$/0/' | tr '\\n' ' '";

fn running() -> Bundle {
    Bundle::sleeper().up()
}

fn deny(names: &[&str], action: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": names, "action": action }] })
}

#[test]
fn capabilities_are_the_containers() {
    let c = Bundle::sleeper().capabilities(&["CAP_CHOWN", "CAP_KILL"]).up();
    c.exec_sh(&[], SHOW_CAPABILITIES).prints("0 21 21 21 0 ");
}

#[test]
fn capabilities_can_be_added() {
    let c = Bundle::sleeper().capabilities(&["CAP_CHOWN"]).up();
    c.exec_sh(&["-c", "CAP_KILL", "-c", "CAP_SYSLOG"], SHOW_CAPABILITIES)
        .prints("0 400000021 400000021 400000021 0 ");
}

#[test]
fn cve_2022_29162_nothing_is_inheritable() {
    let c = Bundle::sleeper().capabilities(&["CAP_CHOWN"]).up();
    c.exec_sh(&["-c", "CAP_SYS_ADMIN", "-u", "1000:1000"], SHOW_CAPABILITIES)
        .prints("0 0 0 200001 0 ");
}

#[test]
fn a_document_has_its_own_capabilities() {
    let c = Bundle::sleeper().capabilities(&["CAP_CHOWN", "CAP_KILL"]).up();
    let sets = json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] });
    c.exec_document(SHOW_CAPABILITIES, json!({ "capabilities": sets }))
        .prints("0 20 20 20 0 ");
    c.exec_document(SHOW_CAPABILITIES, json!({})).prints("0 21 21 21 0 ");
}

#[test]
fn no_new_privileges() {
    let c = Bundle::sleeper().set("process.noNewPrivileges", false).up();
    let show = "grep NoNewPrivs /proc/self/status";
    c.exec_sh(&[], show).prints("NoNewPrivs:\t0\n");
    c.exec_sh(&["--no-new-privs"], show).prints("NoNewPrivs:\t1\n");
    c.exec_document(show, json!({ "noNewPrivileges": true }))
        .prints("NoNewPrivs:\t1\n");
}

#[test]
fn seccomp_is_the_containers() {
    for privileges in [true, false] {
        let c = Bundle::sleeper()
            .set("linux.seccomp", deny(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"))
            .set("process.noNewPrivileges", privileges)
            .up();
        c.exec_sh(
            &[],
            "mkdir /x 2>/dev/null || echo denied; grep ^Seccomp: /proc/self/status",
        )
        .prints("denied\nSeccomp:\t2\n");
    }
}

#[test]
fn the_seccomp_agent_gets_each_process() {
    except!(Crun; "crun does not pass exec's on");
    let mut profile = deny(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
    let c = Bundle::sleeper();
    let socket = ConsoleSocket::listen(&c.scrap("agent.sock"));
    profile["listenerPath"] = json!(socket.path());
    profile["listenerMetadata"] = json!("some words");
    let c = c.set("linux.seccomp", profile);
    let (init, exec) = std::thread::scope(|scope| {
        let agent = scope.spawn(|| (socket.receive(), socket.receive()));
        c.launch_ready();
        let process = c.exec_detached("mkdir /x; sleep 1000");
        let (init, exec) = agent.join().unwrap();
        let state: Value = serde_json::from_str(&exec.0).unwrap();
        assert_eq!(state["pid"], process.pid());
        assert_eq!(state["state"]["pid"], c.pid());
        (init, (state, exec.1))
    });
    assert_eq!((init.1.len(), exec.1.len()), (1, 1));
    assert_eq!(exec.0["metadata"], "some words");
    assert_eq!(exec.0["fds"], json!(["seccompFd"]));
    assert_eq!(exec.0["state"]["id"], c.id());
    assert_eq!(exec.0["state"]["status"], "running");
}

#[test]
fn rlimits() {
    let c = running();
    c.exec_sh(&[], "ulimit -n").prints("1024\n");
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    c.exec_document("ulimit -Sn; ulimit -Hn", json!({ "rlimits": limits }))
        .prints("100\n200\n");
    except!(Runc; "runc 1.1 passes the caller's on");
    c.exec_document("ulimit -n", json!({})).prints("1024\n");
}

#[test]
fn umask_and_oom_score() {
    let c = Bundle::sleeper()
        .set("process.user.umask", 0o27)
        .set("process.oomScoreAdj", 345)
        .up();
    let score = "cat /proc/self/oom_score_adj";
    c.exec_sh(&[], score).prints("345\n");
    c.exec_document(score, json!({})).prints("345\n");
    except!(Runc; "runc 1.1 has a umask of its own");
    c.exec_sh(&[], "umask").prints("0027\n");
    c.exec_document("umask", json!({})).prints("0027\n");
}

#[test]
fn scheduler_and_io_priority() {
    except!(Runc, Crun; "runc 1.1 knows neither");
    let c = running();
    let more = json!({
        "scheduler": { "policy": "SCHED_BATCH", "nice": 5 },
        "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 },
    });
    let output = c.exec_document("cut -d' ' -f19,41 /proc/self/stat; ionice", more).ok();
    assert!(output.stdout.starts_with("5 3\n"), "{}", output.story());
    assert!(output.stdout.contains("idle"), "{}", output.story());
}

#[test]
fn cpu_affinity() {
    except!(Runc, Crun; "runc has it since 1.3");
    let cpus = "grep ^Cpus_allowed_list /proc/self/status | cut -f2";
    let c = Bundle::sleeper()
        .set("process.execCPUAffinity", json!({ "initial": "0", "final": "0" }))
        .up();
    c.exec_sh(&[], cpus).prints("0\n");
    let all = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let all = all.trim().trim_start_matches("0-");
    if all != "0" {
        let affinity = json!({ "execCPUAffinity": { "final": all } });
        c.exec_document(cpus, affinity).prints(&format!("{all}\n"));
    }
    let bad = json!({ "execCPUAffinity": { "initial": "5000" } });
    let output = c.exec_document(cpus, bad).exits(255);
    assert!(output.stderr.contains("execCPUAffinity.initial"), "{}", output.story());
}

#[test]
fn without_an_affinity_the_callers_is_left() {
    except!(Runc, Crun; "runc does so since 1.3");
    let c = running();
    let all = c.exec_sh(&[], "grep ^Cpus_allowed_list /proc/self/status").ok();
    let bound = c
        .exec(&[], &["grep", "^Cpus_allowed_list", "/proc/self/status"])
        .before("taskset -p 1 $$ >/dev/null");
    bound.output().prints(&all.stdout);
}

#[test]
fn descriptors_of_the_caller() {
    let c = running();
    fs::write(c.scrap("kept"), "from the host\n").unwrap();
    let open = format!("exec 3<{} 4</dev/null 5</dev/zero", c.scrap("kept").display());
    let list = "cat <&3; ls /proc/self/fd | tr '\\n' ' '";
    let call = c.exec(&["--preserve-fds", "1"], &["sh", "-c", list]).before(&open);
    // `ls` has a descriptor of its own for the folder.
    call.output().prints("from the host\n0 1 2 3 4 ");
    let call = c
        .exec(&[], &["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"])
        .before(&open);
    call.output().prints("0 1 2 3 ");
}

#[test]
fn labels_without_their_module_are_refused() {
    let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    needs!(!apparmor.starts_with('Y') && !selinux; "a kernel without labels");
    except!(Crun; "crun passes over them");
    let c = running();
    c.exec_sh(&["--apparmor", "some-profile"], "true").exits(255);
    only!(Runw; "runc passes over labels of SELinux");
    let output = c
        .exec_sh(&["--process-label", "system_u:system_r:x_t:s0"], "true")
        .exits(255);
    assert!(output.stderr.contains("SELinux is not enabled"), "{}", output.story());
}

#[test]
fn the_working_directory_is_not_made() {
    let c = running();
    c.exec_sh(&["--cwd", "/no/such/folder"], "true").exits(255);
    assert!(!c.in_rootfs("/no").exists());
}

#[test]
fn cve_2024_21626_no_fd_of_the_host_as_cwd() {
    let c = running();
    for fd in 3..16 {
        let output = c.exec_sh(&["--cwd", &format!("/proc/self/fd/{fd}")], "ls ..");
        assert!(
            output.code != 0 || !output.stdout.contains("cgroup"),
            "fd {fd}: {}",
            output.story()
        );
    }
}

#[test]
fn cve_2019_5736_the_runtime_cannot_be_overwritten() {
    use std::os::unix::fs::MetadataExt;
    let program = || {
        let file = fs::metadata(&crate::harness::runtime().path).unwrap();
        (file.len(), file.mtime(), file.mtime_nsec())
    };
    let before = program();
    // A container that writes to the program of whatever process it sees, and starts the runtime as its own program.
    let attack = "echo ready; while :; do for p in /proc/[0-9]*; do { : >>$p/exe; } 2>/dev/null; done; done";
    let c = Bundle::busybox().symlink("/entry", "/proc/self/exe").sh(attack).up();
    for _ in 0..10 {
        let _ = c.exec(&[], &["/entry", "--version"]).output();
        let _ = c.exec_sh(&[], "true");
    }
    assert_eq!(program(), before);
}

#[test]
fn cve_2016_9962_the_newcomer_cannot_be_looked_into() {
    // One process of the container looks for others whose descriptors lead to the host, while new ones come in.
    let attack = "echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || ls -l $p/fd $p/exe; done; done 2>/dev/null";
    let c = Bundle::busybox().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    let c = c.user_namespace(100_000, 65536).sh(attack);
    let created = c.launch();
    eventually("the attack", || created.stdout_now().contains("ready"));
    for _ in 0..20 {
        c.exec(&[], &["true"]).output().ok();
    }
    let text = created.stdout_now();
    for part in [c.state_root().to_str().unwrap(), "/sys/fs/cgroup", "runw ->", "/runw\n"] {
        assert!(!text.contains(part), "{part}: {text}");
    }
}
