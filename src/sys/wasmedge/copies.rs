//! Copies of the engine's libraries that load in half the time, and whether they fit what is installed.
//!
//! libwasmedge needs libLLVM, whose loading costs five times what all the rest does, and running modules never calls it. Nor is
//! it of use to look up by name, in each process anew, the thousands of symbols that libstdc++ defines itself.
//! `scripts/engine-copies` makes copies without both, and a list of them that is named after the build id of that very libwasmedge.
//! Any other libwasmedge, or one whose libraries have changed, is loaded as it is: slower, never broken.

use std::path::{Path, PathBuf};

use super::library;
use crate::error::Result;
use crate::sys::exe;

/// The libwasmedge that this program was built for.
const BUILT_FOR: Option<&str> = option_env!("RUNW_ENGINE_LIBRARY");

/// The copies that fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// What the engine needs, each behind what it needs itself.
    pub libraries: Vec<PathBuf>,
    /// The engine.
    pub engine: PathBuf,
}

/// The engine's file, if that is known; no variable of the environment changes it.
pub fn original() -> Option<&'static Path> {
    BUILT_FOR.map(Path::new).filter(|path| path.exists())
}

/// The copies of what is installed; `None` if there are none.
pub fn all() -> Option<Copies> {
    let list = exe::library(format!("engine-{}.list", hex(&id_of(original()?)?)).as_ref()).ok()?;
    let text = std::fs::read_to_string(&list).ok()?;
    let mut libraries = text
        .lines()
        .map(|line| Listed::read(line)?.fitting().map(|copy| list.with_file_name(copy)))
        .collect::<Option<Vec<_>>>()?;
    let engine = libraries.pop()?;
    Some(Copies { libraries, engine })
}

/// A line of the list.
struct Listed<'a> {
    copy: &'a str,
    build_id: &'a str,
    original: &'a str,
}

impl Listed<'_> {
    fn read(line: &str) -> Option<Listed<'_>> {
        let mut words = line.splitn(3, ' ');
        let (copy, build_id, original) = (words.next()?, words.next()?, words.next()?);
        (!copy.contains('/')).then_some(Listed {
            copy,
            build_id,
            original,
        })
    }

    /// The copy, if the library is still the one that it was made of.
    fn fitting(&self) -> Option<&str> {
        (hex(&id_of(Path::new(self.original))?) == self.build_id).then_some(self.copy)
    }
}

/// Tells one build of the engine from any other.
///
/// # Errors
/// It has no build id and cannot be loaded either.
pub fn identity() -> Result<String> {
    if let Some(id) = original().and_then(id_of) {
        return Ok(format!("wasmedge build {}", &hex(&id)[..16.min(2 * id.len())]));
    }
    Ok(format!(
        "wasmedge {}",
        library::load(library::Compiler::LeftOut)?.version()
    ))
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
    fn a_list_is_read_in_its_order_or_not_at_all() {
        let line = |text| Listed::read(text).map(|l| (l.copy.to_owned(), l.build_id.to_owned(), l.original.to_owned()));
        let all = ("libfmt-da0f.so".into(), "da0f".into(), "/usr/lib/libfmt.so.10".into());
        assert_eq!(line("libfmt-da0f.so da0f /usr/lib/libfmt.so.10"), Some(all));
        assert_eq!(line("libfmt-da0f.so da0f"), None);
        assert_eq!(line("/tmp/libfmt-da0f.so da0f /usr/lib/libfmt.so.10"), None);
    }
}
