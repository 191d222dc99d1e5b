//! The bundle: what of config.json this host cannot do.

use std::path::Path;

use super::Finding;
use crate::cgroup::{self, Cgroup};
use crate::config::{self, Config, MountSource, NamespaceKind, NamespaceSource, annotated};
use crate::container::{CgroupManager, Id};
use crate::error::Result;
use crate::oci::Bundle;
use crate::payload::{self, Choice};
use crate::privs::seccomp;

/// Looks at the bundle in the folder `dir`, absolute. `called_as_wasm`: every bundle is taken as WebAssembly.
pub fn bundle(dir: &Path, manager: CgroupManager, called_as_wasm: bool) -> Vec<Finding> {
    let read = Bundle::open(dir, None).and_then(|bundle| {
        let config = config::check(&bundle)?;
        config::check_host(&config)?;
        Ok(config)
    });
    let config = match read {
        Ok(config) => config,
        Err(e) => return vec![Finding::failure("config.json", e.to_string(), "")],
    };
    let mut findings = vec![Finding::ok(
        "config.json",
        format!("of runtime-spec {}", config.oci_version),
    )];
    let warnings = config.warnings.iter();
    findings.extend(warnings.map(|warning| Finding::warning("config.json", warning, "it is passed over")));
    findings.push(program(&config, called_as_wasm));
    findings.extend(sources(&config));
    findings.extend(namespaces(&config));
    findings.push(outcome("cgroup", cgroup(&config, manager)));
    match seccomp::of(&config, None) {
        Ok(None) => {}
        compiled => findings.push(outcome(
            "profile",
            compiled.map(|_| "linux.seccomp compiles".to_owned()),
        )),
    }
    findings.extend(annotations(&config));
    findings
}

/// The annotations that change how the container is run: who wrote them decides what the runtime does.
fn annotations(config: &Config) -> Option<Finding> {
    let keys = config.annotations.keys().filter(|key| annotated::is_unsafe(key));
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    (!keys.is_empty()).then(|| {
        Finding::warning(
            "annotations",
            format!("{} change how the container is run", keys.join(", ")),
            "fine if the administrator set them; an engine must not pass on such ones of strangers",
        )
    })
}

fn outcome(about: &'static str, result: Result<String>) -> Finding {
    match result {
        Ok(found) => Finding::ok(about, found),
        Err(e) => Finding::failure(about, e.to_string(), ""),
    }
}

fn program(config: &Config, called_as_wasm: bool) -> Finding {
    const ABOUT: &str = "program";
    let Some(process) = &config.process else {
        return Finding::failure(ABOUT, "process is missing", "say in process.args what to run");
    };
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    match payload::choose(config, called_as_wasm) {
        Err(e) => Finding::failure(ABOUT, e.to_string(), ""),
        Ok(Choice::Wasm(path)) => match payload::wasm::is_here() || payload::twin::locate().is_ok() {
            true => Finding::ok(ABOUT, format!("{} is a WebAssembly module", path.display())),
            false => Finding::failure(
                ABOUT,
                "it is a WebAssembly module, and the engine is missing",
                "install runw-wasm beside runw",
            ),
        },
        // What lies in a file system that is mounted fresh, or is looked for in PATH, only init can find.
        Ok(Choice::Linux) => match name.starts_with('/') && is_missing(config, Path::new(name)) {
            true => Finding::failure(
                ABOUT,
                format!("process.args[0]: exec: {name:?}: stat {name}: no such file or directory"),
                "correct process.args, or put the file into the root file system",
            ),
            false => Finding::ok(ABOUT, format!("{name:?} is a native program")),
        },
    }
}

/// The path lies in the root file system itself, and there is nothing.
fn is_missing(config: &Config, path: &Path) -> bool {
    let covered = config.mounts.iter().any(|mount| path.starts_with(&mount.destination));
    !covered && payload::open(config, path).is_none()
}

/// The sources of bind mounts.
fn sources(config: &Config) -> Vec<Finding> {
    let missing = config.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } if !mount.remount && path.symlink_metadata().is_err() => Some((mount, path)),
        _ => None,
    });
    missing
        .map(|(mount, path)| {
            Finding::failure(
                "mounts",
                format!("mounts[{}].source: {} is not there", mount.index, path.display()),
                "make it, or leave the mount out",
            )
        })
        .collect()
}

fn namespaces(config: &Config) -> Vec<Finding> {
    let own = Path::new("/proc/self/ns");
    let mut findings = Vec::new();
    for kind in NamespaceKind::ALL {
        match config.namespaces.source(kind) {
            NamespaceSource::Path(path) if !path.exists() => findings.push(Finding::failure(
                "namespaces",
                format!(
                    "linux.namespaces: {} ({}) is not there",
                    path.display(),
                    kind.config_name()
                ),
                "correct the path, or leave it out for a new one",
            )),
            NamespaceSource::New if !own.join(kind.proc_name()).exists() => findings.push(Finding::failure(
                "namespaces",
                format!("linux.namespaces: the kernel has no {} namespaces", kind.config_name()),
                "leave it out",
            )),
            _ => {}
        }
    }
    findings
}

/// The cgroup is free, and every limit has its controller.
fn cgroup(config: &Config, manager: CgroupManager) -> Result<String> {
    let id: Id = "runw-check".parse()?;
    let path = config.cgroups_path.as_deref();
    let cgroup = match manager {
        CgroupManager::Disabled => return Ok("none".to_owned()),
        CgroupManager::Cgroupfs => Cgroup::locate(path, id.as_str(), &cgroup::layout()?)?,
        CgroupManager::Systemd => Cgroup::of_unit(path, id.as_str(), &config.annotations, &cgroup::layout()?)?,
    };
    cgroup.refuse_in_use()?;
    cgroup.refuse_unknown(&config.resources)?;
    Ok("free, and there is a controller for each limit".to_owned())
}
