//! What scripts written for runc look for: words of errors, of the debug log and of the help, and what init holds open.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Bundle, Cgroups, Kind, runtime};

#[test]
fn memory_policies_that_make_no_sense() {
    except!(Runc, Crun; "runc 1.1 and crun 1.21 know no memory policies");
    for (policy, words) in [
        (json!({}), "invalid memory policy mode"),
        (json!({ "nodes": "0" }), "invalid memory policy mode"),
        (json!({ "mode": "BIND", "nodes": "0" }), "invalid memory policy mode"),
        (
            json!({ "mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "x"] }),
            "invalid memory policy flag",
        ),
        (
            json!({ "mode": "MPOL_LOCAL", "nodes": "0-3" }),
            "mode requires 0 nodes but got 4",
        ),
        (
            json!({ "mode": "MPOL_INTERLEAVE" }),
            "mode requires at least one node but got 0",
        ),
        (
            json!({ "mode": "MPOL_BIND", "nodes": "0-99999999999" }),
            "invalid memory policy nodes",
        ),
    ] {
        let c = Bundle::busybox().set("linux.memoryPolicy", policy);
        c.run(&["true"]).fails(words).at("linux.memoryPolicy");
        c.assert_no_trace();
    }
}

#[test]
fn a_deadline_on_a_part_of_the_cpus() {
    except!(Runc, Crun; "runc 1.1 knows no scheduler, crun has other words");
    needs!(Cgroups::host().has("cpuset"); "a cpuset controller");
    let scheduler = json!({ "policy": "SCHED_DEADLINE", "runtime": 50_000, "deadline": 900_000, "period": 900_000 });
    let c = Bundle::busybox()
        .set("process.scheduler", scheduler)
        .set("linux.resources.cpu", json!({ "cpus": "0" }));
    c.run(&["true"])
        .fails("process scheduler can't be used together with AllowedCPUs");
    c.assert_no_trace();
}

/// Without a log the debug lines are records on stderr, in the form asked for.
#[test]
fn debug_lines() {
    except!(Crun; "crun has lines of its own");
    let flags = match runtime().kind {
        Kind::Runw => json!(["SECCOMP_FILTER_FLAG_LOG"]),
        _ => Value::Null,
    };
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags,
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] });
    let c = Bundle::busybox().set("linux.seccomp", profile);
    let call = || c.call("run").runs(&["true"]).global("--debug");
    let text = call().output().ok().stderr;
    assert!(text.lines().all(|line| line.starts_with("time=\"")), "{text}");
    assert!(text.contains("level=debug msg="), "{text}");
    if runtime().kind == Kind::Runw {
        assert!(text.contains("msg=\"seccomp filter flags: 2\""), "{text}");
    }
    let text = call().global("--log-format").global("json").output().ok().stderr;
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        !records.is_empty() && records.iter().all(|record| record["level"] == "debug"),
        "{text}"
    );
    let text = call().global("--log").global(c.scrap("log")).output().ok().stderr;
    assert_eq!(text, "", "with a log it is the container's own stream");
}

/// The program's stderr is also where the kernel's refusal to execute it is told, in one plain line.
#[test]
fn a_program_that_cannot_be_executed() {
    except!(Runc, Crun; "runc 1.1 and crun have a log line instead");
    let c = Bundle::busybox().file("/program", "#!/no/such/interpreter\n");
    std::fs::set_permissions(c.in_rootfs("program"), PermissionsExt::from_mode(0o755)).unwrap();
    let output = c.run(&["/program"]);
    assert_ne!(output.code, 0);
    assert_eq!(output.stderr, "exec /program: no such file or directory\n");
    c.assert_no_trace();
}

#[test]
fn help_begins_with_the_name() {
    except!(Crun; "crun's help has another form");
    let c = Bundle::busybox();
    for verb in ["create", "exec", "delete"] {
        let text = c
            .call(verb)
            .no_id()
            .no_bundle_flag()
            .no_pid_file()
            .flag("-h")
            .output()
            .ok()
            .stdout;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let name = runtime().path.file_name().unwrap().to_str().unwrap();
        assert_eq!(lines[0], "NAME:", "{text}");
        assert!(lines[1].starts_with(&format!("{name} {verb} - ")), "{text}");
    }
    let call = c.call("polish").no_id().flag("-h");
    let output = call.output();
    assert_ne!(output.code, 0);
    assert!(
        output.stderr.contains("No help topic for 'polish'"),
        "{}",
        output.story()
    );
}

/// The descriptors of an init that waits for `start`: whatever leads to files of the host could lead the container out.
#[test]
fn init_holds_no_files_of_the_host() {
    except!(Crun; "crun keeps the state folder open");
    let c = Bundle::sleeper();
    c.create().ok();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", c.pid())).unwrap() {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).unwrap();
        let target = target.to_str().unwrap();
        // The case's own files are the standard streams.
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let no_file = ["socket:", "pipe:", "anon_inode:", "/memfd:"]
            .iter()
            .any(|kind| target.starts_with(kind));
        let inside = matches!(target, "/" | "/proc" | "/dev/null");
        assert!(
            number < 3 || no_file || inside || target.ends_with("/exec.fifo"),
            "{number} leads to {target}"
        );
    }
    c.start().ok();
    assert_eq!(c.state()["status"], "running");
}
