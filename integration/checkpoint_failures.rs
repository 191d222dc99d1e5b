//! What cannot be saved or restored: it is said why, and nothing is left or changed.

use std::fs;

use crate::checkpoint::{NO_STREAMS, checkpoint, counter, criu_works, restore};
use crate::harness::{Act, Bundle, Payload, eventually};

#[test]
fn only_what_runs_can_be_saved() {
    let c = Bundle::sleeper();
    c.create().ok();
    checkpoint(&c).output().fails("cannot be checkpointed in created state");
    c.kill("KILL").ok();
    c.wait();
    c.until("stopped");
    checkpoint(&c).output().fails("cannot be checkpointed in stopped state");
    assert!(!c.scrap("images/inventory.img").exists());
}

#[test]
fn wasm_is_refused() {
    only!(Runw; "modules are run by our own engine");
    let c = Payload::Wasm.bundle(&Act::Sleep);
    let started = c.run_detached().ok();
    eventually("the module to be ready", || started.stdout_now().contains("ready"));
    checkpoint(&c)
        .output()
        .fails("checkpoint is not supported for WebAssembly containers");
    assert_eq!(c.status(), "running");
    c.delete_force().ok();
    restore(&c)
        .output()
        .fails("restore is not supported for WebAssembly containers");
    c.assert_no_trace();
}

#[test]
fn a_failure_says_why_and_leaves_the_container_as_it_is() {
    only!(Runw; "the others name the log only");
    needs!(criu_works(); "CRIU");
    // A file of the host that is no standard stream. Not of sleep(1) as init: CRIU may end its nanosleep(2) with EINTR.
    let c = counter();
    let run = c.call("run").flag("--detach").flag("--preserve-fds").flag("1");
    let streams = format!("{NO_STREAMS} 2>&1 3</etc/passwd");
    run.before(&streams).output().ok();
    checkpoint(&c).output().fails("/etc/passwd");
    let failed = checkpoint(&c).output();
    assert!(failed.stderr.contains("work/dump.log"), "{}", failed.story());
    assert_eq!(c.status(), "running");
}

#[test]
fn no_images_nothing_left() {
    needs!(criu_works(); "CRIU");
    let c = counter();
    let missing = restore(&c).output();
    assert_eq!(missing.code, 1, "{}", missing.story());
    c.assert_no_trace();
    c.scrap_folder("images");
    let empty = restore(&c).output();
    assert_eq!(empty.code, 1, "{}", empty.story());
    fs::write(
        c.scrap("images/descriptors.json"),
        r#"["/dev/null","/dev/null","/dev/null"]"#,
    )
    .unwrap();
    let broken = restore(&c).output();
    assert_eq!(broken.code, 1, "{}", broken.story());
    c.assert_no_trace();
}

#[test]
fn parents_of_images_are_relative() {
    let c = Bundle::sleeper();
    c.launch();
    let with_parent = |path: &str| checkpoint(&c).flag("--parent-path").flag(path).output();
    with_parent("/tmp").fails("--parent-path must be relative");
    with_parent("../nothing").fails("invalid --parent-path");
    checkpoint(&c)
        .flag("--page-server")
        .flag("nowhere")
        .output()
        .fails("--page-server ADDRESS:PORT");
}
