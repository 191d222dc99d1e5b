//! What a container runs: the axis along which lifecycle cases are repeated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::bundle::Bundle;

/// Which kind of program a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One-liners for busybox's shell.
    Native,
    /// A WASI module made from C.
    Wasm,
}

/// What a payload does; each kind has its own program for it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Ends at once with this code.
    Exit(u8),
    /// Says `ready` and then sleeps for ever. The signals TERM and INT end it.
    Sleep,
    /// Says `ready` and then sleeps for ever, deaf to every signal that can be ignored.
    SleepDeaf,
    /// Prints these words and a newline.
    Print(&'static str),
    /// Prints to stderr.
    Complain(&'static str),
    /// Copies stdin to stdout.
    Copy,
    /// Prints the value of an environment variable and a newline.
    Env(&'static str),
}

/// Whether cases can make native programs here.
pub fn has_compiler() -> bool {
    Command::new("cc").arg("--version").output().is_ok()
}

impl Payload {
    /// A bundle whose container does `act`.
    pub fn bundle(self, act: &Act) -> Bundle {
        match self {
            Payload::Native => Bundle::busybox().sh(&native(act)),
            Payload::Wasm => self.then(guest("acts"), act),
        }
    }

    /// Puts the module of all acts into the root file system, as `/acts.wasm`.
    pub fn put_module(bundle: &Bundle) {
        fs::copy(module("acts"), bundle.in_rootfs(MODULE)).unwrap();
    }

    /// Gives the bundle's container something else to do.
    pub fn then(self, bundle: Bundle, act: &Act) -> Bundle {
        match self {
            Payload::Native => bundle.sh(&native(act)),
            Payload::Wasm => {
                let (verb, object) = wasm(act);
                bundle.args(&[MODULE, verb, &object])
            }
        }
    }
}

fn native(act: &Act) -> String {
    match act {
        Act::Exit(code) => format!("exit {code}"),
        // A shell with a trap acts on signals even as the first process of a pid namespace.
        Act::Sleep => {
            "trap 'exit 143' TERM; trap 'exit 130' INT; echo ready; while :; do sleep 1000 & wait; done".into()
        }
        Act::SleepDeaf => "trap '' TERM INT HUP QUIT USR1 USR2; echo ready; while :; do sleep 1000; done".into(),
        Act::Print(words) => format!("echo '{words}'"),
        Act::Complain(words) => format!("echo '{words}' >&2"),
        Act::Copy => "cat".into(),
        Act::Env(name) => format!("echo \"${name}\""),
    }
}

/// Where the module lies in its container.
const MODULE: &str = "/acts.wasm";

fn wasm(act: &Act) -> (&'static str, String) {
    match act {
        Act::Exit(code) => ("exit", code.to_string()),
        // A guest cannot hear signals, so it cannot be deaf to them either.
        Act::Sleep | Act::SleepDeaf => ("sleep", String::new()),
        Act::Print(words) => ("print", (*words).into()),
        Act::Complain(words) => ("complain", (*words).into()),
        Act::Copy => ("copy", String::new()),
        Act::Env(name) => ("env", (*name).into()),
    }
}

/// A bundle with nothing but the module of `integration/programs/NAME.c`, as `/NAME.wasm`.
pub fn guest(name: &str) -> Bundle {
    let bundle = Bundle::scratch().folder("/proc").folder("/dev").folder("/sys");
    let file = format!("/{name}.wasm");
    fs::copy(module(name), bundle.in_rootfs(&file)).unwrap();
    bundle.args(&[&file])
}

/// A bundle with nothing but the module that `text` describes (the text format of WebAssembly), as `/module.wasm`.
pub fn wat(text: &str) -> Bundle {
    let bundle = Bundle::scratch().folder("/proc").folder("/dev").folder("/sys");
    fs::write(bundle.in_rootfs("/module.wasm"), wat::parse_str(text).unwrap()).unwrap();
    bundle.args(&["/module.wasm"])
}

/// The module of `integration/programs/NAME.c`, made once; where there is no compiler, as in a virtual machine, the one that an
/// earlier run of the suite has left beside the test program.
pub fn module(name: &str) -> PathBuf {
    static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(name.to_owned()).or_insert_with(|| compile(name)).clone()
}

fn compile(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("integration/programs/{name}.c"));
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.wasm"));
    let draft = made.with_extension(std::process::id().to_string());
    let call = Command::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-o"])
        .args([&draft, &source])
        .output();
    match call {
        Ok(output) if output.status.success() => fs::rename(&draft, &made).unwrap(),
        Ok(output) => panic!(
            "clang {}: {}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(e) => assert!(made.exists(), "clang: {e}, and there is no {}", made.display()),
    }
    made
}
