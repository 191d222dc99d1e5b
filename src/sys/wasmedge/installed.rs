//! Which engine is installed: its file, and its build.

use std::path::Path;

use super::library;
use crate::error::Result;
use crate::sys::exe;

/// The libwasmedge that this program was built for.
const BUILT_FOR: Option<&str> = option_env!("RUNW_ENGINE_LIBRARY");

/// The engine's file, if that is known; no variable of the environment changes it.
pub fn library() -> Option<&'static Path> {
    BUILT_FOR.map(Path::new).filter(|path| path.exists())
}

/// Its build id, in hexadecimal.
#[cfg(feature = "image")]
pub fn id() -> Option<String> {
    id_of(library()?).map(|id| hex(&id))
}

/// Whether a library is the one that it was: a line with its build id and its path.
#[cfg(any(feature = "image", test))]
pub fn is_there(line: &str) -> bool {
    let as_it_was = |(id, path): (&str, &str)| id_of(Path::new(path)).is_some_and(|found| hex(&found) == id);
    line.split_once(' ').is_some_and(as_it_was)
}

/// Tells one build of the engine from any other.
///
/// # Errors
/// It has no build id and cannot be loaded either.
pub fn identity() -> Result<String> {
    if let Some(id) = library().and_then(id_of) {
        return Ok(format!("wasmedge build {}", &hex(&id)[..16.min(2 * id.len())]));
    }
    Ok(format!("wasmedge {}", library::load()?.version()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn id_of(library: &Path) -> Option<Vec<u8>> {
    build_id(&exe::first_page(library).ok()?)
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
    fn a_library_is_there_as_long_as_it_is_the_same() {
        let file = std::env::temp_dir().join(format!("runw-installed-{}", std::process::id()));
        std::fs::write(&file, library(3)).unwrap();
        let line = |id: &str| format!("{id} {}", file.display());
        assert!(is_there(&line(&"a5".repeat(20))));
        assert!(!is_there(&line(&"a6".repeat(20))));
        assert!(!is_there(&"a5".repeat(20)));
        std::fs::remove_file(&file).unwrap();
        assert!(!is_there(&line(&"a5".repeat(20))));
    }
}
