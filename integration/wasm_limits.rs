//! Limits of a WASI guest: too much memory fails inside the guest, and the other controllers apply as for any program.

use crate::harness::{Bundle, Cgroups, eventually, guest, wat};

const MIB: u64 = 1 << 20;

fn limited(c: Bundle, mib: u64) -> Bundle {
    let limit = mib * MIB;
    let c = c.set("linux.resources.memory.limit", limit);
    // Without a limit for both the kernel would write the guest's pages to swap instead.
    c.set("linux.resources.memory.swap", limit)
}

#[test]
fn memory_grow_fails_before_the_kernel_kills() {
    only!(Runw; "modules are run by our own engine");
    needs!(Cgroups::host().has("memory"); "a memory controller");
    for mib in [16, 64, 200] {
        let output = limited(guest("grow"), mib).run_as_is().ok();
        let got: u64 = output.stdout.trim().parse().unwrap();
        // Most of the limit is the guest's, the rest is the engine's.
        assert!(
            got < mib && got + 12 > mib * 15 / 16,
            "{got} of {mib} MiB: {}",
            output.story()
        );
    }
}

#[test]
fn the_other_controllers_apply_as_for_any_program() {
    only!(Runw; "modules are run by our own engine");
    let mut c = guest("view").args(&["/view.wasm", "spin"]);
    let host = Cgroups::host();
    if host.has("pids") {
        c = c.set("linux.resources.pids.limit", 1);
    }
    if host.has("cpu") {
        c = c
            .set("linux.resources.cpu.quota", 20_000)
            .set("linux.resources.cpu.period", 100_000);
    }
    c.launch_ready();
    if host.has("pids") {
        assert_eq!(c.cgroup_file("pids", "pids.current"), "1", "the engine has one thread");
        assert_eq!(c.cgroup_file("pids", "pids.max"), "1");
    }
    let stat = || c.cgroup_file("cpu", "cpu.stat");
    needs!(host.has("cpu"); "a CPU controller");
    eventually("a busy guest to be throttled", || {
        stat()
            .lines()
            .any(|line| line.starts_with("nr_throttled ") && line != "nr_throttled 0")
    });
    c.kill("TERM").ok();
    assert_eq!(c.wait(), 143);
}

#[test]
fn without_a_limit_a_guest_gets_what_it_asks_for() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("grow");
    c.run(&["/grow.wasm", "4800"]).prints("300\n");
}

#[test]
fn a_limit_below_the_modules_own_memory_is_told_at_create() {
    only!(Runw; "modules are run by our own engine");
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let c = limited(wat(r#"(module (memory 512) (func (export "_start")))"#), 24);
    let output = c
        .call("create")
        .output()
        .fails("bytes are too few for this module and its engine, set at least ");
    assert!(
        output.stderr.contains("linux.resources.memory.limit"),
        "{}",
        output.story()
    );
    c.assert_no_trace();
}
