//! Where mounts go: destinations with links, dots and slashes, sources of every kind, order, and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, with_source};

#[test]
fn a_file_bound_onto_a_new_file() {
    let (c, source) = with_source();
    let c = c.bind(source.join("file"), "/new/place/name", &["bind", "ro"]);
    c.run(&["cat", "/new/place/name"]).prints("hello\n");
}

#[test]
fn a_bind_source_that_is_missing() {
    let c = Bundle::busybox();
    let c = Bundle::busybox().bind(c.scrap("nothing"), "/mnt", &["bind"]);
    c.run(&["true"]).fails("no such file or directory");
    c.assert_no_trace();
}

#[test]
fn a_bind_source_relative_to_the_bundle() {
    let c = Bundle::busybox();
    fs::create_dir(c.path().join("data")).unwrap();
    fs::write(c.path().join("data/file"), "beside\n").unwrap();
    let c = c.mount("/mnt", "bind", "data", &["bind"]);
    c.run(&["cat", "/mnt/file"]).prints("beside\n");
}

#[test]
fn a_destination_relative_to_the_root() {
    let (c, source) = with_source();
    let c = c.bind(&source, "mnt/here", &["bind"]);
    c.run(&["cat", "/mnt/here/file"]).prints("hello\n");
}

#[test]
fn destinations_with_doubled_slashes() {
    let (c, source) = with_source();
    let c = c.bind(&source, "//mnt//here/", &["bind"]);
    c.run(&["cat", "/mnt/here/file"]).prints("hello\n");
}

#[test]
fn a_destination_through_an_absolute_symlink() {
    let (c, source) = with_source();
    let c = c
        .folder("/real")
        .symlink("/link", "/real")
        .bind(&source, "/link/deep", &["bind"]);
    c.run(&["cat", "/real/deep/file"]).prints("hello\n");
    assert!(!std::path::Path::new("/real").exists(), "resolved on the host");
}

#[test]
fn a_destination_through_a_symlink_that_climbs_out() {
    let (c, source) = with_source();
    let c = c
        .folder("/real")
        .symlink("/link", "../../../../../../real")
        .bind(&source, "/link", &["bind"]);
    c.run(&["cat", "/real/file"]).prints("hello\n");
}

#[test]
fn a_destination_that_is_a_dangling_symlink() {
    except!(Crun; "crun does not make what is missing behind a link");
    let (c, source) = with_source();
    let c = c.symlink("/link", "/not/there/yet").bind(&source, "/link", &["bind"]);
    c.run(&["cat", "/not/there/yet/file"]).prints("hello\n");
}

#[test]
fn a_destination_with_dots() {
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt/../other/./place", &["bind"]);
    c.run(&["cat", "/other/place/file"]).prints("hello\n");
}

#[test]
fn a_tmpfs_on_the_root_is_refused() {
    let c = Bundle::busybox().mount("/", "tmpfs", "tmpfs", &[]);
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn a_folder_on_a_file_is_refused() {
    let (c, source) = with_source();
    let c = c.file("/target", "").bind(&source, "/target", &["bind"]);
    c.run(&["true"]).fails("not a directory");
    c.assert_no_trace();
}

#[test]
fn mounts_are_made_in_the_listed_order() {
    let (c, source) = with_source();
    let c = c
        .mount("/mnt", "tmpfs", "tmpfs", &[])
        .bind(&source, "/mnt/inside", &["bind"]);
    c.run(&["cat", "/mnt/inside/file"]).prints("hello\n");
    let (c, source) = with_source();
    let c = c
        .bind(&source, "/mnt/inside", &["bind"])
        .mount("/mnt", "tmpfs", "tmpfs", &[]);
    c.run_sh("ls /mnt | wc -l").prints("0\n");
}

#[test]
fn fifos_and_sockets_can_be_bound() {
    for option in ["rw", "ro", "rro"] {
        let c = Bundle::busybox();
        let (fifo, socket) = (c.scrap("fifo"), c.scrap("socket"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let c = c
            .bind(&fifo, "/mnt/fifo", &["bind", option])
            .bind(&socket, "/mnt/socket", &["bind", option]);
        c.run_sh("[ -p /mnt/fifo ] && [ -S /mnt/socket ] && echo both")
            .prints("both\n");
        drop(listener);
    }
}

#[test]
fn a_device_can_be_bound() {
    let c = Bundle::busybox().bind("/dev/zero", "/mnt/zero", &["bind"]);
    c.run_sh("stat -c %F /mnt/zero").prints("character special file\n");
}

#[test]
fn a_config_without_mounts() {
    except!(Runc, Crun; "runc 1.1 cannot do without /proc; crun wants the array");
    let c = Bundle::busybox()
        .set("mounts", json!([]))
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths");
    c.run_sh("ls /proc | wc -l; [ -c /dev/null ] && echo devices")
        .prints("0\ndevices\n");
    let c = Bundle::busybox()
        .without("mounts")
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths");
    c.run_sh("echo fine").prints("fine\n");
}

#[test]
fn proc_and_sys_on_a_symlink_are_refused() {
    for place in ["/proc", "/sys"] {
        let c = Bundle::busybox().folder("/elsewhere").symlink(place, "/elsewhere");
        c.create().exits(1);
        c.assert_no_trace();
    }
}

#[test]
fn proc_must_be_procfs() {
    except!(Crun; "crun allows a bind over /proc");
    let (c, source) = with_source();
    let c = c.bind(&source, "/proc", &["bind"]);
    c.create().exits(1);
    c.assert_no_trace();
    let (c, source) = with_source();
    let c = c.bind(source.join("file"), "/proc/sys/kernel/hostname", &["bind"]);
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn proc_files_that_lxcfs_covers_may_be_bound() {
    let (c, source) = with_source();
    let c = c.bind(source.join("file"), "/proc/uptime", &["bind"]);
    c.run(&["cat", "/proc/uptime"]).prints("hello\n");
}

#[test]
fn a_lot_of_mounts() {
    let (c, source) = with_source();
    let c = (0..200).fold(c, |c, n| c.bind(&source, &format!("/mnt/{n}"), &["rbind", "ro"]));
    c.run_sh("cat /mnt/0/file /mnt/199/file; grep -c /mnt/ /proc/self/mountinfo")
        .prints("hello\nhello\n200\n");
}

#[test]
fn nothing_is_mounted_on_the_host() {
    let before = fs::read_to_string("/proc/self/mounts").unwrap().lines().count();
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["rbind", "shared"]);
    c.launch();
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap().lines().count(), before);
}

/// Paths of the host that lead into the root file system mean what they mean inside.
#[test]
fn a_destination_below_the_root_on_the_host() {
    except!(Runc, Crun; "runc 1.1 mixes the two up, crun takes it from the root of the container");
    let (c, source) = with_source();
    let there = c.in_rootfs("mnt/here");
    let c = c.bind(&source, there.to_str().unwrap(), &["bind"]);
    c.run(&["cat", "/mnt/here/file"]).prints("hello\n");
}

/// A source in the root file system that is there only once the entry before has been mounted.
fn with_mount_of_a_mount(c: Bundle, options: &[&str], maps: Option<Value>) -> Bundle {
    let source = c.scrap_folder("source");
    fs::create_dir(source.join("deep")).unwrap();
    fs::write(source.join("deep/file"), "hello\n").unwrap();
    let c = c.folder("/first").folder("/second");
    let again = c.in_rootfs("first/deep");
    let mut second = json!({ "destination": "/second", "type": "bind", "source": again, "options": options });
    if let Some(maps) = maps {
        second["uidMappings"] = maps.clone();
        second["gidMappings"] = maps;
    }
    c.bind(&source, "/first", &["rbind"]).push("mounts", second)
}

#[test]
fn a_source_that_an_earlier_entry_mounts() {
    let c = with_mount_of_a_mount(Bundle::busybox(), &["rbind"], None);
    c.run(&["cat", "/second/file"]).prints("hello\n");
}

#[test]
fn a_source_that_an_earlier_entry_mounts_in_a_user_namespace() {
    except!(Runc; "runc 1.1 opens all sources before the first mount");
    let c = with_mount_of_a_mount(Bundle::busybox().user_namespace(100_000, 65536), &["rbind"], None);
    c.run(&["cat", "/second/file"]).prints("hello\n");
}

#[test]
fn an_idmapped_source_that_an_earlier_entry_mounts() {
    except!(Runc; "runc 1.1 knows no idmapped mounts");
    except!(Crun; "crun opens idmapped sources before the first mount");
    let show = "stat -c %u /first/deep/file /second/file; cat /second/file";
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let c = with_mount_of_a_mount(Bundle::busybox(), &["rbind", "ridmap"], Some(maps.clone()));
    c.run_sh(show).prints("0\n100000\nhello\n");
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    let c = with_mount_of_a_mount(c, &["rbind", "ridmap", "nosuid"], Some(maps));
    c.run_sh(show).prints("65534\n0\nhello\n");
}
