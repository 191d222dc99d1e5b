//! Docker's default config.json, whole: what most containers in the world are made from.

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout};

#[test]
fn it_runs() {
    Bundle::docker()
        .run(&["sh", "-c", "echo from $(hostname); exit 3"])
        .exits(3);
}

#[test]
fn its_mounts_are_all_there() {
    let output = Bundle::docker().run_sh("cut -d' ' -f5 /proc/self/mountinfo").ok();
    for place in [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/proc/keys",
    ] {
        assert!(
            output.stdout.lines().any(|line| line == place),
            "{place}: {}",
            output.stdout
        );
    }
}

#[test]
fn its_devices_and_links_are_there() {
    let script = "cd /dev; for d in null zero full random urandom tty; do [ -c $d ] || echo no $d; done
        for l in fd stdin stdout stderr ptmx; do [ -L $l ] && echo $l $(readlink $l); done; stat -c %a null tty pts";
    let expected = "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n666\n666\n755\n";
    Bundle::docker().run_sh(script).prints(expected);
}

#[test]
fn its_profile_denies_what_it_should() {
    let script = "unshare -n true 2>/dev/null || echo no unshare; mount -t tmpfs x /mnt 2>/dev/null || echo no mount";
    Bundle::docker()
        .folder("/mnt")
        .run_sh(script)
        .prints("no unshare\nno mount\n");
}

#[test]
fn its_capabilities_are_the_fourteen() {
    Bundle::docker()
        .run_sh("grep CapEff /proc/self/status")
        .prints("CapEff:\t00000000a80425fb\n");
}

#[test]
fn its_sysctls_take_effect() {
    Bundle::docker()
        .run(&["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])
        .prints("0\n");
}

#[test]
fn its_masks_hide_and_its_readonly_paths_hold() {
    let script =
        "wc -c </proc/keys; ls /sys/firmware | wc -l; echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused";
    Bundle::docker().run_sh(script).prints("0\n0\nrefused\n");
}

#[test]
fn its_lifecycle() {
    let c = Bundle::docker().sh("trap 'exit 143' TERM; echo ready; while :; do sleep 1; done");
    c.launch_ready();
    c.kill("15").ok();
    assert_eq!(c.wait(), 143);
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn its_limits_as_docker_run_sets_them() {
    needs!(Cgroups::host().layout() == Layout::V1; "a v1 host");
    let c = Bundle::docker().set(
        "linux.resources",
        json!({
            "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }],
            "memory": { "limit": 67_108_864, "swap": 134_217_728 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1" },
            "pids": { "limit": 100 },
            "blockIO": {},
        }),
    );
    let c = c.sh("sleep 1000");
    c.launch();
    assert_eq!(c.cgroup_file("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(c.cgroup_file("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(c.cgroup_file("pids", "pids.max"), "100");
    assert_eq!(c.cgroup_file("cpuset", "cpuset.cpus"), "0-1");
}
