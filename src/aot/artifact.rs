//! An artifact: a shared object with native code, and a seal at its end.
//!
//! The seal stands at the end because the loader of shared objects wants its own header first and does not look at what follows
//! the last segment. Layout: object, notes (JSON), their length (`u32`, little endian), [`MAGIC`], BLAKE3 of all that.

use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::order::Tier;
use super::{Key, source};
use crate::error::{Error, Result, ResultExt};

const MAGIC: &[u8; 16] = b"runw artifact 1\n";
const HASH: usize = blake3::OUT_LEN;
/// Length, magic and hash.
const TAIL: usize = size_of::<u32>() + MAGIC.len() + HASH;
/// More than notes ever take.
const MOST_NOTES: usize = 16 << 10;

/// What is known of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The key under which it was made, in hexadecimal.
    pub key: String,
    /// How it was optimised.
    pub tier: Tier,
    /// BLAKE3 of the module, in hexadecimal.
    pub module: String,
    /// Where the module was first found.
    pub name: String,
    /// The module's size in bytes.
    pub module_size: u64,
    /// Name and version of the engine.
    pub engine: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// How long that took, in milliseconds.
    pub milliseconds: u64,
}

/// The bytes that seal an object of which `hasher` has seen every byte.
///
/// # Errors
/// The notes are too long.
pub fn seal(mut hasher: blake3::Hasher, notes: &Notes) -> Result<Vec<u8>> {
    let mut seal = serde_json::to_vec(notes).map_err(|e| Error::message(e.to_string()))?;
    if seal.len() > MOST_NOTES {
        return Err(Error::message("the notes of an artifact are too long"));
    }
    let length = seal.len() as u32;
    seal.extend_from_slice(&length.to_le_bytes());
    seal.extend_from_slice(MAGIC);
    hasher.update(&seal);
    seal.extend_from_slice(hasher.finalize().as_bytes());
    Ok(seal)
}

/// Reads the notes of an artifact of `size` bytes, without checking anything else.
///
/// # Errors
/// There are none.
pub fn notes(file: BorrowedFd<'_>, size: u64) -> Result<Notes> {
    let odd = || Error::message("it does not end as artifacts do");
    let from_end = size.checked_sub(TAIL as u64).ok_or_else(odd)?;
    let tail = read(file, from_end, TAIL)?;
    let (length, tail) = tail.split_first_chunk().ok_or_else(odd)?;
    let length = u32::from_le_bytes(*length) as usize;
    if !tail.starts_with(MAGIC) || length > MOST_NOTES {
        return Err(odd());
    }
    let start = from_end.checked_sub(length as u64).ok_or_else(odd)?;
    serde_json::from_slice(&read(file, start, length)?)
        .map_err(|e| Error::message(format!("its notes are broken: {e}")))
}

/// Checks that the open file is an artifact, whole, for this key and tier.
///
/// # Errors
/// What is wrong with it.
pub fn verify(file: BorrowedFd<'_>, size: u64, key: &Key, tier: Tier) -> Result<Notes> {
    let notes = notes(file, size)?;
    if notes.key != key.to_string() || notes.tier != tier {
        return Err(Error::message("it was made for something else"));
    }
    let content = size - HASH as u64;
    let told = read(file, content, HASH)?;
    if source::hash(file, content)?.as_bytes()[..] != told {
        return Err(Error::message("its checksum is wrong"));
    }
    Ok(notes)
}

fn read(file: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        let n = rustix::io::pread(file, &mut bytes[done..], offset + done as u64).call(|| "pread")?;
        if n == 0 {
            return Err(Error::message("it is cut off"));
        }
        done += n;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn some_notes(key: &Key) -> Notes {
        Notes {
            key: key.to_string(),
            tier: Tier::Quick,
            module: "ab".into(),
            name: "/a.wasm".into(),
            module_size: 1,
            engine: "e".into(),
            created: "now".into(),
            milliseconds: 2,
        }
    }

    fn check(bytes: &[u8], key: &Key, tier: Tier) -> Result<Notes> {
        let memory = rustix::fs::memfd_create("artifact", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        file.write_all(bytes).unwrap();
        verify(file.as_fd(), bytes.len() as u64, key, tier)
    }

    fn artifact(key: &Key) -> Vec<u8> {
        let object = b"\x7fELF and so on".to_vec();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&object);
        let seal = seal(hasher, &some_notes(key)).unwrap();
        [object, seal].concat()
    }

    #[test]
    fn a_whole_artifact_is_accepted_for_its_own_key_and_tier() {
        let key = Key::new(&blake3::hash(b"m"), "e");
        let other = Key::new(&blake3::hash(b"n"), "e");
        let good = artifact(&key);
        assert_eq!(check(&good, &key, Tier::Quick).unwrap(), some_notes(&key));
        for (key, tier) in [(other, Tier::Quick), (key, Tier::Optimised)] {
            let error = check(&good, &key, tier).unwrap_err().to_string();
            assert!(error.contains("made for something else"), "{error}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let key = Key::new(&blake3::hash(b"m"), "e");
        let good = artifact(&key);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad, &key, Tier::Quick).is_err(), "bit {bit}");
        }
        for end in 0..good.len() {
            assert!(check(&good[..end], &key, Tier::Quick).is_err(), "{end} bytes");
        }
    }
}
