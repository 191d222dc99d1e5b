//! Attacks that runtimes have fallen for. Each case is named for the class, with the CVE that made it known.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::harness::{Bundle, eventually, runtime, with_source};

/// A file on the host that an attack aims at.
fn target(c: &Bundle) -> std::path::PathBuf {
    let file = c.scrap("host-file");
    fs::write(&file, "untouched\n").unwrap();
    file
}

#[track_caller]
fn assert_untouched(file: &std::path::Path) {
    assert_eq!(fs::read_to_string(file).unwrap(), "untouched\n");
    assert_eq!(fs::metadata(file).unwrap().uid(), 0);
}

/// Size and time of the runtime's program on the host.
fn program_on_the_host() -> (u64, i64, i64) {
    let file = fs::metadata(&runtime().path).unwrap();
    (file.len(), file.mtime(), file.mtime_nsec())
}

#[test]
fn cve_2019_5736_the_runtime_cannot_be_overwritten() {
    // The program of the image is the runtime itself, as init sees it; its argument writes to whatever that is.
    let before = program_on_the_host();
    let c = Bundle::busybox().symlink("/entry", "/proc/self/exe");
    let _ = c.run(&["/entry", "--version"]);
    let _ = c.run(&[
        "/bin/sh",
        "-c",
        "echo overwritten >/proc/self/exe; echo overwritten >/proc/1/exe",
    ]);
    assert_eq!(program_on_the_host(), before);
}

#[test]
fn cve_2019_5736_init_at_its_gate_is_no_way_to_the_host_either() {
    // In a shared pid namespace one container tries to write to the program of all it can see, the other's init too.
    let before = program_on_the_host();
    let attack =
        "echo ready; while :; do for p in /proc/[0-9]*; do { : >>$p/exe; } 2>/dev/null; done; sleep 0.05; done";
    let first = Bundle::busybox()
        .capabilities(&["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"])
        .sh(attack);
    first.launch_ready();
    let second = Bundle::sleeper().namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid())));
    let _ = second.create();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(program_on_the_host(), before);
}

#[test]
fn cve_2019_5736_nothing_that_init_has_mapped_is_the_program_on_the_host() {
    // What a process has mapped can be opened under /proc/PID/map_files, by who may look there.
    let c = Bundle::sleeper();
    c.create().ok();
    let program = fs::metadata(&runtime().path).unwrap();
    let files = format!("/proc/{}/map_files", c.pid());
    let mapped = fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path());
    let mapped: Vec<_> = mapped.chain([format!("/proc/{}/exe", c.pid()).into()]).collect();
    assert!(mapped.len() > 3, "{mapped:?}");
    for path in mapped {
        let file = fs::OpenOptions::new().append(true).open(&path);
        let opened = file.and_then(|file| file.metadata());
        assert!(
            opened.is_err()
                || opened.is_ok_and(|opened| (opened.dev(), opened.ino()) != (program.dev(), program.ino())),
            "{} leads to the program",
            fs::read_link(&path).unwrap().display()
        );
    }
}

#[test]
fn cve_2024_21626_no_fd_of_the_host_as_cwd() {
    for fd in 3..12 {
        let c = Bundle::busybox().set("process.cwd", format!("/proc/self/fd/{fd}"));
        let output = c.run_sh("pwd; ls ..; cat /proc/self/cwd/../../../../../../../../etc/hostname");
        let hostname = fs::read_to_string("/etc/hostname").unwrap_or_else(|_| "no such name".into());
        assert!(
            output.code != 0 || !output.stdout.contains(hostname.trim()),
            "fd {fd}: {}",
            output.story()
        );
        assert!(
            output.code != 0 || !output.stdout.contains("cgroup"),
            "fd {fd}: {}",
            output.story()
        );
    }
}

#[test]
fn cve_2024_21626_no_fd_of_the_host_through_a_link() {
    for fd in 3..12 {
        let c = Bundle::busybox()
            .symlink("/way", &format!("/proc/self/fd/{fd}"))
            .set("process.cwd", "/way");
        let output = c.run_sh("ls ..");
        assert!(
            output.code != 0 || output.stdout.contains("busybox") || output.stdout.contains("proc"),
            "{}",
            output.story()
        );
    }
}

#[test]
fn cve_2025_31133_a_null_that_is_a_symlink_masks_nothing_open() {
    // The image's /dev/null leads to a file of procfs: masking by binding it would open that file to writes.
    let c = Bundle::busybox()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm");
    let c = c
        .without_mount("/dev/mqueue")
        .symlink("/dev/null", "/proc/sys/kernel/core_pattern");
    let c = c.set("linux.maskedPaths", json!(["/proc/uptime"]));
    let output = c.run_sh("cat /proc/uptime");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(output.code != 0 || output.stdout != pattern, "{}", output.story());
}

#[test]
fn cve_2025_31133_a_null_that_is_a_file_masks_nothing() {
    let c = Bundle::busybox()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm");
    let c = c
        .without_mount("/dev/mqueue")
        .file("/dev/null", "not null\n")
        .file("/secret", "hidden\n");
    let c = c.set("linux.maskedPaths", json!(["/secret"]));
    let output = c.run_sh("cat /secret");
    assert!(!output.stdout.contains("hidden"), "{}", output.story());
}

#[test]
fn cve_2025_52565_a_console_that_is_a_symlink_leads_nowhere() {
    let c = Bundle::busybox()
        .set("process.terminal", true)
        .without_mount("/dev")
        .without_mount("/dev/shm");
    let c = c.without_mount("/dev/mqueue").folder("/dev/pts");
    let file = target(&c);
    let c = c
        .symlink("/dev/console", file.to_str().unwrap())
        .sh("echo gotcha >/dev/console; chown 1000 /dev/console");
    let mut terminal = crate::harness::Terminal::of_call(c.call("run"), 24, 80);
    let _ = terminal.wait();
    assert_untouched(&file);
}

#[test]
fn cve_2026_41579_a_dev_that_is_a_symlink_stays_inside() {
    except!(Runc, Crun; "runc 1.1 is open to it, 1.3.6 is not; crun 1.21 is open to it");
    let c = Bundle::busybox();
    let outside = c.scrap_folder("outside");
    let c = c
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue");
    let c = c.symlink("/dev", outside.to_str().unwrap());
    let _ = c.run(&["/bin/true"]);
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        0,
        "devices were made on the host"
    );
}

#[test]
fn cve_2026_88264_dev_files_are_not_made_through_links() {
    let c = Bundle::busybox()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm");
    let c = c.without_mount("/dev/mqueue");
    let file = c.scrap("made-on-host");
    let c = [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "console",
    ]
    .iter()
    .fold(c, |c, name| c.symlink(&format!("/dev/{name}"), file.to_str().unwrap()));
    let _ = c.run(&["/bin/true"]);
    assert!(!file.exists(), "a node was made on the host");
}

#[test]
fn cve_2021_30465_destinations_that_change_under_the_runtime() {
    // A thread swaps a folder of the root for a link to the host's root, again and again.
    let (c, source) = with_source();
    let c = c
        .folder("/race/dir")
        .bind(&source, "/race/dir/made/by/the/mount", &["bind"]);
    let (folder, stash, link) = (
        c.in_rootfs("/race/dir"),
        c.in_rootfs("/race/stash"),
        c.in_rootfs("/race/link"),
    );
    let outside = c.scrap_folder("outside");
    symlink(&outside, &link).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = fs::rename(&folder, &stash);
            let _ = symlink(fs::read_link(&link).unwrap(), &folder);
            let _ = fs::remove_file(&folder);
            let _ = fs::rename(&stash, &folder);
        }
    });
    for _ in 0..25 {
        let _ = c.run(&["true"]);
        assert_eq!(
            fs::read_dir(&outside).unwrap().count(),
            0,
            "a folder was made outside the root"
        );
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
}

#[test]
fn cve_2024_45310_no_folders_on_the_host() {
    let (c, source) = with_source();
    let outside = c.scrap("not-there-yet");
    let c = c
        .symlink("/way", outside.to_str().unwrap())
        .bind(&source, "/way/deep", &["bind"]);
    let _ = c.run(&["true"]);
    assert!(!outside.exists());
}

#[test]
fn cve_2019_19921_proc_from_a_volume_is_refused() {
    let c = Bundle::busybox();
    let fake = c.scrap_folder("fake");
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    fs::write(fake.join("self/attr/exec"), "").unwrap();
    let c = c.symlink("/proc", "/volume").bind(&fake, "/volume", &["bind"]);
    c.run(&["true"]).exits(1);
    c.assert_no_trace();
}

#[test]
fn cve_2023_25809_the_hosts_cgroups_are_read_only_without_a_cgroup_namespace() {
    let c = Bundle::busybox().mount(
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["ro", "nosuid", "noexec", "nodev"],
    );
    let script = "find /sys/fs/cgroup -name cgroup.procs | while read f; do echo 1 2>/dev/null >$f && echo wrote $f; done; echo done";
    c.run_sh(script).prints("done\n");
}

#[test]
fn cve_2022_0811_a_sysctl_value_is_one_value() {
    let value = "1+kernel.core_pattern=|/tmp/evil";
    let c = Bundle::busybox().set("linux.sysctl", json!({ "kernel.shm_rmid_forced": value }));
    let _ = c.run(&["true"]);
    assert!(
        !fs::read_to_string("/proc/sys/kernel/core_pattern")
            .unwrap()
            .contains("evil")
    );
}

#[test]
fn cve_2025_52881_sysctls_are_written_to_sysctls() {
    // The path is made of the config's name: it must not climb.
    for name in [
        "net.ipv4/../../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net..kernel",
        "kernel.msgmax/../core_pattern",
    ] {
        let c = Bundle::busybox().set("linux.sysctl", json!({ name: "evil" }));
        c.create().exits(1);
        c.assert_no_trace();
        assert!(
            !fs::read_to_string("/proc/sys/kernel/core_pattern")
                .unwrap()
                .contains("evil"),
            "{name}"
        );
    }
}

#[test]
fn cve_2016_9962_init_cannot_be_traced_before_it_is_the_payload() {
    // What the kernel lets nobody trace belongs to the host's root in /proc, not to the container's.
    let c = Bundle::sleeper().user_namespace(100_000, 65536);
    let created = c.create().ok();
    let owner = |file: &str| fs::metadata(format!("/proc/{}/{file}", c.pid())).unwrap().uid();
    assert_eq!((owner("fd"), owner("mem")), (0, 0), "init at its gate");
    c.start().ok();
    eventually("the payload", || created.stdout_now().contains("ready"));
    assert_eq!((owner("fd"), owner("mem")), (100_000, 100_000), "the payload");
}

#[test]
fn passwd_of_the_image_cannot_point_home_outside() {
    let c = Bundle::busybox();
    let file = c.scrap("passwd");
    fs::write(&file, "root:x:0:0::/from/the/host:/bin/sh\n").unwrap();
    let c = c.symlink("/etc/passwd", file.to_str().unwrap());
    c.run_sh("echo $HOME").prints("/\n");
}

#[test]
fn a_huge_passwd_does_not_hurt() {
    except!(Runc; "runc 1.1 gives up at a long line");
    let c = Bundle::busybox();
    let line = "x".repeat(1_000_000);
    let c = c.file("/etc/passwd", &format!("{line}\nroot:x:0:0::/far/down:/bin/sh\n"));
    let output = c.run_sh("echo $HOME").ok();
    assert!(matches!(output.text(), "/far/down" | "/"), "{}", output.text().len());
}

#[test]
fn a_passwd_that_is_a_fifo_does_not_hang() {
    except!(Runc, Crun; "runc and crun wait for a writer");
    let c = Bundle::busybox();
    fs::remove_file(c.in_rootfs("/etc/passwd")).unwrap();
    nix::unistd::mkfifo(
        &c.in_rootfs("/etc/passwd"),
        nix::sys::stat::Mode::from_bits_truncate(0o644),
    )
    .unwrap();
    c.run_sh("echo $HOME").prints("/\n");
}

#[test]
fn a_file_with_setuid_gains_nothing_under_no_new_privileges() {
    let c = Bundle::busybox().set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    fs::copy(c.in_rootfs("/bin/busybox"), c.in_rootfs("/bin/idx")).unwrap();
    fs::set_permissions(c.in_rootfs("/bin/idx"), fs::Permissions::from_mode(0o4755)).unwrap();
    let c = c.symlink("/bin/id", "idx");
    c.run(&["/bin/idx", "id", "-u"]).exits(127);
    c.run_sh("exec -a id /bin/idx -u 2>/dev/null || cut -f2 /proc/self/status | head -0")
        .ok();
}
