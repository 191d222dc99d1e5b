//! `linux.devices` and `linux.resources.devices`: which nodes there are, and which may be used.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, Cgroups, Layout};

fn device(path: &str, kind: &str, major: i64, minor: i64) -> Value {
    json!({ "path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o640, "uid": 7, "gid": 8 })
}

#[test]
fn the_default_devices() {
    let script = "cd /dev; stat -c '%n %F %t,%T %a %u:%g' null zero full random urandom tty";
    let expected = "null character special file 1,3 666 0:0\nzero character special file 1,5 666 0:0
full character special file 1,7 666 0:0\nrandom character special file 1,8 666 0:0
urandom character special file 1,9 666 0:0\ntty character special file 5,0 666 0:0\n";
    Bundle::busybox().run_sh(script).prints(expected);
}

#[test]
fn the_default_links() {
    let script = "cd /dev; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done";
    let expected =
        "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n";
    Bundle::busybox().run_sh(script).prints(expected);
}

#[test]
fn a_device_with_its_mode_and_owner() {
    let c = Bundle::busybox().push("linux.devices", device("/dev/mine", "c", 1, 5));
    c.run_sh("stat -c '%F %t,%T %a %u:%g' /dev/mine")
        .prints("character special file 1,5 640 7:8\n");
}

#[test]
fn the_umask_does_not_spoil_modes() {
    let mut open = device("/dev/mine", "c", 1, 5);
    open["fileMode"] = json!(0o666);
    let c = Bundle::busybox().push("linux.devices", open);
    let call = c
        .call("run")
        .runs(&["stat", "-c", "%a", "/dev/mine", "/dev/null"])
        .before("umask 0077");
    call.output().prints("666\n666\n");
}

#[test]
fn a_block_device() {
    let c = Bundle::busybox().push("linux.devices", device("/dev/disk0", "b", 7, 0));
    c.run_sh("stat -c '%F %t,%T' /dev/disk0")
        .prints("block special file 7,0\n");
}

#[test]
fn an_unbuffered_device_is_a_character_device() {
    let c = Bundle::busybox().push("linux.devices", device("/dev/u", "u", 1, 3));
    c.run_sh("stat -c '%F' /dev/u").prints("character special file\n");
}

#[test]
fn a_fifo() {
    let c = Bundle::busybox().push(
        "linux.devices",
        json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o622 }),
    );
    c.run_sh("stat -c '%F %a' /dev/pipe").prints("fifo 622\n");
}

#[test]
fn a_device_outside_dev() {
    let c = Bundle::busybox().push("linux.devices", device("/opt/devices/null", "c", 1, 3));
    c.run_sh("stat -c %F /opt/devices/null")
        .prints("character special file\n");
}

#[test]
fn a_device_below_a_new_folder() {
    let c = Bundle::busybox().push("linux.devices", device("/dev/net/tun", "c", 10, 200));
    c.run_sh("stat -c '%F %t,%T' /dev/net/tun")
        .prints("character special file a,c8\n");
}

#[test]
fn a_device_named_like_a_default_one() {
    let mut null = device("/dev/null", "c", 1, 3);
    null["fileMode"] = json!(0o666);
    let allow = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
    let c = Bundle::busybox()
        .push("linux.devices", null)
        .push("linux.resources.devices", allow);
    c.run_sh("echo x >/dev/null; stat -c '%t,%T' /dev/null").prints("1,3\n");
}

#[test]
fn devices_in_a_user_namespace_are_bound() {
    let c = Bundle::busybox()
        .user_namespace(100_000, 65536)
        .push("linux.devices", device("/dev/kmsg", "c", 1, 11));
    c.run_sh("stat -c '%F %t,%T' /dev/kmsg /dev/null")
        .prints("character special file 1,b\ncharacter special file 1,3\n");
}

#[test]
fn all_but_the_allowed_are_denied() {
    // /dev/kmsg is 1,11: the node can be made, not opened.
    let c = Bundle::busybox().capabilities(&["CAP_MKNOD", "CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    let script = "mknod /tmp/kmsg c 1 11 2>/dev/null && { cat /tmp/kmsg >/dev/null 2>&1 || echo denied; }
        head -c 1 /dev/zero | wc -c";
    let output = c.run_sh(script).ok();
    assert!(output.stdout.ends_with("1\n"), "{}", output.story());
    let c = Bundle::busybox()
        .push("linux.devices", device("/dev/memory", "c", 1, 1))
        .capabilities(&["CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]);
    c.run_sh("head -c 1 /dev/memory 2>&1; true")
        .shows("Operation not permitted");
}

#[test]
fn an_allowed_device_can_be_used() {
    let allow = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw" });
    let c = Bundle::busybox()
        .push("linux.resources.devices", allow)
        .push("linux.devices", device("/dev/kmsg", "c", 1, 11));
    let c = c.capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    c.run_sh("dd if=/dev/kmsg bs=8192 count=1 of=/dev/null 2>/dev/null && echo read")
        .prints("read\n");
}

#[test]
fn access_is_by_kind_of_use() {
    let allow = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "w" });
    let c = Bundle::busybox()
        .push("linux.resources.devices", allow)
        .push("linux.devices", device("/dev/kmsg", "c", 1, 11));
    let c = c.capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    c.run_sh("head -c 1 /dev/kmsg 2>&1; true")
        .shows("Operation not permitted");
}

#[test]
fn deny_all_holds_on_a_bound_dev_of_the_host() {
    let c = Bundle::busybox()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm");
    let c = c.without_mount("/dev/mqueue").bind("/dev", "/dev", &["rbind", "ro"]);
    let c = c.capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE", "CAP_SYS_RAWIO"]);
    c.run_sh("head -c 1 /dev/kmsg 2>&1; true")
        .shows("Operation not permitted");
}

#[test]
fn everything_allowed_as_for_privileged_containers() {
    let c = Bundle::busybox().set("linux.resources.devices", json!([{ "allow": true, "access": "rwm" }]));
    let c = c
        .push("linux.devices", device("/dev/kmsg", "c", 1, 11))
        .capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    c.run_sh("dd if=/dev/kmsg bs=8192 count=1 of=/dev/null 2>/dev/null && echo read")
        .prints("read\n");
}

#[test]
fn the_list_of_a_v1_cgroup() {
    needs!(Cgroups::host().layout() == Layout::V1 && Cgroups::host().has("devices"); "a v1 devices controller");
    let allow = json!({ "allow": true, "type": "b", "major": 7, "minor": 5, "access": "r" });
    let c = Bundle::sleeper().push("linux.resources.devices", allow);
    c.create().ok();
    let list = c.cgroup_file("devices", "devices.list");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines.contains(&"b 7:5 r"), "{list}");
    assert!(
        lines.contains(&"c 1:3 rwm"),
        "the default devices are always allowed: {list}"
    );
    assert!(!lines.contains(&"a *:* rwm"), "{list}");
}

#[test]
fn hosts_null_is_left_alone() {
    except!(Crun; "crun 1.21 gives the host's /dev/null away");
    use std::os::unix::fs::MetadataExt;
    let before = fs::metadata("/dev/null").unwrap();
    let c = Bundle::busybox()
        .user_namespace(100_000, 65536)
        .set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    c.call("run")
        .runs(&["true"])
        .before("exec </dev/null >/dev/null 2>/dev/null")
        .output()
        .ok();
    let c = Bundle::busybox().set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    c.call("run")
        .runs(&["true"])
        .before("exec </dev/null >/dev/null 2>/dev/null")
        .output()
        .ok();
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!(
        (before.uid(), before.gid(), before.mode()),
        (after.uid(), after.gid(), after.mode())
    );
}

#[test]
fn an_image_without_dev_gets_one() {
    let c = Bundle::busybox();
    fs::remove_dir(c.in_rootfs("/dev")).unwrap();
    c.run_sh("[ -c /dev/null ] && echo there").prints("there\n");
}

#[test]
fn an_image_without_anything_gets_what_it_needs() {
    let c = Bundle::scratch();
    fs::copy("/bin/busybox", c.in_rootfs("/busybox")).unwrap();
    c.run(&["/busybox", "sh", "-c", "/busybox ls / | /busybox tr '\\n' ' '"])
        .prints("busybox dev proc sys ");
}
