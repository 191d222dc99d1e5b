//! Containers of users who are not root: with a single id, with the ids of `/etc/subuid`, and with a systemd of their own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::harness::{Bundle, Call, Cgroups, Layout, Output, cgroup_of, eventually, guest, has_systemd, runtime};

/// Somebody who calls the runtime.
#[derive(Clone, Debug)]
struct User {
    uid: u32,
    gid: u32,
    /// The first id of `/etc/subuid`, and how many there are.
    more: Option<(u32, u32)>,
    /// `NAME=value` of his environment.
    env: Vec<String>,
}

impl User {
    /// Somebody without any rights.
    fn nobody() -> User {
        User {
            uid: 65_534,
            gid: 65_534,
            more: None,
            env: Vec::new(),
        }
    }

    /// The first user who has more ids, the same ones for groups.
    fn with_more_ids() -> Option<User> {
        let table = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let users = table("/etc/subuid");
        let fields: Vec<&str> = users.lines().next()?.split(':').collect();
        let &[name, first, count] = fields.as_slice() else {
            return None;
        };
        let line = format!("{name}:{first}:{count}");
        table("/etc/subgid").lines().find(|l| *l == line)?;
        let passwd = table("/etc/passwd");
        let user = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let ids: Vec<u32> = user
            .split(':')
            .skip(2)
            .take(2)
            .filter_map(|id| id.parse().ok())
            .collect();
        Some(User {
            uid: *ids.first()?,
            gid: *ids.get(1)?,
            more: Some((first.parse().ok()?, count.parse().ok()?)),
            env: Vec::new(),
        })
    }

    /// As [`User::with_more_ids`], with a systemd of his own; his environment is what Podman's conmon leaves of one.
    fn with_session() -> Option<User> {
        static STARTED: OnceLock<bool> = OnceLock::new();
        let user = User::with_more_ids()?;
        let started = STARTED.get_or_init(|| {
            has_systemd() && Cgroups::host().layout() == Layout::V2 && {
                let unit = format!("user@{}.service", user.uid);
                let linger = Command::new("loginctl")
                    .args(["enable-linger", &user.uid.to_string()])
                    .status();
                let start = Command::new("systemctl").args(["start", "dbus.socket", &unit]).status();
                linger.is_ok_and(|s| s.success()) && start.is_ok_and(|s| s.success())
            }
        });
        let runtime_dir = format!("XDG_RUNTIME_DIR=/run/user/{}", user.uid);
        started.then_some(User {
            env: vec![runtime_dir],
            ..user
        })
    }

    fn session_slice(&self) -> String {
        let uid = self.uid;
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice")
    }

    /// A bundle of his own, in a user namespace whose root he is.
    fn bundle(&self, c: Bundle) -> Bundle {
        let map = |own: u32| match self.more {
            Some((first, count)) => json!([
                { "containerID": 0, "hostID": own, "size": 1 },
                { "containerID": 1, "hostID": first, "size": count.min(65_536) },
            ]),
            None => json!([{ "containerID": 0, "hostID": own, "size": 1 }]),
        };
        let c = c
            .namespace("user", None)
            .set("linux.uidMappings", map(self.uid))
            .set("linux.gidMappings", map(self.gid))
            .without("linux.cgroupsPath")
            .without_mount("/sys");
        let own = c.scrap_folder("bin").join(runtime().path.file_name().unwrap());
        fs::copy(&runtime().path, own).unwrap();
        let status = Command::new("chown")
            .args(["-Rh", &format!("{}:{}", self.uid, self.gid)])
            .arg(c.scrap(""))
            .status();
        assert!(status.unwrap().success());
        c
    }

    /// A call by him.
    fn call<'b>(&self, c: &'b Bundle, verb: &str) -> Call<'b> {
        self.call_by_way_of("", c, verb)
    }

    /// A call by him; `wrap` is a program with its arguments that starts the runtime.
    fn call_by_way_of<'b>(&self, wrap: &str, c: &'b Bundle, verb: &str) -> Call<'b> {
        // The suite's own copy of the runtime may lie where only root comes.
        let own = c.scrap("bin").join(runtime().path.file_name().unwrap());
        c.call(verb).before(&format!(
            "shift; exec setpriv --reuid={} --regid={} --clear-groups env -u DBUS_SESSION_BUS_ADDRESS -u XDG_RUNTIME_DIR \
             {} {wrap} {} \"$@\"",
            self.uid,
            self.gid,
            self.env.join(" "),
            own.display(),
        ))
    }

    /// Creates, starts and waits for `ready`.
    #[track_caller]
    fn launch<'b>(&self, c: &'b Bundle, call: impl FnOnce(Call<'b>) -> Call<'b>) -> Output {
        let created = call(self.call(c, "create")).output().ok();
        self.call(c, "start").output().ok();
        eventually("the payload to be ready", || created.stdout_now().contains("ready"));
        created
    }

    #[track_caller]
    fn end(&self, c: &Bundle) {
        self.call(c, "kill").after(&["KILL"]).output().ok();
        c.wait();
        self.call(c, "delete").output().ok();
        c.assert_no_trace();
    }
}

/// What every user can do.
#[track_caller]
fn goes_its_way(user: &User) {
    let c = user.bundle(Bundle::sleeper());
    user.launch(&c, |call| call);
    let init = fs::metadata(format!("/proc/{}", c.pid())).unwrap();
    assert_eq!(init.uid(), user.uid);
    let state = user.call(&c, "state").output().json();
    assert_eq!(state["status"], "running");
    let output = user
        .call(&c, "exec")
        .after(&["sh", "-c", "id -u; cat /proc/1/comm; exit 7"])
        .output();
    assert_eq!(output.exits(7).stdout, "0\nsleep\n");
    user.end(&c);
}

#[test]
fn with_one_id() {
    goes_its_way(&User::nobody());
}

#[test]
fn with_more_ids() {
    let Some(user) = User::with_more_ids() else {
        return crate::harness::not_for_this_host("a user with ids in /etc/subuid and /etc/subgid");
    };
    goes_its_way(&user);
    let script = "touch /f && chown 1000:1000 /f && stat -c %u:%g /f && wc -l </proc/self/uid_map";
    let c = user.bundle(Bundle::busybox().capabilities(&["CAP_CHOWN"]));
    user.call(&c, "run")
        .runs(&["/bin/sh", "-c", script])
        .output()
        .prints("1000:1000\n2\n");
    let first = user.more.map(|(first, _)| first);
    assert_eq!(
        Some(fs::metadata(c.in_rootfs("/f")).unwrap().uid()),
        first.map(|f| f + 999)
    );
}

/// The settings and the cache of native code are his own.
#[test]
fn a_module_runs_and_is_compiled_for_its_user_alone() {
    only!(Runw; "modules are run by our own engine");
    let programs = runtime().path.parent().unwrap();
    let libraries = programs.with_file_name("lib/runw");
    needs!(libraries.join("runw-wasm").exists(); "a twin that can be copied: scripts/build");
    let nobody = User::nobody();
    // What it shows of itself takes no rights either.
    let c = guest("view").args(&["/view.wasm", "read=/proc/self/cmdline", "tty=1"]);
    let (bin, lib) = (c.scrap_folder("bin"), c.scrap_folder("lib").join("runw"));
    fs::create_dir(&lib).unwrap();
    fs::copy(programs.join("runw-aot"), bin.join("runw-aot")).unwrap();
    for file in fs::read_dir(&libraries).unwrap().flatten() {
        fs::copy(file.path(), lib.join(file.file_name())).unwrap();
    }
    let (config, cache) = (c.scrap_folder("config"), c.scrap_folder("cache"));
    fs::create_dir(config.join("runw")).unwrap();
    fs::write(config.join("runw/config.toml"), "[wasm]\naot = \"wait\"\n").unwrap();
    let c = nobody.bundle(c);
    let user = User {
        env: vec![
            format!("XDG_CONFIG_HOME={}", config.display()),
            format!("XDG_CACHE_HOME={}", cache.display()),
        ],
        ..nobody
    };
    let log = c.scrap("log");
    for _ in 0..2 {
        let call = user.call(&c, "run").global("--debug").global("--log").global(&log);
        call.output()
            .prints("/view.wasm\0read=/proc/self/cmdline\0tty=1\0no terminal\n");
    }
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(
        log.matches("the module runs as optimised native code").count(),
        2,
        "{log}"
    );
    assert_eq!(log.matches("compile /view.wasm into").count(), 1, "{log}");
    let folder = fs::metadata(cache.join("runw/aot")).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o7777), (user.uid, 0o700));
}

#[test]
fn an_id_that_is_not_ones_own_is_refused() {
    let user = User::nobody();
    let c = user.bundle(Bundle::busybox());
    let c = c.set(
        "linux.uidMappings",
        json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
    );
    let output = user.call(&c, "run").output();
    assert_ne!(output.code, 0, "{}", output.story());
    c.assert_no_trace();
}

#[test]
fn a_cgroup_that_was_asked_for_is_not_done_without() {
    let user = User::nobody();
    let c = user.bundle(Bundle::busybox());
    let path = c.cgroup_path();
    let c = c.set("linux.cgroupsPath", path);
    user.call(&c, "run").output().fails("permission denied");
    c.assert_no_trace();
}

/// A scope of his own systemd, found and asked by one way or the other.
#[track_caller]
fn has_a_scope(user: &User) {
    let c = user.bundle(Bundle::sleeper().set(
        "linux.resources",
        json!({
            "memory": { "limit": 67_108_864 }, "pids": { "limit": 40 },
        }),
    ));
    user.launch(&c, |call| call.global("--systemd-cgroup"));
    let cgroup = cgroup_of(c.pid());
    assert!(cgroup.starts_with(&user.session_slice()), "{cgroup}");
    let file = |name: &str| {
        let path = Cgroups::host().folder("memory", &cgroup).join(name);
        fs::read_to_string(path).unwrap().trim_end().to_owned()
    };
    assert_eq!(file("memory.max"), "67108864");
    assert_eq!(file("pids.max"), "40");
    let own = user.call(&c, "exec").after(&["cat", "/proc/self/cgroup"]).output().ok();
    assert!(own.text().contains(&cgroup), "{}", own.text());
    user.call(&c, "update").flag("--pids-limit").flag("30").output().ok();
    assert_eq!(file("pids.max"), "30");
    user.call(&c, "pause").output().ok();
    assert_eq!(file("cgroup.freeze"), "1");
    user.call(&c, "resume").output().ok();
    user.end(&c);
    assert!(!Cgroups::host().folder("memory", &cgroup).exists());
}

#[test]
fn by_the_systemd_of_the_session() {
    except!(Runc, Crun; "runc wants the bus' address, crun has a cgroup of its own below the scope");
    match User::with_session() {
        Some(user) => has_a_scope(&user),
        None => crate::harness::not_for_this_host("a systemd and a user with ids of his own"),
    }
}

#[test]
fn by_the_bus_of_the_session() {
    except!(Runc, Crun; "runc 1.1 leaves exec where its caller is, crun has a cgroup of its own below the scope");
    let Some(user) = User::with_session() else {
        return crate::harness::not_for_this_host("a systemd and a user with ids of his own");
    };
    let address = format!("DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{}/bus", user.uid);
    has_a_scope(&User {
        env: vec![address, "XDG_RUNTIME_DIR=/run/nowhere".to_owned()],
        ..user
    });
}

#[test]
fn by_root_of_a_user_namespace() {
    only!(Runw; "the peers need busctl or the bus' address");
    let Some(user) = User::with_session() else {
        return crate::harness::not_for_this_host("a systemd and a user with ids of his own");
    };
    let c = user.bundle(Bundle::sleeper());
    let c = c
        .without_namespace("user")
        .without("linux.uidMappings")
        .without("linux.gidMappings");
    let wrap = "unshare --user --map-root-user";
    let created = user
        .call_by_way_of(wrap, &c, "create")
        .global("--systemd-cgroup")
        .output()
        .ok();
    user.call_by_way_of(wrap, &c, "start").output().ok();
    eventually("the payload to be ready", || created.stdout_now().contains("ready"));
    let cgroup = cgroup_of(c.pid());
    assert!(cgroup.starts_with(&user.session_slice()), "{cgroup}");
    user.end(&c);
}

#[test]
fn without_a_session_the_way_to_one_is_told() {
    only!(Runw; "the words are our own");
    needs!(has_systemd(); "systemd");
    let user = User::nobody();
    let c = user.bundle(Bundle::busybox());
    user.call(&c, "run")
        .global("--systemd-cgroup")
        .output()
        .fails("loginctl enable-linger");
    c.assert_no_trace();
}
