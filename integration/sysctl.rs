//! `linux.sysctl`: what a container may set, and what stays the host's.

use serde_json::json;

use crate::harness::Bundle;

#[test]
fn sysctls_of_own_namespaces() {
    let c = Bundle::busybox().set(
        "linux.sysctl",
        json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1" }),
    );
    c.run_sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced")
        .prints("1\n1\n");
    let c = Bundle::busybox().set(
        "linux.sysctl",
        json!({ "fs.mqueue.msg_max": "33", "net/ipv4/conf/lo/forwarding": "1" }),
    );
    c.run_sh("cat /proc/sys/fs/mqueue/msg_max").prints("33\n");
}

#[test]
fn sysctls_of_the_host_are_refused() {
    for name in ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "kernel.panic"] {
        let c = Bundle::busybox().set("linux.sysctl", json!({ name: "1" }));
        c.create().fails("sysctl").at("linux.sysctl");
        c.assert_no_trace();
    }
    let c = Bundle::busybox()
        .without_namespace("network")
        .set("linux.sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    c.create().fails("sysctl").at("linux.sysctl");
    c.assert_no_trace();
    let c = Bundle::busybox().without_namespace("ipc").without_mount("/dev/mqueue");
    let c = c.set("linux.sysctl", json!({ "kernel.shmmax": "1000000" }));
    c.create().fails("sysctl").at("linux.sysctl");
    c.assert_no_trace();
}

#[test]
fn an_unknown_sysctl_is_an_error() {
    let c = Bundle::busybox().set("linux.sysctl", json!({ "net.no.such.knob": "1" }));
    c.create().exits(1);
    c.assert_no_trace();
}
