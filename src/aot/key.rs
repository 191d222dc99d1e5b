//! What native code depends on.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::sys::cpu;

/// Changes whenever the same module would give other code or artifacts another layout.
const FORMAT: &[u8] = b"runw aot 1\n";

/// The name of what is compiled: the hash of the module's content, the engine's version, the CPU's features and the way in which
/// this runtime compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(blake3::Hash);

impl Key {
    /// The key for the module with this hash under this engine, on this machine.
    pub fn new(module: &blake3::Hash, engine: &str) -> Key {
        Key::of(module, engine, &cpu::identity())
    }

    fn of(module: &blake3::Hash, engine: &str, cpu: &[u8]) -> Key {
        let mut hasher = blake3::Hasher::new();
        for part in [FORMAT, module.as_bytes(), engine.as_bytes(), cpu] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Key(hasher.finalize())
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; blake3::OUT_LEN] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Key> {
        blake3::Hash::from_hex(text)
            .map(Key)
            .map_err(|e| Error::message(format!("{text:?} is no key: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let (a, b) = (blake3::hash(b"a"), blake3::hash(b"b"));
        let key = Key::of(&a, "wasmedge 0.14.1", b"cpu");
        assert_eq!(key, Key::of(&a, "wasmedge 0.14.1", b"cpu"));
        assert_ne!(key, Key::of(&b, "wasmedge 0.14.1", b"cpu"));
        assert_ne!(key, Key::of(&a, "wasmedge 0.14.2", b"cpu"));
        assert_ne!(key, Key::of(&a, "wasmedge 0.14.1", b"cp"));
        assert_ne!(key, Key::of(&a, "wasmedge 0.14.1c", b"pu"));
    }

    #[test]
    fn a_key_reads_back() {
        let key = Key::new(&blake3::hash(b"a"), "e");
        assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        assert!("../x".parse::<Key>().is_err());
    }
}
