//! `exec` of a module into any container, and of a native program into one that was made for a module.

use std::fs;

use crate::harness::{Act, Bundle, Payload, Terminal};

/// A native container whose root holds a module.
fn native() -> Bundle {
    let c = Bundle::sleeper();
    Payload::put_module(&c);
    c.up()
}

#[test]
fn a_module_in_a_native_container() {
    only!(Runw; "modules are run by our own engine");
    let c = native();
    c.exec(&[], &["/acts.wasm", "print", "from the module"])
        .output()
        .prints("from the module\n");
    c.exec(&[], &["/acts.wasm", "exit", "7"]).output().exits(7);
    c.exec(&["-e", "WHO=me"], &["/acts.wasm", "env", "WHO"])
        .output()
        .prints("me\n");
    c.exec(&[], &["/acts.wasm", "copy"])
        .stdin("typed\n")
        .output()
        .prints("typed\n");
    c.exec_sh(&[], "echo native").prints("native\n");
}

#[test]
fn a_module_in_a_container_of_modules() {
    only!(Runw; "modules are run by our own engine");
    let c = Payload::Wasm.bundle(&Act::Sleep).up();
    c.exec(&[], &["/acts.wasm", "print", "beside"])
        .output()
        .prints("beside\n");
    let output = c.exec(&[], &["sh"]).output().exits(255);
    assert!(
        output.stderr.contains("executable file not found in $PATH"),
        "{}",
        output.story()
    );
}

#[test]
fn a_native_program_in_a_container_of_a_module() {
    only!(Runw; "modules are run by our own engine");
    let c = Bundle::busybox();
    Payload::put_module(&c);
    let c = Payload::Wasm
        .then(c, &Act::Sleep)
        .set("annotations", serde_json::json!({ "run.oci.handler": "wasm" }))
        .up();
    c.exec_sh(&[], "echo $$ > /pid; cat /proc/1/comm").ok();
    assert_ne!(fs::read_to_string(c.in_rootfs("/pid")).unwrap().trim(), "1");
}

#[test]
fn a_detached_module_is_reaped_and_signalled_like_any_process() {
    only!(Runw; "modules are run by our own engine");
    let c = native();
    let process = c.detached(c.exec(&["-d"], &["/acts.wasm", "exit", "9"]));
    assert_eq!(process.wait(), 9);
    let process = c.detached(c.exec(&["-d"], &["/acts.wasm", "sleep", ""]));
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    assert_eq!(cgroup, fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(process.pid()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(process.wait(), 143);
}

#[test]
fn a_module_on_a_terminal() {
    only!(Runw; "modules are run by our own engine");
    let c = native();
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["/acts.wasm", "print", "on a terminal"]), 24, 80);
    terminal.until("on a terminal\r\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_broken_module_is_told() {
    only!(Runw; "modules are run by our own engine");
    let c = native();
    fs::write(c.in_rootfs("/broken.wasm"), b"\0asm\x01\0\0\0junk").unwrap();
    let output = c.exec(&[], &["/broken.wasm"]).output().exits(255);
    assert!(output.stderr.contains("/broken.wasm"), "{}", output.story());
    fs::write(c.in_rootfs("/component.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let output = c.exec(&[], &["/component.wasm"]).output().exits(255);
    assert!(output.stderr.contains("components"), "{}", output.story());
}
