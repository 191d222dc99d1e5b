//! What the runtime has to know of a module before the engine has seen it: whether it runs code when it is instantiated.

/// The sections of a module that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The module has a start function, which runs when it is instantiated (core spec, 5.5.9).
    pub starts_itself: bool,
    /// The least number of pages of each of its own memories (5.5.8).
    pub pages: Vec<u64>,
}

const HEADER: usize = 8;
const MEMORY: u8 = 5;
const START: u8 = 8;

impl Outline {
    /// Reads as far as the module is well-formed; what is wrong with it is for the engine to say.
    pub fn of(module: &[u8]) -> Outline {
        let mut outline = Outline::default();
        let mut rest = Bytes(module.get(HEADER..).unwrap_or_default());
        while let Some((id, body)) = rest.section() {
            match id {
                MEMORY => outline.pages = Bytes(body).memories(),
                START => outline.starts_itself = true,
                _ => {}
            }
        }
        outline
    }
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned number in LEB128 (5.2.2).
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn section(&mut self) -> Option<(u8, &'a [u8])> {
        let id = self.byte()?;
        let size = usize::try_from(self.number()?).ok()?;
        let (body, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some((id, body))
    }

    /// The lower limits in a memory section.
    fn memories(&mut self) -> Vec<u64> {
        let mut pages = Vec::new();
        let count = self.number().unwrap_or_default();
        while (pages.len() as u64) < count {
            let (Some(flags), Some(least)) = (self.byte(), self.number()) else {
                break;
            };
            pages.push(least);
            if flags & 1 != 0 {
                self.number();
            }
        }
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

    fn module(sections: &[&[u8]]) -> Vec<u8> {
        [MAGIC, &sections.concat()].concat()
    }

    #[test]
    fn sees_memories_and_the_start_function() {
        let custom: &[u8] = &[0, 2, 1, b'x'];
        let memories: &[u8] = &[5, 7, 2, 0, 0x80, 1, 1, 3, 4];
        let found = Outline::of(&module(&[custom, memories, &[8, 1, 0]]));
        assert!(found.starts_itself);
        assert_eq!(found.pages, [128, 3]);
        assert!(!Outline::of(&module(&[custom, memories])).starts_itself);
        assert_eq!(Outline::of(MAGIC), Outline::default());
    }

    #[test]
    fn stops_where_the_module_is_cut_off() {
        for broken in [
            &b""[..],
            b"\0asm",
            b"\0asm\x01\0\0\0\x05",
            b"\0asm\x01\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Outline::of(broken), Outline::default(), "{broken:?}");
        }
        assert_eq!(Outline::of(&module(&[&[5, 2, 0xff, 0xff]])), Outline::default());
    }
}
