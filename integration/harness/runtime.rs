//! Which runtime the suite judges.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A runtime by its family. Cases name kinds to say for whom they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Runw,
    Runc,
    Crun,
    Other,
}

/// The program under test.
#[derive(Debug)]
pub struct Runtime {
    pub path: PathBuf,
    pub kind: Kind,
}

/// The runtime under test: `RUNW_RUNTIME`, else the checkout's `target/bin/runw`, else `target/release/runw`.
///
/// # Panics
/// If there is none, or the suite is not run by root: a suite that quietly tests nothing is worse than a failing one.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the integration suite needs root: it makes containers"
        );
        // Containers outlive `create`; as their subreaper the suite can wait for them, as a shim does.
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        identify(&find())
    })
}

fn find() -> PathBuf {
    if let Some(named) = env::var_os("RUNW_RUNTIME") {
        return on_path(Path::new(&named));
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["target/bin/runw", "target/release/runw"].map(|place| checkout.join(place));
    match places.iter().find(|place| place.exists()) {
        Some(found) => found.clone(),
        None => panic!("no runtime to test: RUNW_RUNTIME is not set, and there is none of {places:?}"),
    }
}

/// Makes a bare name absolute, so that cases may change directory and PATH.
fn on_path(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program
            .canonicalize()
            .unwrap_or_else(|e| panic!("RUNW_RUNTIME {}: {e}", program.display()));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("RUNW_RUNTIME {}: not found in PATH", program.display()))
}

fn identify(path: &Path) -> Runtime {
    let output = Command::new(path).arg("--version").output();
    let output = output.unwrap_or_else(|e| panic!("{} --version: {e}", path.display()));
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let file_name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let kind = if file_name.starts_with("runw") || version.contains("runw") {
        Kind::Runw
    } else if version.starts_with("runc version") {
        Kind::Runc
    } else if version.starts_with("crun version") {
        Kind::Crun
    } else {
        Kind::Other
    };
    say(&format!(
        "integration: testing {} ({kind:?}): {}",
        path.display(),
        version.lines().next().unwrap_or("?")
    ));
    Runtime {
        path: path.to_owned(),
        kind,
    }
}

/// Reports a case that does not concern the runtime under test. Not captured, so a reader of the log sees each.
pub fn not_for_this_runtime(reason: &str) {
    say(&format!(
        "{}: not for this runtime ({:?}): {reason}",
        case(),
        runtime().kind
    ));
}

/// Reports a case that the machine cannot carry.
pub fn not_for_this_host(reason: &str) {
    say(&format!("{}: not for this host, it lacks {reason}", case()));
}

/// The name of the running case; libtest names its threads so.
pub fn case() -> String {
    std::thread::current().name().unwrap_or("case").to_owned()
}

/// Writes a line that libtest does not capture.
fn say(line: &str) {
    // One write call, so that lines of parallel cases do not mix.
    let _ = std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
}
