//! What configurations are accepted, and the exact line that tells why one is not.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::path::PathBuf;

use runw::config::{Config, check, check_rootfs};
use runw::error::Kind;
use runw::oci::{Bundle, Starter};
use serde_json::{Value, json};

const DOCKER: &[u8] = include_bytes!("../integration/data/docker-config.json");

fn load(json: impl Into<Vec<u8>>) -> runw::Result<Config> {
    Bundle::parse(PathBuf::from("/bundle"), json.into()).and_then(|bundle| check(&bundle))
}

fn docker() -> Value {
    serde_json::from_slice(DOCKER).unwrap()
}

/// The place in `tree` that a JSON path such as `linux.namespaces[2].type` names; what is missing on the way is made.
fn place<'a>(tree: &'a mut Value, path: &str) -> &'a mut Value {
    path.split(['.', '['])
        .fold(tree, |tree, part| match part.strip_suffix(']') {
            Some(index) => &mut tree[index.parse::<usize>().unwrap()],
            None => &mut tree[part],
        })
}

/// Docker's config with some places changed; null stands for "taken away".
fn changed(changes: &[(&str, Value)]) -> String {
    let mut config = docker();
    for (path, value) in changes {
        *place(&mut config, path) = value.clone();
    }
    config.to_string()
}

#[test]
fn dockers_default_config_is_accepted() {
    let config = load(DOCKER).unwrap();
    assert_eq!(config.rootfs, PathBuf::from("/bundle/rootfs"));
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.mounts.len(), 7);
    let process = config.process.unwrap();
    assert_eq!(process.args, ["/bin/true"]);
    assert_eq!(process.capabilities.bounding, process.capabilities.permitted);
    assert_eq!(process.capabilities.bounding.count_ones(), 14);
    assert!(config.seccomp.unwrap().syscalls().as_ref().unwrap().len() > 5);
}

#[test]
fn the_starter_configs_are_accepted() {
    for unified_cgroup in [false, true] {
        for rootless in [None, Some((1000, 1000))] {
            let text = Starter {
                unified_cgroup,
                rootless,
            }
            .text()
            .unwrap();
            assert_eq!(load(text).unwrap().warnings, [""; 0]);
        }
    }
}

#[test]
fn the_least_that_is_accepted() {
    let config = load(r#"{"ociVersion":"1.0.0","root":{"path":"/"}}"#).unwrap();
    assert!(config.process.is_none());
    assert_eq!(config.rootfs, PathBuf::from("/"));
}

#[test]
fn a_missing_rootfs_is_told_without_the_words_of_a_missing_program() {
    let error = |path: &str| {
        check_rootfs(&load(changed(&[("root.path", json!(path))])).unwrap())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error("/nowhere/at/all"),
        "config.json: root.path: there is no folder /nowhere/at/all, unpack the root file system there or correct the path"
    );
    assert_eq!(
        error("/proc/self/status"),
        "config.json: root.path: /proc/self/status is not a folder, unpack the root file system there"
    );
    assert!(check_rootfs(&load(changed(&[("root.path", json!("/"))])).unwrap()).is_ok());
}

#[test]
fn what_is_odd_but_harmless_is_a_warning() {
    let warning = |path: &str, value: Value| load(changed(&[(path, value)])).unwrap().warnings.join("; ");
    assert_eq!(
        warning("process.capabilities.bounding[0]", json!("CAP_FROM_THE_FUTURE")),
        "process.capabilities.bounding[0]: unknown capability CAP_FROM_THE_FUTURE is left out"
    );
    assert_eq!(
        warning("mounts[1].destination", json!("dev")),
        "mounts[1].destination: \"dev\" is relative, it is taken from /; this is deprecated"
    );
    assert_eq!(warning("frobnicate", json!({"a": 1})), "");
    assert_eq!(warning("annotations", json!({"org.example.unknown": ""})), "");
    assert_eq!(
        warning("linux.resources.memory", json!({"kernel": 1})),
        "linux.resources.memory.kernel: limits of kernel memory are obsolete and have no effect"
    );
}

/// Docker's config with these changes is refused with exactly this line (after `config.json: `).
fn no(changes: &[(&str, Value)], line: &str) {
    let error = match load(changed(changes)) {
        Ok(_) => panic!("{changes:?} is accepted"),
        Err(e) => e.to_string(),
    };
    assert_eq!(error.strip_prefix("config.json: "), Some(line), "{changes:?}: {error}");
}

fn gone() -> Value {
    Value::Null
}

#[test]
fn what_is_no_configuration() {
    for (text, line) in [
        ("", "line 1, column 0: not valid JSON: EOF while parsing a value"),
        ("{", "line 1, column 1: not valid JSON: EOF while parsing an object"),
        (
            "{\"ociVersion\": \"1.0.0\",\n}",
            "line 2, column 1: not valid JSON: trailing comma",
        ),
        ("{} {}", "line 1, column 4: not valid JSON: trailing characters"),
        ("null", "the document: invalid type: null, expected struct Spec"),
        ("[]", "the document: is an array, it must be an object"),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), format!("config.json: {line}"));
    }
}

#[test]
fn values_of_the_wrong_type() {
    no(
        &[("ociVersion", json!(1))],
        "ociVersion: invalid type: integer `1`, expected a string",
    );
    no(&[("root", json!([]))], "root: is an array, it must be an object");
    no(&[("linux", json!([]))], "linux: is an array, it must be an object");
    no(
        &[("process.args", json!("sh"))],
        "process.args: invalid type: string \"sh\", expected a sequence",
    );
    no(
        &[("process.args[0]", json!(1))],
        "process.args[0]: invalid type: integer `1`, expected a string",
    );
    no(
        &[("process.user.uid", json!(-1))],
        "process.user.uid: invalid value: integer `-1`, expected u32",
    );
    no(
        &[("process.user.gid", json!("0"))],
        "process.user.gid: invalid type: string \"0\", expected u32",
    );
    no(
        &[("process.terminal", json!("yes"))],
        "process.terminal: invalid type: string \"yes\", expected a boolean",
    );
    no(
        &[("process.cwd", gone())],
        "process.cwd: is missing, the runtime spec requires it",
    );
    no(
        &[("mounts[3].destination", gone())],
        "mounts[3].destination: is missing, the runtime spec requires it",
    );
    no(
        &[("linux.namespaces[1].type", json!("net"))],
        "linux.namespaces[1].type: unknown variant `net`, expected one of `mount`, `cgroup`, `uts`, `ipc`, `user`, `pid`, \
         `network`, `time`",
    );
    no(
        &[("linux.resources.memory.limit", json!(1.5))],
        "linux.resources.memory.limit: invalid type: floating point `1.5`, expected i64",
    );
    no(
        &[("linux.sysctl", json!({"net.core.somaxconn": 1}))],
        "linux.sysctl.net.core.somaxconn: invalid type: integer `1`, expected a string",
    );
}

#[test]
fn version_root_and_names() {
    no(
        &[("ociVersion", gone())],
        "ociVersion: is missing, write the version of the runtime spec such as \"1.3.0\"",
    );
    no(
        &[("ociVersion", json!("invalid"))],
        "ociVersion: \"invalid\" is not a semantic version such as \"1.3.0\"",
    );
    no(
        &[("ociVersion", json!("2.0.0"))],
        "ociVersion: version 2.0.0 of the runtime spec is not supported, only 1.x is",
    );
    no(
        &[("root", gone())],
        "root: is missing, name the root file system in root.path",
    );
    no(
        &[("root.path", gone())],
        "root.path: is missing, name the folder of the root file system",
    );
    no(
        &[("root.path", json!("a\0b"))],
        "root.path: holds a NUL byte, which no system call can take",
    );
    no(
        &[("linux.namespaces[2]", json!({"type": "cgroup"}))],
        "hostname: cannot be set without a private UTS namespace, add {\"type\":\"uts\"} to linux.namespaces or drop hostname",
    );
    no(
        &[
            ("hostname", gone()),
            ("domainname", json!("x")),
            ("linux.namespaces[2]", json!({"type": "cgroup"})),
        ],
        "domainname: cannot be set without a private UTS namespace, add {\"type\":\"uts\"} to linux.namespaces or drop domainname",
    );
    no(
        &[("hostname", json!("h".repeat(65)))],
        "hostname: is 65 bytes long, the kernel takes at most 64",
    );
}

#[test]
fn processes() {
    no(
        &[("process.args", json!([]))],
        "process.args: must not be empty, name the program to run",
    );
    no(
        &[("process.args", gone())],
        "process.args: must not be empty, name the program to run",
    );
    no(
        &[("process.args[0]", json!("a\0"))],
        "process.args[0]: holds a NUL byte, which no system call can take",
    );
    no(
        &[("process.cwd", json!("tmp"))],
        "process.cwd: \"tmp\" is not absolute, it must begin with /",
    );
    no(
        &[("process.env[1]", json!("HOME"))],
        "process.env[1]: \"HOME\" has no '=', write NAME=VALUE",
    );
    no(
        &[("process.env[1]", json!("=x"))],
        "process.env[1]: \"=x\" has no name before the '='",
    );
    no(
        &[("process.env[0]", json!("A=\0"))],
        "process.env[0]: holds a NUL byte, which no system call can take",
    );
    no(
        &[("process.user.umask", json!(512))],
        "process.user.umask: 512 is more than 511 (octal 777)",
    );
    no(
        &[("process.user.uid", json!(4_294_967_295_u32))],
        "process.user.uid: 4294967295 is no id: to the kernel it means \"no change\"",
    );
    no(
        &[
            ("process.terminal", json!(true)),
            ("process.consoleSize", json!({"height": 1, "width": 65536})),
        ],
        "process.consoleSize.width: 65536 is more than 65535",
    );
    no(
        &[("process.oomScoreAdj", json!(1001))],
        "process.oomScoreAdj: 1001 is not from -1000 to 1000",
    );
    let rlimit = |name: &str, soft: u64, hard: u64| json!({"type": name, "soft": soft, "hard": hard});
    no(
        &[(
            "process.rlimits",
            json!([
                rlimit("RLIMIT_NPROC", 1, 1),
                rlimit("RLIMIT_CORE", 1, 1),
                rlimit("RLIMIT_NPROC", 2, 2)
            ]),
        )],
        "process.rlimits[2].type: RLIMIT_NPROC is listed twice, keep one entry of each type",
    );
    no(
        &[("process.rlimits", json!([rlimit("RLIMIT_NPROC", 2, 1)]))],
        "process.rlimits[0].soft: the soft limit 2 is above the hard limit 1",
    );
    no(
        &[("process.scheduler", json!({"policy": "SCHED_FIFO"}))],
        "process.scheduler.priority: 0 is not from 1 to 99, which SCHED_FIFO needs",
    );
    no(
        &[("process.scheduler", json!({"policy": "SCHED_OTHER", "runtime": 5}))],
        "process.scheduler.runtime: is for SCHED_DEADLINE only, not for SCHED_OTHER",
    );
    no(
        &[("process.ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8}))],
        "process.ioPriority.priority: 8 is not from 0 to 7",
    );
    no(
        &[("process.execCPUAffinity", json!({"initial": "3-1"}))],
        "process.execCPUAffinity.initial: holds the backward range \"3-1\"",
    );
}

#[test]
fn namespaces_and_mappings() {
    no(
        &[("linux.namespaces[4]", json!({"type": "pid"}))],
        "linux.namespaces[4].type: the namespace \"pid\" is listed twice, keep one entry of each type",
    );
    no(
        &[("linux.namespaces[1].path", json!("netns/blue"))],
        "linux.namespaces[1].path: \"netns/blue\" is not absolute, give the namespace file's full path such as /run/netns/blue",
    );
    let map = |container: u32, host: u32, size: u32| json!([{"containerID": container, "hostID": host, "size": size}]);
    no(
        &[("linux.uidMappings", map(0, 1000, 1))],
        "linux.uidMappings: mappings need a user namespace, add {\"type\":\"user\"} to linux.namespaces or drop them",
    );
    let user = || ("linux.namespaces[3]", json!({"type": "user"}));
    no(
        &[user()],
        "linux.uidMappings: is missing, a new user namespace needs a mapping such as \
         {\"containerID\":0,\"hostID\":100000,\"size\":65536}",
    );
    no(
        &[
            user(),
            ("linux.uidMappings", map(1, 1000, 5)),
            ("linux.gidMappings", map(0, 1000, 5)),
        ],
        "linux.uidMappings: id 0 of the container is not mapped, add a mapping with containerID 0",
    );
    no(
        &[user(), ("linux.uidMappings", map(0, 1000, 0))],
        "linux.uidMappings[0].size: is 0 or missing, map at least one id",
    );
    no(
        &[user(), ("linux.uidMappings", map(2, 0, 4_294_967_295))],
        "linux.uidMappings[0]: reaches beyond the highest id 4294967294, size 4294967295 is too large",
    );
    let both = [map(0, 1000, 5)[0].clone(), map(4, 5000, 5)[0].clone()];
    no(
        &[user(), ("linux.uidMappings", json!(both))],
        "linux.uidMappings[1]: overlaps with linux.uidMappings[0], each id may be mapped once on either side",
    );
    let mapped = |path, value| {
        [
            user(),
            ("linux.uidMappings", map(0, 1000, 5)),
            ("linux.gidMappings", map(0, 1000, 5)),
            (path, value),
        ]
    };
    no(
        &mapped("process.user.uid", json!(5)),
        "process.user.uid: the user id 5 is not mapped into the container's user namespace, extend linux.uidMappings",
    );
    no(
        &mapped("process.user.additionalGids", json!([4, 7])),
        "process.user.additionalGids[1]: the group id 7 is not mapped into the container's user namespace, extend linux.gidMappings",
    );
}

#[test]
fn time_sysctl_and_network() {
    let offset = |clock: &str, nanosecs: u32| ("linux.timeOffsets", json!({clock: {"secs": 1, "nanosecs": nanosecs}}));
    no(
        &[offset("monotonic", 0)],
        "linux.timeOffsets: need a time namespace, add {\"type\":\"time\"} to linux.namespaces or drop them",
    );
    let time = || ("linux.namespaces[3]", json!({"type": "time"}));
    no(
        &[time(), offset("realtime", 0)],
        "linux.timeOffsets.realtime: the clock \"realtime\" has no offset, use monotonic or boottime",
    );
    no(
        &[time(), offset("boottime", 1_000_000_000)],
        "linux.timeOffsets.boottime.nanosecs: 1000000000 is a second or more, use secs for whole seconds",
    );
    let sysctl = |name: &str| ("linux.sysctl", json!({name: "1"}));
    no(
        &[sysctl("kernel.core_pattern")],
        "linux.sysctl.kernel.core_pattern: is not in a namespace, a container may not change it",
    );
    no(
        &[sysctl("net/../kernel/core_pattern")],
        "linux.sysctl.net/../kernel/core_pattern: is no name of a sysctl, write it like net.core.somaxconn",
    );
    no(
        &[sysctl("kernel.hostname")],
        "linux.sysctl.kernel.hostname: is set by the property hostname, use that",
    );
    no(
        &[sysctl("user.max_user_namespaces")],
        "linux.sysctl.user.max_user_namespaces: would change the host, it needs a private user namespace: \
         add {\"type\":\"user\"} to linux.namespaces",
    );
    no(
        &[("linux.namespaces[1]", json!({"type": "cgroup"}))],
        "linux.sysctl.net.ipv4.ip_unprivileged_port_start: would change the host, it needs a private network namespace: \
         add {\"type\":\"network\"} to linux.namespaces",
    );
    no(
        &[("linux.netDevices", json!({"eth0": {"name": "much-too-long-name"}}))],
        "linux.netDevices.eth0.name: \"much-too-long-name\" is no name for a network device: at most 15 bytes, no '/', ':' or blank, \
         %d at most once",
    );
    no(
        &[
            ("linux.sysctl", gone()),
            ("linux.namespaces[1]", json!({"type": "time"})),
            ("linux.netDevices", json!({"eth0": {}})),
        ],
        "linux.netDevices: devices cannot be moved without a private network namespace, add {\"type\":\"network\"} to \
         linux.namespaces",
    );
}

#[test]
fn mounts() {
    let mount = |value: Value| ("mounts[6]", value);
    no(
        &[mount(json!({"destination": "/", "type": "tmpfs"}))],
        "mounts[6].destination: cannot mount over the root of the container, use root.path for another root",
    );
    no(
        &[mount(json!({"destination": "/x"}))],
        "mounts[6].type: is missing, name a file system, or add bind or rbind to the options",
    );
    no(
        &[mount(json!({"destination": "/x", "options": ["bind"]}))],
        "mounts[6].source: is missing, a bind mount needs the path on the host",
    );
    no(
        &[mount(
            json!({"destination": "/x", "source": "/y", "options": ["bind", "size=1k"]}),
        )],
        "mounts[6].options: a bind mount cannot take the file system option \"size=1k\", the kernel would ignore it: drop it",
    );
    no(
        &[mount(
            json!({"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}),
        )],
        "mounts[6].options: tmpcopyup works on tmpfs only, not on proc",
    );
    no(
        &[mount(
            json!({"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}),
        )],
        "mounts[6].options: idmap needs uidMappings and gidMappings of the mount, or a user namespace of the container to take them \
         from",
    );
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    no(
        &[mount(
            json!({"destination": "/x", "source": "/y", "options": ["bind"], "gidMappings": map}),
        )],
        "mounts[6].uidMappings: is missing, uidMappings and gidMappings must be given together",
    );
    no(
        &[mount(
            json!({"destination": "/x", "source": "/y", "options": ["bind", "copy-symlink", "src-nofollow"]}),
        )],
        "mounts[6].options[2]: copy-symlink excludes src-nofollow and dest-nofollow, drop one of them",
    );
    no(
        &[("linux.rootfsPropagation", json!("public"))],
        "linux.rootfsPropagation: \"public\" is unknown, use shared, slave, private or unbindable",
    );
    no(
        &[("linux.maskedPaths[0]", json!("proc/kcore"))],
        "linux.maskedPaths[0]: \"proc/kcore\" is not absolute, it must begin with /",
    );
    no(
        &[("linux.namespaces[0]", json!({"type": "cgroup"}))],
        "linux.maskedPaths: cannot be applied without a private mount namespace, add {\"type\":\"mount\"} to linux.namespaces",
    );
}

#[test]
fn devices_and_hooks() {
    let device = |value: Value| ("linux.devices", json!([value]));
    no(
        &[device(
            json!({"path": "dev/fuse", "type": "c", "major": 10, "minor": 229}),
        )],
        "linux.devices[0].path: \"dev/fuse\" is not the full path of a device inside the container, such as /dev/fuse",
    );
    no(
        &[device(
            json!({"path": "/dev/fuse", "type": "a", "major": 10, "minor": 229}),
        )],
        "linux.devices[0].type: \"a\" (all) is for resources.devices only, use c, u, b or p",
    );
    no(
        &[device(
            json!({"path": "/dev/fuse", "type": "c", "major": -1, "minor": 229}),
        )],
        "linux.devices[0].major: -1 is no device number, it must be from 0 to 4095",
    );
    no(
        &[("linux.resources.devices[1].access", gone())],
        "linux.resources.devices[1].access: is missing, name the rights by r, w and m",
    );
    no(
        &[("linux.resources.devices[1].access", json!("rx"))],
        "linux.resources.devices[1].access: \"rx\" holds 'x', only r, w and m are rights",
    );
    no(
        &[("hooks", json!({"poststop": [{"path": "bin/x"}]}))],
        "hooks.poststop[0].path: \"bin/x\" is not absolute, it must begin with /",
    );
    no(
        &[("hooks", json!({"prestart": [{"path": "/x", "timeout": 0}]}))],
        "hooks.prestart[0].timeout: 0 is not greater than zero; leave it out for no time limit",
    );
}

#[test]
fn resources() {
    let resource = |path: &str, value: Value, line: &str| {
        no(
            &[(&format!("linux.resources.{path}"), value)],
            &format!("linux.resources.{line}"),
        );
    };
    resource(
        "memory",
        json!({"limit": -2}),
        "memory.limit: -2 bytes are no limit; -1 is unlimited",
    );
    resource(
        "memory",
        json!({"limit": 100, "swap": 50}),
        "memory.swap: 50 is less than the memory limit 100, swap is the limit of memory and swap together",
    );
    resource(
        "memory",
        json!({"swappiness": 101}),
        "memory.swappiness: 101 is not from 0 to 100",
    );
    resource(
        "cpu",
        json!({"period": 10}),
        "cpu.period: 10 is not from 1000 to 1000000 microseconds",
    );
    resource(
        "cpu",
        json!({"quota": 10}),
        "cpu.quota: 10 is less than 1000 microseconds, the smallest quota; -1 is unlimited",
    );
    resource(
        "cpu",
        json!({"quota": 2000, "burst": 3000}),
        "cpu.burst: 3000 is more than the quota 2000",
    );
    resource(
        "cpu",
        json!({"cpus": "0-a"}),
        "cpu.cpus: holds \"a\" where a number is due, write a list such as \"0-3,7\"",
    );
    resource("cpu", json!({"idle": 7}), "cpu.idle: 7 is neither 0 nor 1");
    resource(
        "blockIO",
        json!({"weight": 5}),
        "blockIO.weight: 5 is not from 10 to 1000",
    );
    resource(
        "blockIO",
        json!({"weightDevice": [{"major": 8, "minor": 0}]}),
        "blockIO.weightDevice[0]: needs weight or leafWeight, or both",
    );
    resource(
        "hugepageLimits",
        json!([{"pageSize": "2M", "limit": 1}]),
        "hugepageLimits[0].pageSize: \"2M\" is no page size, write it like 64KB, 2MB or 1GB",
    );
    resource(
        "rdma",
        json!({"mlx5_0": {}}),
        "rdma.mlx5_0: needs hcaHandles or hcaObjects, or both",
    );
    resource(
        "unified",
        json!({"../memory.max": "1"}),
        "unified.../memory.max: \"../memory.max\" is no file name, name a file of the cgroup such as memory.high",
    );
    resource(
        "network",
        json!({"priorities": [{"name": "a/b", "priority": 1}]}),
        "network.priorities[0].name: \"a/b\" is no name of a network device",
    );
}

#[test]
fn seccomp_rdt_numa_and_personality() {
    no(
        &[("linux.seccomp.defaultAction", json!("SCMP_ACT_NOTIFY"))],
        "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default, the container could not even be set up: \
         name the syscalls to notify",
    );
    no(
        &[("linux.seccomp.syscalls[0].action", json!("SCMP_ACT_NOTIFY"))],
        "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath, the socket of the agent to notify",
    );
    no(
        &[("linux.seccomp.syscalls[0].errnoRet", json!(1))],
        "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW returns no errno, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
    );
    no(
        &[("linux.seccomp.syscalls[0].names", json!([]))],
        "linux.seccomp.syscalls[0].names: is empty, name at least one system call",
    );
    no(
        &[("linux.seccomp.syscalls[2].args[0].index", json!(6))],
        "linux.seccomp.syscalls[2].args[0].index: 6 is not from 0 to 5",
    );
    no(
        &[("linux.seccomp.listenerMetadata", json!("x"))],
        "linux.seccomp.listenerMetadata: needs listenerPath, set that or drop this",
    );
    no(
        &[("linux.intelRdt", json!({"closID": "../x"}))],
        "linux.intelRdt.closID: \"../x\" is no name of a class, use a plain name or / for the default class",
    );
    no(
        &[("linux.memoryPolicy", json!({"mode": "MPOL_BIND"}))],
        "linux.memoryPolicy.nodes: is empty, MPOL_BIND needs at least one node",
    );
    no(
        &[(
            "linux.personality",
            json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
        )],
        "linux.personality.flags: must be empty, the runtime spec defines no flag yet",
    );
}

/// Each place of `tree` with its JSON path, parents first.
fn places(tree: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match tree {
        // A key with a dot in it cannot be named by `place`.
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !key.contains('.'))
            .map(|(key, value)| (format!("{at}.{key}"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, value)| (format!("{at}[{i}]"), value))
            .collect(),
        _ => Vec::new(),
    };
    for (path, value) in children {
        found.push(path.trim_start_matches('.').to_owned());
        places(value, &path, found);
    }
}

/// Every value of Docker's config in turn becomes something else. Nothing may panic, and what is refused is refused in one line
/// that names a place at, above or beside the change.
#[test]
fn whatever_a_value_becomes_the_answer_is_one_line() {
    let mut paths = Vec::new();
    places(&docker(), "", &mut paths);
    // The members of an array are alike.
    paths.retain(|path| {
        path.split('[')
            .skip(1)
            .all(|part| part.starts_with(['0', '1']) && part[1..].starts_with(']'))
    });
    let others = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a\0\n"),
        json!("../.."),
        json!("\u{202e}"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"": ""}),
    ];
    let (mut refusals, mut cases) = (0, 0);
    for path in &paths {
        for other in &others {
            cases += 1;
            let Err(e) = load(changed(&[(path, other.clone())])) else {
                continue;
            };
            refusals += 1;
            let line = e.to_string();
            assert!(
                !line.contains('\n') && !line.contains('\0'),
                "{path} = {other}: {line:?}"
            );
            let Kind::Config { at, problem } = e.kind() else {
                panic!("{path} = {other}: {line}")
            };
            let first = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
            let related = first(at) == first(path) || path.starts_with("linux") || path.starts_with("process");
            assert!(related && !problem.is_empty(), "{path} = {other}: {line}");
        }
    }
    assert!(refusals > cases / 2, "{refusals} of {cases}");
}
