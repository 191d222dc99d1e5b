//! `root`, `linux.maskedPaths`, `linux.readonlyPaths`: the root file system and what is hidden in it.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, show_mount};

#[test]
fn a_writable_root() {
    let c = Bundle::busybox();
    c.run_sh("echo kept >/file").ok();
    assert_eq!(fs::read_to_string(c.in_rootfs("/file")).unwrap(), "kept\n");
}

#[test]
fn a_read_only_root() {
    let c = Bundle::busybox().set("root.readonly", true);
    c.run_sh("touch /file 2>&1 || touch /dev/shm/file && echo but not the mounts")
        .shows("but not the mounts");
    assert!(!c.in_rootfs("/file").exists());
}

#[test]
fn a_read_only_root_still_gets_its_mount_points() {
    let c = Bundle::busybox()
        .set("root.readonly", true)
        .mount("/made/for/it", "tmpfs", "tmpfs", &[]);
    c.run_sh("touch /made/for/it/file && echo fine").prints("fine\n");
}

#[test]
fn an_absolute_root_path() {
    let c = Bundle::busybox();
    let elsewhere = c.scrap("elsewhere");
    fs::rename(c.rootfs(), &elsewhere).unwrap();
    let c = c.set("root.path", elsewhere.to_str().unwrap());
    c.run(&["echo", "from elsewhere"]).prints("from elsewhere\n");
}

#[test]
fn a_root_path_through_a_symlink() {
    except!(Runc; "runc wants the real path");
    let c = Bundle::busybox();
    std::os::unix::fs::symlink("rootfs", c.path().join("link")).unwrap();
    c.set("root.path", "link").run(&["echo", "linked"]).prints("linked\n");
}

#[test]
fn a_root_on_its_own_mount() {
    let c = Bundle::busybox();
    let script = format!("mount --bind {0} {0}", c.rootfs().display());
    c.call("run")
        .runs(&["echo", "fine"])
        .among_own_mounts(&script)
        .output()
        .prints("fine\n");
}

#[test]
fn an_overlay_as_root() {
    let c = Bundle::busybox();
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| c.scrap_folder(name));
    let lower = c.rootfs();
    let script = format!(
        "mount -t tmpfs tmpfs {u}; mkdir {u}/u {u}/w; mount -t overlay overlay -o lowerdir={l},upperdir={u}/u,workdir={u}/w {m}",
        u = upper.display(),
        l = lower.display(),
        m = merged.display(),
    );
    drop(work);
    let c = c.set("root.path", merged.to_str().unwrap());
    let call = c
        .call("run")
        .runs(&["sh", "-c", "touch /file && ls /file"])
        .among_own_mounts(&script);
    call.output().prints("/file\n");
    assert!(!lower.join("file").exists());
}

#[test]
fn the_old_root_is_gone() {
    let c = Bundle::busybox();
    c.run_sh(
        "ls -d /.pivot* /oldroot /.old* /put_old 2>/dev/null; grep -c ' / / ' /proc/self/mountinfo; cd /..; ls | wc -w",
    )
    .hides("pivot");
    c.run_sh("cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/\\(proc\\|dev\\|sys\\)' ")
        .prints("/\n");
}

#[test]
fn the_roots_parent_is_itself() {
    let c = Bundle::busybox();
    c.run_sh("stat -c %i / /.. | uniq | wc -l").prints("1\n");
}

#[test]
fn without_pivot() {
    let c = Bundle::busybox();
    let call = c
        .call("run")
        .flag("--no-pivot")
        .runs(&["sh", "-c", "ls /; stat -c %i / /.. | uniq | wc -l"]);
    let output = call.output().ok();
    assert!(
        output.stdout.contains("busybox") || output.stdout.contains("bin"),
        "{}",
        output.story()
    );
    assert!(output.stdout.ends_with("1\n"), "{}", output.story());
}

#[test]
fn without_pivot_the_hosts_mounts_are_out_of_reach() {
    let c = Bundle::busybox();
    let call = c.call("run").flag("--no-pivot").runs(&["cat", "/proc/self/mountinfo"]);
    let output = call.output().ok();
    assert!(
        !output.stdout.contains(" /sys/fs/cgroup/unified "),
        "{}",
        output.story()
    );
}

#[test]
fn a_masked_file_reads_as_empty() {
    let c = Bundle::busybox()
        .file("/secret", "hidden\n")
        .set("linux.maskedPaths", json!(["/secret", "/proc/uptime"]));
    c.run_sh("wc -c </secret; wc -c </proc/uptime; stat -c %F /secret")
        .prints("0\n0\ncharacter special file\n");
}

#[test]
fn a_masked_folder_is_an_empty_folder_nobody_can_write_to() {
    let c = Bundle::busybox()
        .file("/secrets/key", "hidden\n")
        .set("linux.maskedPaths", json!(["/secrets"]));
    let script = "ls /secrets | wc -l; stat -c %F /secrets; touch /secrets/x 2>/dev/null || echo refused";
    c.run_sh(script).prints("0\ndirectory\nrefused\n");
}

#[test]
fn several_masked_folders() {
    let folders = ["/a", "/b/c", "/d"];
    let c = folders
        .iter()
        .fold(Bundle::busybox(), |c, f| c.file(&format!("{f}/key"), "hidden\n"));
    let c = c.set("linux.maskedPaths", json!(folders));
    c.run_sh("ls /a /b/c /d | grep -c key; touch /d/x 2>/dev/null || echo refused")
        .shows("refused");
}

#[test]
fn a_masked_path_that_is_missing_is_passed_over() {
    let c = Bundle::busybox().set("linux.maskedPaths", json!(["/not/there", "/nor/here"]));
    c.run(&["true"]).ok();
}

#[test]
fn read_only_paths() {
    let c = Bundle::busybox()
        .file("/data/file", "text\n")
        .set("linux.readonlyPaths", json!(["/data", "/proc/sys", "/no"]));
    let script = "cat /data/file; touch /data/x 2>/dev/null || echo refused; echo 1 2>/dev/null >/proc/sys/kernel/panic || echo too";
    c.run_sh(script).prints("text\nrefused\ntoo\n");
}

#[test]
fn read_only_paths_keep_the_flags_below() {
    let c = Bundle::busybox()
        .without_mount("/proc")
        .mount("/proc", "proc", "proc", &["nosuid", "nodev", "noexec"])
        .set("linux.readonlyPaths", json!(["/proc/sys"]));
    let output = c.run_sh(&show_mount("/proc/sys")).ok();
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(
            output.stdout.split(' ').nth(5).unwrap().split(',').any(|f| f == flag),
            "{flag}: {}",
            output.stdout
        );
    }
}

#[test]
fn nothing_of_the_runtime_shows_inside() {
    let c = Bundle::busybox();
    c.run_sh("find /run /tmp /var /root -mindepth 1").prints("");
    c.run_sh("ls -A /")
        .prints("bin\ndev\netc\nhome\nproc\nroot\nrun\nsys\ntmp\nusr\nvar\n");
    assert_eq!(fs::read_dir(c.in_rootfs("/run")).unwrap().count(), 0);
}

#[test]
fn the_standard_filesystems_are_what_they_say() {
    let script = "for p in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue; do stat -fc \"$p %T\" $p; done";
    let expected = "/proc proc\n/sys sysfs\n/dev tmpfs\n/dev/pts devpts\n/dev/shm tmpfs\n/dev/mqueue UNKNOWN\n";
    let output = Bundle::busybox().run_sh(script).ok();
    let kinds: Vec<&str> = output.stdout.lines().collect();
    for (seen, wanted) in kinds.iter().zip(expected.lines()) {
        assert!(
            *seen == wanted || wanted.ends_with("UNKNOWN") || wanted.contains("devpts"),
            "{seen} is not {wanted}"
        );
    }
}

#[test]
fn proc_shows_only_the_containers_processes() {
    Bundle::busybox().run_sh("cd /proc; echo [0-9]*").prints("1\n");
}
