//! What ps(1) and `/proc` show of a module's process: the module, not the runtime that runs it.

use std::fs;

use crate::harness::{Act, Bundle, Payload, guest};

/// Prints name, command line and environment of its own process.
const LOOK: [&str; 4] = [
    "/view.wasm",
    "read=/proc/self/comm",
    "read=/proc/self/cmdline",
    "read=/proc/self/environ",
];
const SEEN: &str = "view.wasm\n/view.wasm\0read=/proc/self/comm\0read=/proc/self/cmdline\0read=/proc/self/environ\0";

fn shown(pid: i32, what: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap()
}

#[test]
fn the_module_and_its_arguments() {
    only!(Runw; "modules are run by our own engine");
    let c = Payload::Wasm.bundle(&Act::Sleep);
    c.launch_ready();
    assert_eq!(shown(c.pid(), "cmdline"), "/acts.wasm\0sleep\0\0");
    assert_eq!(shown(c.pid(), "comm"), "acts.wasm\n");
    c.call("ps").output().shows(" /acts.wasm sleep");
    let comm = c.call("ps").after(&["-e", "-o", "pid,comm"]).output().ok();
    assert!(comm.stdout.trim_end().ends_with(" acts.wasm"), "{}", comm.story());
}

/// Longer than the runtime's own command line, than a page, and than the 15 bytes of a name.
#[test]
fn as_long_as_they_are() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::busybox();
    Payload::put_module(&c);
    fs::rename(c.in_rootfs("/acts.wasm"), c.in_rootfs("/a-name-of-20-bytes.m")).unwrap();
    let long = "x y\n".repeat(25_000);
    let c = c.args(&["/a-name-of-20-bytes.m", "sleep", "", &long]);
    c.launch_ready();
    let expected = format!("/a-name-of-20-bytes.m\0sleep\0\0{long}\0");
    assert!(shown(c.pid(), "cmdline") == expected);
    assert_eq!(shown(c.pid(), "comm"), "a-name-of-20-by\n");
}

/// The runtime's environment is none of the guest's business.
#[test]
fn neither_arguments_nor_environment_of_the_runtime() {
    only!(Runw; "modules are run by our own engine");
    for c in [
        guest("view"),
        guest("view").user_namespace(100_000, 65_536),
        guest("view")
            .set("process.user.uid", 1000)
            .set("process.user.gid", 1000),
        guest("view")
            .without("process.capabilities")
            .set("process.noNewPrivileges", true),
    ] {
        let output = c.call("run").env("SECRET", "of-the-host").runs(&LOOK).output();
        let output = output.hides("of-the-host");
        // Not being root, it may not read its own environment.
        assert!(output.stdout.starts_with(SEEN), "{}", output.story());
    }
}

/// Docker's, and one that forbids to say it.
#[test]
fn under_filters() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::docker();
    fs::copy(crate::harness::module("view"), c.in_rootfs("/view.wasm")).unwrap();
    c.run(&LOOK).prints(SEEN);
    let filter = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["prctl"], "action": "SCMP_ACT_ERRNO"}],
    });
    guest("view").set("linux.seccomp", filter).run(&LOOK).prints(SEEN);
}

#[test]
fn without_proc_in_the_container() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("acts").without_mount("/proc").args(&["/acts.wasm", "sleep", ""]);
    c.launch_ready();
    assert_eq!(shown(c.pid(), "cmdline"), "/acts.wasm\0sleep\0\0");
}

#[test]
fn of_a_further_process() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::sleeper();
    Payload::put_module(&c);
    fs::copy(crate::harness::module("view"), c.in_rootfs("/view.wasm")).unwrap();
    let c = c.up();
    let output = c.exec(&["--env", "A=1"], &LOOK).env("SECRET", "of-the-host").output();
    output.prints(SEEN);
    let process = c.detached(c.exec(&["--detach"], &["/acts.wasm", "sleep", "further"]));
    c.call("ps").output().shows(" /acts.wasm sleep further");
    assert_eq!(shown(process.pid(), "comm"), "acts.wasm\n");
}
