//! `linux.namespaces`: new ones, joined ones, inherited ones, and what belongs to each.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Bundle, Cgroups, Layout, eventually, runtime};

const LINKS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

/// The inode text of one of the suite's own namespaces: `net:[4026531840]`.
fn own(link: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{link}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// A process in new namespaces of these `unshare` flags; its /proc/PID/ns names them while it lives.
struct Holder(Child);

impl Holder {
    fn of(flags: &[&str]) -> Holder {
        let mut command = Command::new("unshare");
        let child = command
            .args(flags)
            .args(["sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let holder = Holder(child);
        // unshare has done its work when the program is sleep.
        eventually("the holder to sleep", || {
            let name = fs::read_to_string(format!("/proc/{}/comm", holder.0.id())).unwrap_or_default();
            name.trim() == "sleep"
        });
        holder
    }

    fn namespace(&self, link: &str) -> String {
        format!("/proc/{}/ns/{link}", self.0.id())
    }

    fn inode(&self, link: &str) -> String {
        fs::read_link(self.namespace(link))
            .unwrap()
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_new_namespace_is_new() {
    let c = Bundle::busybox()
        .namespace("cgroup", None)
        .user_namespace(100_000, 65536);
    let script = LINKS
        .map(|(_, link)| format!("readlink /proc/self/ns/{link}"))
        .join("; ");
    let output = c.run_sh(&script).ok();
    for (inside, (kind, link)) in output.stdout.lines().zip(LINKS) {
        assert_ne!(inside, own(link), "{kind}");
    }
    assert_eq!(output.stdout.lines().count(), LINKS.len());
}

#[test]
fn each_absent_namespace_is_the_hosts() {
    for (kind, link) in [
        ("pid", "pid"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("network", "net"),
    ] {
        let mut c = Bundle::busybox().without_namespace(kind);
        if kind == "uts" {
            c = c.without("hostname");
        }
        if kind == "ipc" {
            c = c.without_mount("/dev/mqueue");
        }
        c.run(&["readlink", &format!("/proc/self/ns/{link}")])
            .prints(&format!("{}\n", own(link)));
    }
}

/// Then what is mounted for the container is mounted in the runtime's namespace, and has to go with the container.
#[test]
fn without_a_mount_namespace() {
    except!(Crun, Runc; "they leave the mounts behind");
    let c = Bundle::busybox()
        .without_namespace("mount")
        .without("linux.maskedPaths")
        .without("linux.readonlyPaths");
    let count = format!("grep -c ' {} ' /proc/self/mountinfo || true", c.rootfs().display());
    let life = format!("mount --make-rshared /; \"$@\"; {count}; exit");
    let call = c
        .call("run")
        .runs(&["sh", "-ec", "test ! -e /etc/debian_version; echo in"]);
    call.among_own_mounts(&life).output().prints("in\n0\n");
    let (runw, root, id) = (runtime().path.display(), c.state_root(), c.id());
    let delete = format!("{runw} --root {} delete {id}", root.display());
    let verbs = format!("\"$@\" >&2; {count}; {delete}; {count}; exit");
    let call = c.call("create").among_own_mounts(&verbs);
    call.output().prints("1\n0\n");
}

#[test]
fn joined_by_path() {
    let holder = Holder::of(&["--net", "--ipc", "--uts"]);
    let c = Bundle::busybox().without("hostname");
    let c = ["net", "ipc", "uts"]
        .iter()
        .zip(["network", "ipc", "uts"])
        .fold(c, |c, (link, kind)| c.namespace(kind, Some(&holder.namespace(link))));
    let expected = ["net", "ipc", "uts"].map(|link| holder.inode(link) + "\n").concat();
    c.run_sh("for n in net ipc uts; do readlink /proc/self/ns/$n; done")
        .prints(&expected);
}

#[test]
fn a_pid_namespace_joined_by_path() {
    let holder = Holder::of(&["--net", "--ipc", "--uts"]);
    let first = Bundle::busybox().sh("sleep 1000");
    first.launch();
    let path = format!("/proc/{}/ns/pid", first.pid());
    let c = Bundle::busybox().namespace("pid", Some(&path));
    let expected = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
    let output = c
        .run_sh("readlink /proc/self/ns/pid; [ $$ != 1 ] && tr '\\0' ' ' </proc/1/cmdline")
        .ok();
    assert!(output.stdout.starts_with(&expected), "{}", output.story());
    assert!(
        output.stdout.contains("sleep 1000"),
        "the first container's init is seen: {}",
        output.story()
    );
    drop(holder);
}

#[test]
fn a_user_namespace_joined_by_path() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    let first = Bundle::busybox().user_namespace(100_000, 65536).sh("sleep 1000");
    first.launch();
    let user = format!("/proc/{}/ns/user", first.pid());
    let c = c
        .without("linux.uidMappings")
        .without("linux.gidMappings")
        .namespace("user", Some(&user));
    let expected = fs::read_link(&user).unwrap().to_string_lossy().into_owned();
    c.run_sh("readlink /proc/self/ns/user; id -u")
        .prints(&format!("{expected}\n0\n"));
}

#[test]
fn a_user_namespace_joined_with_its_network() {
    let first = Bundle::busybox().user_namespace(100_000, 65536).sh("sleep 1000");
    first.launch();
    let path = |link: &str| format!("/proc/{}/ns/{link}", first.pid());
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    let c = c.without("linux.uidMappings").without("linux.gidMappings");
    let c = c
        .namespace("user", Some(&path("user")))
        .namespace("network", Some(&path("net")));
    let expected = fs::read_link(path("net")).unwrap().to_string_lossy().into_owned();
    c.run_sh("readlink /proc/self/ns/net").prints(&format!("{expected}\n"));
}

#[test]
fn a_path_of_the_wrong_type_is_refused() {
    let holder = Holder::of(&["--net", "--uts"]);
    let c = Bundle::busybox().namespace("network", Some(&holder.namespace("uts")));
    c.create().exits(1);
    c.assert_no_trace();
    let c = Bundle::busybox().namespace("network", Some("/etc/passwd"));
    c.create().exits(1);
    c.assert_no_trace();
}

#[test]
fn hostname_and_domainname() {
    Bundle::busybox()
        .set("hostname", "harbour")
        .run(&["hostname"])
        .prints("harbour\n");
    let long = "h".repeat(64);
    Bundle::busybox()
        .set("hostname", long.as_str())
        .run(&["hostname"])
        .prints(&format!("{long}\n"));
}

#[test]
fn domainname() {
    except!(Runc; "runc 1.1 knows no domainname");
    let c = Bundle::busybox().set("domainname", "example.org");
    c.run(&["cat", "/proc/sys/kernel/domainname"]).prints("example.org\n");
}

#[test]
fn no_hostname_leaves_the_hosts_name() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    Bundle::busybox()
        .without("hostname")
        .run(&["cat", "/proc/sys/kernel/hostname"])
        .prints(&host);
}

#[test]
fn loopback_is_up_in_a_new_network() {
    let c = Bundle::busybox();
    c.run_sh("ip link show lo").shows("LOWER_UP");
    c.run_sh("cat /proc/net/dev | grep -c :").prints("1\n");
    c.run_sh("ping -c 1 -w 5 127.0.0.1 >/dev/null 2>&1 || ip addr show lo")
        .ok();
}

#[test]
fn user_namespace_maps() {
    let c = Bundle::busybox().user_namespace(100_000, 1000).config(|spec| {
        spec["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 5000, "hostID": 300_000, "size": 7 },
        ]);
    });
    let output = c.run_sh("cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g").ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "0", "100000", "1000", "5000", "300000", "7", "0", "100000", "1000", "0", "0"
        ]
    );
}

#[test]
fn user_namespace_full_map() {
    let c = Bundle::busybox().user_namespace(0, 4_294_967_295);
    c.run_sh("cat /proc/self/uid_map | tr -s ' '; id -u")
        .prints(" 0 0 4294967295\n0\n");
}

#[test]
fn user_namespace_is_real_on_disk() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    c.run_sh("touch /made; stat -c %u /made").prints("0\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(c.in_rootfs("/made")).unwrap().uid(), 100_000);
}

#[test]
fn user_namespace_with_another_user_and_groups() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    let c = c.set(
        "process.user",
        json!({ "uid": 1000, "gid": 1000, "additionalGids": [33] }),
    );
    c.run_sh("id -u; id -g; id -G").prints("1000\n1000\n1000 33\n");
}

#[test]
fn user_namespace_lets_groups_be_set() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    c.run(&["cat", "/proc/self/setgroups"]).prints("allow\n");
}

#[test]
fn user_namespace_has_the_usual_devices() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    c.run_sh("echo x >/dev/null; head -c 3 /dev/zero | wc -c; for d in full random urandom tty; do [ -c /dev/$d ] || echo no $d; done")
        .prints("3\n");
}

#[test]
fn user_namespace_shared_network_gets_a_sys() {
    except!(Runc; "runc binds the host's /sys only where the config asks for a bind");
    let c = Bundle::busybox()
        .user_namespace(100_000, 65536)
        .without_namespace("network");
    c.run_sh("ls /sys/kernel >/dev/null && echo seen").prints("seen\n");
}

#[test]
fn a_bind_source_that_only_the_hosts_root_can_reach() {
    let c = Bundle::busybox().user_namespace(100_000, 65536);
    let secret = c.scrap_folder("closed/open");
    fs::write(secret.join("file"), "reached\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(secret.parent().unwrap(), fs::Permissions::from_mode(0o0)).unwrap();
    // runc 1.1 does not keep the flags that a /tmp of its own gives the source.
    let c = c.bind(&secret, "/mnt", &["bind", "ro", "nosuid", "nodev"]);
    c.run(&["cat", "/mnt/file"]).prints("reached\n");
}

#[test]
fn time_offsets() {
    needs!(std::path::Path::new("/proc/self/ns/time").exists(); "time namespaces");
    except!(Runc; "runc 1.1 knows no time namespace");
    let offsets =
        json!({ "monotonic": { "secs": 7881, "nanosecs": 2_718_281 }, "boottime": { "secs": 1337, "nanosecs": 314 } });
    let c = Bundle::busybox()
        .namespace("time", None)
        .set("linux.timeOffsets", offsets);
    let output = c
        .run_sh("cat /proc/self/timens_offsets; readlink /proc/self/ns/time")
        .ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "7881", "2718281", "boottime", "1337", "314"]);
    assert_ne!(words[6], own("time"));
}

#[test]
fn a_time_namespace_without_offsets() {
    needs!(std::path::Path::new("/proc/self/ns/time").exists(); "time namespaces");
    except!(Runc; "runc 1.1 knows no time namespace");
    let c = Bundle::busybox().namespace("time", None);
    assert_ne!(c.run(&["readlink", "/proc/self/ns/time"]).ok().text(), own("time"));
}

#[test]
fn time_offsets_with_a_user_namespace() {
    needs!(std::path::Path::new("/proc/self/ns/time").exists(); "time namespaces");
    except!(Runc, Crun; "runc 1.1 knows no time namespace; crun cannot open the file then");
    let c = Bundle::busybox().user_namespace(100_000, 65536).namespace("time", None);
    let c = c.set("linux.timeOffsets", json!({ "boottime": { "secs": 1000 } }));
    c.run_sh("cat /proc/self/timens_offsets").shows("1000");
}

#[test]
fn the_cgroup_namespace_hides_the_path() {
    let c = Bundle::busybox().namespace("cgroup", None);
    c.run(&["cat", "/proc/self/cgroup"]).hides(c.id());
    let c = Bundle::busybox();
    c.run(&["cat", "/proc/self/cgroup"]).shows(c.id());
}

#[test]
fn the_hosts_namespaces_stay_as_they_were() {
    let before = LINKS.map(|(_, link)| own(link));
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    Bundle::busybox().set("hostname", "elsewhere").run(&["true"]).ok();
    assert_eq!(LINKS.map(|(_, link)| own(link)), before);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), hostname);
}

#[test]
fn without_a_pid_namespace_the_end_of_init_is_the_end_of_all() {
    let c = Bundle::busybox()
        .without_namespace("pid")
        .sh("sleep 1000 & sleep 1000 & echo $! ; wait");
    let created = c.launch();
    eventually("the children to be there", || !created.stdout_now().is_empty());
    let child: i32 = created.stdout_now().trim().parse().unwrap();
    c.call("kill").flag("--all").after(&["KILL"]).output().ok();
    c.wait();
    eventually("all processes to be gone", || !crate::harness::alive(child));
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn without_a_pid_namespace_delete_force_ends_all() {
    except!(Runc if Cgroups::host().layout() == Layout::V2; "runc 1.1 removes a v2 cgroup before its processes have left");
    let c = Bundle::busybox()
        .without_namespace("pid")
        .sh("sleep 1000 & echo $! ; sleep 1000");
    let created = c.launch();
    eventually("the child to be there", || !created.stdout_now().is_empty());
    let child: i32 = created.stdout_now().trim().parse().unwrap();
    c.delete_force().ok();
    assert!(!crate::harness::alive(child));
    c.assert_no_trace();
}
