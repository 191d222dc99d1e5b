//! Mount propagation and recursive mount options: what reaches submounts, and what passes to and from the host.

use std::os::unix::fs::symlink;

use crate::harness::{Bundle, Output, show_mount, with_source};

/// A source with a tmpfs on `sub`, made in a private mount namespace before the runtime.
fn submount(source: &std::path::Path) -> String {
    format!(
        "mount -t tmpfs tmpfs {0}/sub; echo below >{0}/sub/file",
        source.display()
    )
}

fn run_among(c: &Bundle, script: &str, payload: &str) -> Output {
    c.call("run")
        .runs(&["sh", "-c", payload])
        .among_own_mounts(script)
        .output()
}

#[test]
fn rbind_carries_submounts_and_bind_does_not() {
    for (options, expected) in [
        (&["rbind"][..], "below\n"),
        (&["rbind", "bind"], "below\n"),
        (&["bind", "rbind"], "below\n"),
        (&["bind"], "none\n"),
    ] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", options);
        let output = run_among(&c, &submount(&source), "cat /mnt/sub/file 2>/dev/null || echo none").ok();
        assert_eq!(output.stdout, expected, "{options:?}");
    }
}

#[test]
fn ro_stops_at_submounts_and_rro_does_not() {
    let probe = "touch /mnt/x 2>/dev/null && echo top; touch /mnt/sub/x 2>/dev/null && echo below; true";
    for (option, expected) in [("ro", "below\n"), ("rro", "")] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", &["rbind", option]);
        run_among(&c, &submount(&source), probe).prints(expected);
    }
}

#[test]
fn each_recursive_flag_reaches_submounts() {
    except!(Crun; "crun 1.21 asks for flags that the kernel refuses");
    for option in ["rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", &["rbind", option]);
        let script = format!("{}; {}", show_mount("/mnt"), show_mount("/mnt/sub"));
        let output = run_among(&c, &submount(&source), &script).ok();
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{option}: {}", output.story());
        for line in lines {
            assert!(
                line.split(' ').nth(5).unwrap().split(',').any(|o| o == &option[1..]),
                "{option}: {line}"
            );
        }
    }
}

#[test]
fn each_recursive_clearing_flag_reaches_submounts() {
    for (option, gone) in [
        ("rrw", "ro"),
        ("rsuid", "nosuid"),
        ("rdev", "nodev"),
        ("rexec", "noexec"),
    ] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", &["rbind", option]);
        let mount = format!(
            "mount -t tmpfs -o ro,nosuid,nodev,noexec tmpfs {}/sub",
            source.display()
        );
        let output = run_among(&c, &mount, &show_mount("/mnt/sub")).ok();
        let shown: Vec<&str> = output.stdout.split(' ').nth(5).unwrap().split(',').collect();
        assert!(!shown.contains(&gone), "{option}: {shown:?}");
        assert!(shown.len() >= 4, "the others stay: {shown:?}");
    }
}

#[test]
fn recursive_access_time_flags() {
    except!(Runc, Crun; "runc 1.1 asks the kernel for two contradicting flags; crun 1.21 asks for flags that the kernel refuses");
    for (option, shown) in [("rrelatime", "relatime"), ("rnoatime", "noatime")] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", &["rbind", option]);
        let output = run_among(&c, &submount(&source), &show_mount("/mnt/sub")).ok();
        assert!(output.stdout.contains(shown), "{option}: {}", output.stdout);
    }
}

#[test]
fn recursive_nosymfollow() {
    except!(Crun; "crun 1.21 lacks it");
    let (c, source) = with_source();
    symlink("file", source.join("link")).unwrap();
    let c = c.bind(&source, "/mnt", &["rbind", "rnosymfollow"]);
    c.run_sh("cat /mnt/link 2>/dev/null || echo refused")
        .prints("refused\n");
}

#[test]
fn propagation_of_each_kind() {
    except!(Crun; "crun is tested in a mount namespace of its own");
    for (option, mark) in [
        ("rprivate", None),
        ("private", None),
        ("rslave", Some(" master:")),
        ("slave", Some(" master:")),
        ("rshared", Some(" shared:")),
        ("shared", Some(" shared:")),
    ] {
        let (c, source) = with_source();
        let c = c.bind(&source, "/mnt", &["rbind", option]);
        let script = format!("mount --bind {0} {0}; mount --make-shared {0}", source.display());
        let output = run_among(&c, &script, &show_mount("/mnt")).ok();
        match mark {
            Some(mark) => assert!(output.stdout.contains(mark), "{option}: {}", output.stdout),
            None => assert!(
                !output.stdout.contains("shared:") && !output.stdout.contains("master:"),
                "{option}: {}",
                output.stdout
            ),
        }
    }
}

#[test]
fn an_unbindable_mount() {
    except!(Crun; "crun shows no sign of it");
    let (c, source) = with_source();
    let c = c.bind(&source, "/mnt", &["bind", "unbindable"]);
    c.run_sh(&show_mount("/mnt")).shows("unbindable");
}

#[test]
fn a_slave_bind_sees_later_mounts_of_the_host() {
    except!(Crun; "crun is tested in a mount namespace of its own");
    let (c, source) = with_source();
    let c = c
        .bind(&source, "/mnt", &["rbind", "rslave"])
        .sh("while ! [ -e /mnt/sub/late ]; do sleep 0.05; done; echo seen");
    let source = source.display();
    // One namespace for the runtime and the later mount: the call of create is made by the script itself.
    let script = format!(
        "mount --bind {source} {source}; mount --make-shared {source}; \
         \"$@\"; mount -t tmpfs tmpfs {source}/sub; touch {source}/sub/late; set -- true"
    );
    let running = c.call("run").flag("--detach").among_own_mounts(&script).output().ok();
    crate::harness::eventually("the mount to be seen", || running.stdout_now().contains("seen"));
    c.wait();
}

#[test]
fn a_root_without_propagation() {
    for mode in ["private", "rprivate", "slave", "rslave"] {
        let c = Bundle::busybox().set("linux.rootfsPropagation", mode);
        let output = c.run_sh(&show_mount("/")).ok();
        assert!(!output.stdout.contains(" shared:"), "{mode}: {}", output.stdout);
    }
}

#[test]
fn a_root_with_propagation() {
    except!(Runc; "runc does it right from 1.3.1 on");
    for (mode, mark) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        let c = Bundle::busybox().set("linux.rootfsPropagation", mode);
        let output = c.run_sh(&show_mount("/")).ok();
        assert!(output.stdout.contains(mark), "{mode}: {}", output.stdout);
    }
}

#[test]
fn the_root_is_no_peer_of_the_hosts() {
    let c = Bundle::busybox();
    let rootfs = c.rootfs();
    let script = format!("mount --bind {0} {0}; mount --make-shared {0}", rootfs.display());
    let output = run_among(&c, &script, &show_mount("/")).ok();
    assert!(!output.stdout.contains(" shared:"), "{}", output.stdout);
}
