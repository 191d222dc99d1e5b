//! The twin program, which has the engine: where it lies, and how it starts without the engine's compiler.
//!
//! libwasmedge needs libLLVM, whose loading costs five times what all the rest does, and running modules never calls it.
//! `scripts/build` makes a library of LLVM's name that defines the few hundred symbols libwasmedge asks for, and names the
//! file after the build id of that very libwasmedge. With it preloaded, ld.so(8) finds LLVM's name taken. Any other
//! libwasmedge has another build id and gets its real LLVM: slower, never broken.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::exe;

/// The file name of the twin.
pub const NAME: &str = "runw-wasm";
/// The libwasmedge that the dynamic loader will find, as known when runw was built.
const ENGINE_LIBRARY: Option<&str> = option_env!("RUNW_ENGINE_LIBRARY");

/// Becomes the twin: the same arguments, environment and descriptors, with an engine. Returns only on failure.
///
/// # Errors
/// There is no twin.
pub fn start() -> Result<Infallible> {
    let twin = locate()?;
    exe::exec_sealed(&twin, stand_in(&twin))
}

/// The twin of the running program.
///
/// # Errors
/// It is not installed.
pub fn locate() -> Result<PathBuf> {
    let own = exe::host_path()?;
    let candidates = [own.with_file_name(exe::LIBRARIES).join(NAME), own.with_file_name(NAME)];
    match candidates.iter().find(|c| **c != own && c.exists()) {
        Some(found) => Ok(found.clone()),
        None => Err(Error::unsupported(format!(
            "the program is a WebAssembly module, but {} is missing: install runw-wasm beside runw",
            candidates[0].display()
        ))),
    }
}

/// The stand-in for LLVM that fits the installed engine, for a twin at `twin`; `None` where there is none, or where another
/// engine might be loaded.
pub fn stand_in(twin: &Path) -> Option<PathBuf> {
    if std::env::var_os("LD_LIBRARY_PATH").is_some() {
        return None;
    }
    let id = build_id(&exe::first_page(Path::new(ENGINE_LIBRARY?)).ok()?)?;
    let path = twin.with_file_name(stand_in_name(&id));
    path.exists().then_some(path)
}

/// Whether a preloaded library is a stand-in of ours.
pub fn is_stand_in(library: &Path) -> bool {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    library.parent().is_some_and(|p| p.ends_with("lib/runw")) && name.starts_with("llvm-") && name.ends_with(".so")
}

fn stand_in_name(build_id: &[u8]) -> OsString {
    let hex: String = build_id.iter().map(|b| format!("{b:02x}")).collect();
    format!("llvm-{hex}.so").into()
}

/// The GNU build id in the first page of a 64-bit ELF file (elf(5), `NT_GNU_BUILD_ID`), where linkers put it.
fn build_id(page: &[u8]) -> Option<Vec<u8>> {
    const PT_NOTE: u64 = 4;
    const NT_GNU_BUILD_ID: u64 = 3;
    if page.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let word = |at: usize, size: usize| -> Option<u64> {
        let bytes = page.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let (table, size, count) = (word(32, 8)? as usize, word(54, 2)? as usize, word(56, 2)? as usize);
    for header in (0..count).map(|n| table.saturating_add(n * size)) {
        if word(header, 4)? != PT_NOTE {
            continue;
        }
        let mut at = word(header + 8, 8)? as usize;
        let end = at.saturating_add(word(header + 32, 8)? as usize);
        while at.saturating_add(12) <= end.min(page.len()) {
            let (name, description) = (word(at, 4)? as usize, word(at + 4, 4)? as usize);
            let body = at + 12 + name.next_multiple_of(4);
            if word(at + 8, 4)? == NT_GNU_BUILD_ID && page.get(at + 12..at + 12 + name)? == b"GNU\0" {
                return page.get(body..body + description).map(<[u8]>::to_vec);
            }
            at = body + description.next_multiple_of(4);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(note_type: u8) -> Vec<u8> {
        let mut page = vec![0; 256];
        page[..5].copy_from_slice(b"\x7fELF\x02");
        (page[32], page[54], page[56]) = (64, 56, 1);
        (page[64], page[64 + 8], page[64 + 32]) = (4, 128, 12 + 4 + 20);
        (page[128], page[132], page[136]) = (4, 20, note_type);
        page[140..144].copy_from_slice(b"GNU\0");
        page[144..164].fill(0xa5);
        page
    }

    #[test]
    fn finds_the_build_id_and_nothing_else() {
        assert_eq!(build_id(&library(3)), Some(vec![0xa5; 20]));
        assert_eq!(build_id(&library(1)), None);
        assert_eq!(build_id(&library(3)[..150]), None);
        assert_eq!(build_id(b"#!/bin/sh"), None);
    }

    #[test]
    fn a_wild_header_is_no_crash() {
        let mut page = library(3);
        page[56] = 255;
        page[64 + 8..64 + 16].fill(0xff);
        assert_eq!(build_id(&page), None);
    }

    #[test]
    fn the_stand_in_is_named_after_the_build() {
        assert_eq!(stand_in_name(&[0xda, 0x0f]), "llvm-da0f.so");
    }
}
