//! The host: kernel, privileges, cgroups, seccomp, CRIU, and the parts of the runtime itself.

use std::path::Path;
use std::process::Command;

use super::{Finding, Verdict};
use crate::aot::{Compiler, Wishes};
use crate::cgroup::{self, Hierarchy, Mode};
use crate::config::NamespaceKind;
use crate::container::CgroupManager;
use crate::criu;
use crate::payload::{twin, wasm};
use crate::settings::Settings;
use crate::sys::cred;

/// Looks at the host, for a runtime that has cgroups made by `manager`.
pub fn host(manager: CgroupManager) -> Vec<Finding> {
    let mut findings = vec![
        kernel(),
        namespaces(),
        privileges(),
        cgroups(manager),
        seccomp(),
        criu(),
    ];
    findings.extend(engine());
    findings
}

/// Linux 5.4: waiting by pidfd. 5.12: mount_setattr(2).
const OLDEST_KERNEL: (u32, u32) = (5, 4);
const FULL_KERNEL: (u32, u32) = (5, 12);

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let found = format!("Linux {release}");
    match version(&release) {
        Some(version) if version < OLDEST_KERNEL => Finding::failure(
            "kernel",
            format!("{found} cannot wait for a process by its pidfd"),
            "use Linux 5.4 or later, better 5.12",
        ),
        Some(version) if version < FULL_KERNEL => Finding::warning(
            "kernel",
            format!("{found} has no mount_setattr: id-mapped mounts and rro fail"),
            "use Linux 5.12 or later",
        ),
        _ => Finding::ok("kernel", found),
    }
}

/// Major and minor number of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn namespaces() -> Finding {
    let missing = |kind: &NamespaceKind| !Path::new("/proc/self/ns").join(kind.proc_name()).exists();
    let missing: Vec<&str> = NamespaceKind::ALL
        .iter()
        .filter(|kind| missing(kind))
        .map(|kind| kind.config_name())
        .collect();
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if missing.contains(&"mount") || missing.contains(&"pid") {
        return Finding::failure(
            "namespaces",
            format!("the kernel has no namespaces of type {}", missing.join(", ")),
            "mount /proc, or use a kernel with CONFIG_NAMESPACES",
        );
    }
    if !missing.is_empty() {
        return Finding::warning(
            "namespaces",
            format!("the kernel has no namespaces of type {}", missing.join(", ")),
            "leave them out of linux.namespaces",
        );
    }
    if limit.trim() == "0" {
        return Finding::warning(
            "namespaces",
            "user namespaces are switched off",
            "sysctl user.max_user_namespaces=10000",
        );
    }
    Finding::ok("namespaces", "all eight types")
}

/// `CAP_CHECKPOINT_RESTORE`, the last that is known here (capabilities(7)).
const LAST_CAP: u32 = 40;

fn privileges() -> Finding {
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return rootless();
    }
    let effective = cred::capabilities().map_or(0, |sets| sets.effective);
    let missing: Vec<String> = (0..=LAST_CAP)
        .filter(|n| effective & 1 << n == 0)
        .map(name_of_cap)
        .collect();
    match missing.is_empty() {
        true => Finding::ok("privileges", "root with all capabilities"),
        false => Finding::warning(
            "privileges",
            format!("root without {}", missing.join(", ")),
            "containers cannot have them either; what needs them (CAP_SYS_RESOURCE: raising rlimits) fails",
        ),
    }
}

/// The name of a capability, by its number.
fn name_of_cap(number: u32) -> String {
    let known = caps::all().into_iter().find(|cap| u32::from(cap.index()) == number);
    known.map_or_else(|| format!("capability {number}"), |cap| cap.to_string())
}

fn rootless() -> Finding {
    let installed = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    match installed("newuidmap") && installed("newgidmap") {
        true => Finding::ok("privileges", "not root; newuidmap and newgidmap are there"),
        false => Finding::warning(
            "privileges",
            "not root, and newuidmap or newgidmap is missing: only one user can be mapped",
            "install the package uidmap (shadow-utils), and give the user ranges in /etc/subuid and /etc/subgid",
        ),
    }
}

fn cgroups(manager: CgroupManager) -> Finding {
    const ABOUT: &str = "cgroups";
    if manager == CgroupManager::Disabled {
        return Finding::ok(ABOUT, "none are made (--cgroup-manager=disabled)");
    }
    let layout = match cgroup::layout() {
        Ok(layout) => layout,
        Err(e) => return Finding::failure(ABOUT, e.to_string(), "mount /proc"),
    };
    let Some(first) = layout.hierarchies.first() else {
        return Finding::failure(
            ABOUT,
            "no cgroup file system is mounted",
            "mount cgroup2 at /sys/fs/cgroup, or use --cgroup-manager=disabled",
        );
    };
    if manager == CgroupManager::Systemd && !Path::new("/run/systemd/system").exists() {
        return Finding::failure(
            ABOUT,
            "systemd is asked for (--systemd-cgroup) and does not run",
            "leave --systemd-cgroup out, in Docker native.cgroupdriver=cgroupfs",
        );
    }
    let root = rustix::process::geteuid().is_root();
    let writable = |h: &Hierarchy| rustix::fs::access(&h.mountpoint, rustix::fs::Access::WRITE_OK).is_ok();
    if let Some(closed) = layout
        .hierarchies
        .iter()
        .find(|h| root && manager == CgroupManager::Cgroupfs && !writable(h))
    {
        return Finding::failure(
            ABOUT,
            format!("{} is not writable", closed.mountpoint.display()),
            "mount it read-write, or use --cgroup-manager=disabled",
        );
    }
    Finding::ok(ABOUT, describe(layout.mode, &layout.hierarchies, first))
}

fn describe(mode: Mode, all: &[Hierarchy], first: &Hierarchy) -> String {
    let of_v1 = || {
        let names = all.iter().filter(|h| !h.is_unified()).map(|h| h.controllers.join(","));
        names.collect::<Vec<_>>().join(" ")
    };
    match mode {
        Mode::Unified => {
            let file = first.mountpoint.join("cgroup.controllers");
            format!("v2: {}", std::fs::read_to_string(file).unwrap_or_default().trim())
        }
        Mode::Legacy => format!("v1: {}", of_v1()),
        Mode::Hybrid => format!("v1, and v2 without controllers (hybrid): {}", of_v1()),
    }
}

fn seccomp() -> Finding {
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => Finding::ok("seccomp", actions.trim()),
        Err(_) => Finding::warning(
            "seccomp",
            "the kernel has no seccomp filters: containers with linux.seccomp fail",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn criu() -> Finding {
    match criu::version() {
        Ok((major, minor)) => match criu::require() {
            Ok(()) => Finding::ok("criu", format!("criu {major}.{minor}")),
            Err(e) => Finding::warning("criu", e.to_string(), "install a newer criu"),
        },
        Err(e) => Finding::warning("criu", e.to_string(), "needed by checkpoint and restore only"),
    }
}

/// The engine, the compiler, the cache.
fn engine() -> Vec<Finding> {
    let own = wasm::describe();
    let mut findings = vec![match (own.is_empty(), twin::locate()) {
        (false, _) => says(&own.join("\n")),
        (true, Ok(path)) => twin_at(&path),
        (true, Err(e)) => Finding::warning("engine", e.to_string(), "scripts/install puts it there"),
    }];
    match Compiler::find().and_then(|compiler| compiler.engine()) {
        Ok(engine) => findings.push(Finding::ok("compiler", format!("runw-aot for {engine}"))),
        Err(e) => findings.push(Finding::warning("compiler", e.to_string(), "modules are interpreted")),
    }
    findings.push(cache());
    findings
}

/// The twin takes over for modules where this program's image does not fit.
fn twin_at(path: &Path) -> Finding {
    let output = match Command::new(path).arg("--version").output() {
        Ok(output) => output,
        Err(e) => {
            return Finding::warning(
                "engine",
                format!("{} does not start: {e}", path.display()),
                "install it anew",
            );
        }
    };
    let found = says(&String::from_utf8_lossy(&output.stdout));
    if found.verdict != Verdict::Ok {
        return found;
    }
    Finding::warning(
        "engine",
        format!(
            "{}, of which runw has no image that fits: each start of a module takes some 20 ms more",
            found.found
        ),
        "build it anew: scripts/build, scripts/install",
    )
}

/// What a program says of its engine (see `--version`).
fn says(lines: &str) -> Finding {
    let line = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name));
    match (line("wasmedge: "), line("engine: ")) {
        (Some(version), Some(file)) => Finding::ok("engine", format!("WasmEdge {version} from {file}")),
        (Some(version), None) => Finding::ok("engine", format!("WasmEdge {version}")),
        (None, _) => Finding::warning(
            "engine",
            line("wasmedge is missing: ")
                .unwrap_or("the engine does not answer")
                .to_owned(),
            "install libwasmedge0",
        ),
    }
}

fn cache() -> Finding {
    const ABOUT: &str = "cache";
    let settings = match Settings::read() {
        Ok(settings) => settings.wasm,
        Err(e) => return Finding::failure(ABOUT, e.to_string(), "correct the file, or remove it"),
    };
    let Some(path) = Wishes::default().cache(&settings) else {
        return Finding::warning(
            ABOUT,
            "the user has no home, so native code is not kept",
            "set XDG_CACHE_HOME",
        );
    };
    let shown = path.display();
    match crate::aot::Cache::open(&path) {
        Ok(Some(cache)) => match cache.entries() {
            Ok(entries) => Finding::ok(ABOUT, format!("{shown}: native code of {} modules", entries.len())),
            Err(e) => Finding::warning(ABOUT, e.to_string(), "runw wasm prune --all empties it"),
        },
        Ok(None) => Finding::ok(ABOUT, format!("{shown}: not made yet")),
        Err(e) => Finding::warning(ABOUT, e.to_string(), format!("remove {shown}; it is made anew")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_two_numbers_in_front() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("Linux"), None);
    }

    #[test]
    fn capabilities_have_names() {
        assert_eq!(name_of_cap(24), "CAP_SYS_RESOURCE");
        assert_eq!(name_of_cap(63), "capability 63");
    }
}
