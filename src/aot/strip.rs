//! A module without its custom sections.
//!
//! They mean nothing to the program, with one exception that must not have its way: the engine runs native code that it finds in
//! a section named `wasmedge`, if it was told to run native code at all. So they all go, debugging data with them.

/// A module's magic number and version.
pub(super) const HEADER: usize = 8;
const CUSTOM: u8 = 0;
const CODE: u8 = 10;

/// A stripped module.
#[derive(Debug, PartialEq, Eq)]
pub struct Stripped {
    /// The module.
    pub module: Vec<u8>,
    /// How many bytes of it are code.
    pub code: u64,
}

/// Strips a module of its custom sections; `None` if it is no sequence of sections.
pub fn strip(module: &[u8]) -> Option<Stripped> {
    let (header, mut rest) = module.split_at_checked(HEADER)?;
    if header != b"\0asm\x01\0\0\0" {
        return None;
    }
    let mut kept = Vec::with_capacity(module.len());
    kept.extend_from_slice(header);
    let mut code = 0;
    while let Some((&id, after)) = rest.split_first() {
        let (size, length) = leb128(after)?;
        let whole = 1 + length + usize::try_from(size).ok()?;
        let (section, next) = rest.split_at_checked(whole)?;
        if id != CUSTOM {
            kept.extend_from_slice(section);
        }
        if id == CODE {
            code += u64::from(size);
        }
        rest = next;
    }
    Some(Stripped { module: kept, code })
}

/// An unsigned number of at most 32 bits (LEB128), and how many bytes it takes.
pub(super) fn leb128(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\0asm\x01\0\0\0";

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        [HEAD].iter().chain(sections).flat_map(|s| s.iter().copied()).collect()
    }

    #[test]
    fn custom_sections_go_wherever_they_are() {
        let (types, code) = (&b"\x01\x01\x00"[..], &b"\x0a\x02\x00\x00"[..]);
        let custom = b"\x00\x09\x08wasmedge";
        let whole = module(&[custom, types, custom, code, custom]);
        let stripped = strip(&whole).unwrap();
        assert_eq!(stripped.module, module(&[types, code]));
        assert_eq!(stripped.code, 2);
    }

    #[test]
    fn a_size_may_be_written_longer_than_needed() {
        let padded = b"\x00\x81\x80\x80\x80\x00x";
        assert_eq!(strip(&module(&[padded])).unwrap().module, HEAD);
    }

    #[test]
    fn what_is_no_sequence_of_sections_is_refused() {
        for bad in [
            b"".as_slice(),
            b"\0asm\x0d\0\x01\0",
            b"\x7fELF\x02\x01\x01\0",
            &module(&[b"\x01\x05\x00"]),
            &module(&[b"\x01"]),
            &module(&[b"\x01\xff\xff\xff\xff\x7f"]),
            &module(&[b"\x01\x80\x80\x80\x80\x80\x00"]),
        ] {
            assert_eq!(strip(bad), None, "{bad:?}");
        }
    }
}
