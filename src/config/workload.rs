//! Native or WebAssembly: what kind of program a bundle holds.
//!
//! The pure half: the annotations decide, or else the file itself. Order: a pod's sandbox container is always native; an explicit
//! annotation; the name the runtime was called by; the image's platform annotations; the first bytes of the program.

use std::collections::BTreeMap;

/// The kinds of container process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// A program for the kernel: ELF or a script.
    Linux,
    /// A WebAssembly module.
    Wasm,
}

impl Workload {
    /// The word that the record and the state show.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Linux => "linux",
            Workload::Wasm => "wasm",
        }
    }
}

/// The values that `run.oci.handler` can have: those of the field for WebAssembly.
pub const HANDLERS: [&str; 6] = ["wasm", "wasm-smart", "wasmedge", "wasmtime", "wasmer", "wamr"];

/// What the annotations say; `None` when the file decides.
pub fn from_annotations(annotations: &BTreeMap<String, String>, called_as_wasm: bool) -> Option<Workload> {
    let value = |key: &str| annotations.get(key).map(String::as_str);
    if is_sandbox(annotations) {
        return Some(Workload::Linux);
    }
    match value("run.oci.handler") {
        Some("wasm" | "wasmedge" | "wasmtime" | "wasmer" | "wamr") => return Some(Workload::Wasm),
        Some("wasm-smart") => return None,
        _ => {}
    }
    match value("module.wasm.image/variant") {
        Some("compat") => return Some(Workload::Wasm),
        Some("compat-smart") => return None,
        _ => {}
    }
    let os = value("org.opencontainers.image.os");
    let architecture = value("org.opencontainers.image.architecture");
    let wasm_image = matches!(os, Some("wasi" | "wasip1")) || matches!(architecture, Some("wasm" | "wasm32"));
    (called_as_wasm || wasm_image).then_some(Workload::Wasm)
}

/// The container holds a pod's namespaces, and nothing but its pause program ever runs in it.
pub fn is_sandbox(annotations: &BTreeMap<String, String>) -> bool {
    ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]
        .into_iter()
        .any(|key| annotations.get(key).is_some_and(|value| value == "sandbox"))
}

/// What the first eight bytes of the program say: `\0asm` and the version of a core module.
///
/// # Errors
/// A component (WASI preview 2) is told apart by its layer field.
pub fn from_magic(first: &[u8]) -> Result<Workload, &'static str> {
    match first {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Workload::Wasm),
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => {
            Err("components (WASI preview 2) are not supported by WasmEdge 0.14; build a core module")
        }
        [0, b'a', b's', b'm', ..] => Err("unknown version of WebAssembly"),
        _ => Ok(Workload::Linux),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(pairs: &[(&str, &str)], called_as_wasm: bool) -> Option<Workload> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        from_annotations(&map, called_as_wasm)
    }

    #[test]
    fn the_order_of_evidence() {
        let sandbox = ("io.kubernetes.cri.container-type", "sandbox");
        assert_eq!(
            annotated(&[sandbox, ("run.oci.handler", "wasm")], true),
            Some(Workload::Linux)
        );
        assert_eq!(annotated(&[("run.oci.handler", "wasm")], false), Some(Workload::Wasm));
        assert_eq!(annotated(&[("run.oci.handler", "wasm-smart")], true), None);
        assert_eq!(
            annotated(&[("module.wasm.image/variant", "compat")], false),
            Some(Workload::Wasm)
        );
        assert_eq!(
            annotated(&[("org.opencontainers.image.architecture", "wasm")], false),
            Some(Workload::Wasm)
        );
        assert_eq!(annotated(&[], true), Some(Workload::Wasm));
        assert_eq!(annotated(&[], false), None);
    }

    #[test]
    fn the_file_itself() {
        assert_eq!(from_magic(b"\0asm\x01\0\0\0rest"), Ok(Workload::Wasm));
        assert!(from_magic(b"\0asm\x0d\0\x01\0").unwrap_err().starts_with("components"));
        assert_eq!(from_magic(b"\x7fELF\x02\x01\x01\0"), Ok(Workload::Linux));
        assert_eq!(from_magic(b"#!/bin/sh"), Ok(Workload::Linux));
        assert_eq!(from_magic(b""), Ok(Workload::Linux));
    }
}
