//! `mounts`: the options of the specification.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::{Bundle, show_mount, with_source};

/// The per-mount options that the container sees at /mnt, from a tmpfs with these options.
fn tmpfs_options(options: &[&str]) -> Vec<String> {
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", options);
    let output = c.run_sh(&show_mount("/mnt")).ok();
    output
        .stdout
        .split(' ')
        .nth(5)
        .unwrap()
        .split(',')
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_basic_flag() {
    for (option, shown) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
    ] {
        let options = tmpfs_options(&[option]);
        assert!(options.iter().any(|o| o == shown), "{option}: {options:?}");
    }
    let options = tmpfs_options(&["strictatime"]);
    assert!(
        !options.iter().any(|o| o == "relatime" || o == "noatime"),
        "{options:?}"
    );
}

#[test]
fn each_clearing_flag_undoes_its_opposite() {
    except!(Crun; "crun 1.21 keeps ro");
    for (set, clear) in [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
    ] {
        let options = tmpfs_options(&[set, clear]);
        assert!(!options.iter().any(|o| o == set), "{set},{clear}: {options:?}");
    }
}

#[test]
fn filesystem_flags() {
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["sync", "dirsync", "size=64k", "mode=700"]);
    let line = c.run_sh(&show_mount("/mnt")).ok();
    let filesystem = line.stdout.split(" - ").nth(1).unwrap().to_owned();
    for word in ["sync", "dirsync", "size=64k", "mode=700"] {
        assert!(filesystem.contains(word), "{word}: {filesystem}");
    }
}

#[test]
fn nosymfollow() {
    except!(Crun; "crun 1.21 passes it on as data");
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["nosymfollow"]);
    c.run_sh("echo x >/mnt/file; ln -s file /mnt/link; cat /mnt/link 2>/dev/null || echo refused")
        .prints("refused\n");
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["nosymfollow", "symfollow"]);
    c.run_sh("echo x >/mnt/file; ln -s file /mnt/link; cat /mnt/link")
        .prints("x\n");
}

#[test]
fn flags_without_a_trace_are_accepted() {
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["async", "rw"]);
    c.run_sh(&show_mount("/mnt")).shows("tmpfs");
    except!(Crun, Runc; "crun passes all of these, runc 1.1 `defaults`, on as data");
    let c = Bundle::busybox().mount(
        "/mnt",
        "tmpfs",
        "tmpfs",
        &["defaults", "nolazytime", "lazytime", "silent", "loud", "noiversion"],
    );
    c.run_sh(&show_mount("/mnt")).shows("tmpfs");
}

#[test]
fn an_unknown_option_is_refused_by_the_filesystem() {
    let c = Bundle::busybox().mount("/mnt", "tmpfs", "tmpfs", &["no-such-option"]);
    c.run(&["true"]).fails("");
    c.assert_no_trace();
}

#[test]
fn a_bind_mount_reads_and_writes() {
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["bind"]);
    c.run_sh("cat /mnt/file; echo back >/mnt/new").prints("hello\n");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "back\n");
}

#[test]
fn a_read_only_bind_mount() {
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["bind", "ro"]);
    c.run_sh("cat /mnt/file; echo x 2>&1 >/mnt/new").exits(1);
    assert!(!source.join("new").exists());
}

#[test]
fn bind_flags_are_set_though_binding_needs_two_steps() {
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["bind", "nosuid", "nodev", "noexec", "ro"]);
    let output = c.run_sh(&show_mount("/mnt")).ok();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(
            output.stdout.split(' ').nth(5).unwrap().split(',').any(|o| o == option),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn a_bind_without_the_bind_option_but_the_type() {
    only!(Runw; "runc and crun go by the options alone");
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["rw"]);
    c.run(&["cat", "/mnt/file"]).prints("hello\n");
}

#[test]
fn a_bind_with_the_option_but_another_type() {
    let (c, source) = with_source();
    let c = c.mount("/mnt", "none", source.to_str().unwrap(), &["rbind"]);
    c.run(&["cat", "/mnt/file"]).prints("hello\n");
}

#[test]
fn tmpcopyup() {
    let c = Bundle::busybox()
        .file("/etc/kept/file", "copied\n")
        .mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    c.run_sh("cat /etc/kept/file; echo new >/etc/kept/file; grep -c : /etc/passwd")
        .prints("copied\n3\n");
    assert_eq!(fs::read_to_string(c.in_rootfs("/etc/kept/file")).unwrap(), "copied\n");
}

#[test]
fn tmpcopyup_read_only() {
    let c = Bundle::busybox()
        .file("/etc/kept", "copied\n")
        .mount("/etc", "tmpfs", "tmpfs", &["ro", "tmpcopyup"]);
    c.run_sh("cat /etc/kept; touch /etc/new 2>/dev/null || echo refused")
        .prints("copied\nrefused\n");
}

#[test]
fn a_tmpfs_takes_the_mode_of_what_it_covers() {
    let c = Bundle::busybox()
        .folder("/covered")
        .mount("/covered", "tmpfs", "tmpfs", &["nosuid"]);
    fs::set_permissions(c.in_rootfs("/covered"), fs::Permissions::from_mode(0o1750)).unwrap();
    c.run(&["stat", "-c", "%a", "/covered"]).prints("1750\n");
    let c = Bundle::busybox()
        .folder("/covered")
        .mount("/covered", "tmpfs", "tmpfs", &["mode=711"]);
    c.run(&["stat", "-c", "%a", "/covered"]).prints("711\n");
}

#[test]
fn a_tmpfs_on_a_new_folder() {
    let c = Bundle::busybox().mount("/brand/new", "tmpfs", "tmpfs", &[]);
    c.run_sh("stat -c %a /brand; touch /brand/new/file").shows("755");
}

#[test]
fn remount_of_an_earlier_mount() {
    let (c, source) = with_source();
    let c = c
        .bind(&source, "/mnt", &["bind"])
        .bind(&source, "/mnt", &["bind", "remount", "ro"]);
    c.run_sh("touch /mnt/x 2>/dev/null || echo refused").prints("refused\n");
}

#[test]
fn idmapped_binds() {
    except!(Runc; "runc 1.1 knows no idmapped mounts");
    let (c, source) = with_source();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).unwrap();
    let maps = json!([{ "containerID": 1000, "hostID": 2000, "size": 10 }]);
    let c = c.push(
        "mounts",
        json!({
            "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
            "uidMappings": maps, "gidMappings": maps,
        }),
    );
    c.run(&["stat", "-c", "%u %g", "/mnt/file"]).prints("2000 2000\n");
}

#[test]
fn idmapped_binds_in_a_user_namespace() {
    except!(Runc; "runc 1.1 knows no idmapped mounts");
    let (c, source) = with_source();
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let c = c.user_namespace(100_000, 65536).push(
        "mounts",
        json!({
            "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "ridmap"],
            "uidMappings": maps, "gidMappings": maps,
        }),
    );
    c.run_sh("stat -c %u /mnt/file; touch /mnt/made").prints("0\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(source.join("made")).unwrap().uid(),
        0,
        "on disk it is the host's root"
    );
}

/// Of what a user namespace inherits all is locked but `nosymfollow`: what is locked stays, that one goes unless it is asked for.
#[test]
fn inherited_attributes_in_a_user_namespace() {
    except!(Runc, Crun; "runc 1.1 knows no nosymfollow, crun keeps it");
    let (c, source) = with_source();
    let c = c
        .user_namespace(100_000, 65536)
        .bind(&source, "/mnt", &["bind", "ro"])
        .bind(&source, "/same", &["bind", "nosymfollow"]);
    let odd = format!(
        "mount --bind {0} {0} && mount -o remount,bind,suid,nodev,nosymfollow {0}",
        source.display()
    );
    let show =
        "grep -E ' /(mnt|same) ' /proc/self/mounts | cut -d' ' -f4 | tr , '\\n' | grep -E '^(ro|rw|no)' | tr '\\n' ' '";
    c.call("run")
        .runs(&["sh", "-c", show])
        .among_own_mounts(&odd)
        .output()
        .prints("ro nodev rw nodev nosymfollow ");
}

/// As with mount(8): to take a flag away leaves the source's way to keep access times, to set one replaces it as a whole.
#[test]
fn access_times_of_bind_mounts() {
    except!(Crun; "crun takes single flags away");
    let (c, source) = with_source();
    let c = c
        .bind(&source, "/away", &["bind", "atime"])
        .bind(&source, "/relative", &["bind", "relatime"])
        .bind(&source, "/folders", &["bind", "nodiratime"]);
    let odd = format!(
        "mount --bind {0} {0} && mount -o remount,bind,suid,dev,noatime {0}",
        source.display()
    );
    let show = "for m in /away /relative /folders; do grep \" $m \" /proc/self/mountinfo | cut -d' ' -f6; done";
    c.call("run")
        .runs(&["sh", "-c", show])
        .among_own_mounts(&odd)
        .output()
        .prints("rw,noatime\nrw,relatime\nrw,nodiratime,relatime\n");
}
