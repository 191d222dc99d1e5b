//! dlopen(3) and dlsym(3) for what the engine loads: shared objects that its compiler has made of modules.
//!
//! They refer to nothing outside of themselves and have no relocations, so that there is nothing to do but to map them. Others
//! are refused.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc::{self, Elf64_Ehdr, Elf64_Phdr, Elf64_Sym};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result, ResultExt};

const ET_DYN: u16 = 3;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
/// NEEDED, RELA, INIT, FINI, REL, TEXTREL, JMPREL, INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY, RELR: there would be more to do.
const REFUSED: [u64; 11] = [1, 7, 12, 13, 17, 22, 23, 25, 26, 32, 36];
const FIRST_PAGE: usize = 4096;

/// A mapped object.
struct Object {
    base: *const u8,
    symbols: *const Elf64_Sym,
    names: *const c_char,
    /// Number of buckets, number of symbols, buckets, chains.
    hash: *const u32,
}

/// dlopen(3).
///
/// # Safety
/// `path` is a C string.
pub unsafe extern "C" fn open(path: *const c_char, _mode: c_int) -> *mut c_void {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    match Object::open(path) {
        Ok(object) => Box::into_raw(Box::new(object)).cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// dlsym(3).
///
/// # Safety
/// `object` is one of [`open`]'s, and `name` is a C string.
pub unsafe extern "C" fn symbol(object: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        match object.cast::<Object>().as_ref() {
            Some(object) => object.find(CStr::from_ptr(name)).cast_mut().cast(),
            None => std::ptr::null_mut(),
        }
    }
}

/// dlerror(3), which the engine only logs.
pub extern "C" fn problem() -> *const c_char {
    c"not an artifact of this engine, or no such symbol".as_ptr()
}

impl Object {
    fn open(path: &CStr) -> Result<Object> {
        let file = match super::reach::named(path) {
            Some(file) => file?,
            None => {
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call(|| "open(artifact)")?
            }
        };
        let headers = headers(&file)?;
        let base = map(&file, &headers)?;
        let dynamic = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC);
        let dynamic = dynamic.ok_or_else(|| Error::message("it has no PT_DYNAMIC"))?;
        let (mut symbols, mut names, mut hash) = (None, None, None);
        // SAFETY: the linker has put a table of pairs there, which ends with a zero.
        let mut entry = base.wrapping_add(dynamic.p_vaddr as usize).cast::<[u64; 2]>();
        for _ in 0..dynamic.p_memsz / 16 {
            // SAFETY: the segment is mapped, and is that long.
            let [tag, value] = unsafe { entry.read_unaligned() };
            let place = base.wrapping_add(value as usize);
            match tag {
                0 => break,
                DT_HASH => hash = Some(place.cast()),
                DT_STRTAB => names = Some(place.cast()),
                DT_SYMTAB => symbols = Some(place.cast()),
                tag if REFUSED.contains(&tag) => return Err(Error::message(format!("it has the dynamic tag {tag}"))),
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        match (symbols, names, hash) {
            (Some(symbols), Some(names), Some(hash)) => Ok(Object {
                base,
                symbols,
                names,
                hash,
            }),
            _ => Err(Error::message("it has no symbols")),
        }
    }

    /// The place of a symbol; null if there is none.
    ///
    /// # Safety
    /// The object's tables are as the linker made them.
    unsafe fn find(&self, name: &CStr) -> *const u8 {
        // SAFETY: the caller's promise: the chains end with symbol 0, and names with a NUL byte.
        unsafe {
            let buckets = self.hash.read() as usize;
            if buckets == 0 {
                return std::ptr::null();
            }
            let mut number = self.hash.add(2 + hash(name) as usize % buckets).read();
            while number != 0 {
                let symbol = &*self.symbols.add(number as usize);
                let same = CStr::from_ptr(self.names.add(symbol.st_name as usize)) == name;
                if same && symbol.st_shndx != 0 {
                    return self.base.wrapping_add(symbol.st_value as usize);
                }
                number = self.hash.add(2 + buckets + number as usize).read();
            }
            std::ptr::null()
        }
    }
}

/// The hash of a symbol's name (System V ABI, chapter 5).
fn hash(name: &CStr) -> u32 {
    name.to_bytes().iter().fold(0_u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

fn headers(file: &OwnedFd) -> Result<Vec<Elf64_Phdr>> {
    let odd = || Error::message("it is no shared object of this machine");
    let mut page = vec![0_u8; FIRST_PAGE];
    let length = rustix::io::pread(file, &mut page[..], 0).call(|| "pread(artifact)")?;
    page.truncate(length);
    if page.len() < size_of::<Elf64_Ehdr>() || !page.starts_with(b"\x7fELF\x02\x01") {
        return Err(odd());
    }
    // SAFETY: a header is plain numbers, and the page is longer.
    let header = unsafe { page.as_ptr().cast::<Elf64_Ehdr>().read_unaligned() };
    let size = size_of::<Elf64_Phdr>();
    let end = (header.e_phoff as usize).saturating_add(usize::from(header.e_phnum) * size);
    if header.e_type != ET_DYN || header.e_machine != libc::EM_X86_64 || usize::from(header.e_phentsize) != size {
        return Err(odd());
    }
    let table = page.get(header.e_phoff as usize..end).ok_or_else(odd)?;
    let rows = table.chunks_exact(size);
    // SAFETY: as above.
    Ok(rows
        .map(|row| unsafe { row.as_ptr().cast::<Elf64_Phdr>().read_unaligned() })
        .collect())
}

/// Maps all segments, and answers where the object begins.
fn map(file: &OwnedFd, headers: &[Elf64_Phdr]) -> Result<*const u8> {
    let page = rustix::param::page_size();
    let loads = || headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
    let end = loads()
        .map(|h| h.p_vaddr.saturating_add(h.p_memsz) as usize)
        .max()
        .unwrap_or(0);
    let base = place(0, end.next_multiple_of(page), libc::PROT_NONE, None)?;
    let mut behind = 0;
    for header in loads() {
        let (start, in_file) = (header.p_vaddr as usize, header.p_filesz as usize);
        let first = start & !(page - 1);
        let end = (start + header.p_memsz as usize).next_multiple_of(page);
        if first < behind || in_file > header.p_memsz as usize {
            return Err(Error::message("its segments overlap"));
        }
        behind = end;
        let flags = [
            (libc::PF_R, libc::PROT_READ),
            (libc::PF_W, libc::PROT_WRITE),
            (libc::PF_X, libc::PROT_EXEC),
        ];
        let protection = flags
            .iter()
            .filter(|(flag, _)| header.p_flags & flag != 0)
            .map(|(_, bit)| bit)
            .sum();
        let mut zeros = first;
        if in_file > 0 {
            zeros = (start + in_file).next_multiple_of(page);
            let offset = (header.p_offset as usize).checked_sub(start - first);
            let offset = offset.ok_or_else(|| Error::message("a segment begins before the file"))?;
            place(base + first, zeros - first, protection, Some((file, offset)))?;
            if header.p_flags & libc::PF_W != 0 {
                let rest = (base + start + in_file) as *mut u8;
                // SAFETY: what is left of the last page, which was mapped for writing just now.
                unsafe { rest.write_bytes(0, base + zeros - rest as usize) };
            }
        }
        if zeros < end {
            place(base + zeros, end - zeros, protection, None)?;
        }
    }
    for header in headers.iter().filter(|h| h.p_type == libc::PT_GNU_RELRO) {
        let (start, end) = (header.p_vaddr as usize, (header.p_vaddr + header.p_memsz) as usize);
        let (first, end) = (start & !(page - 1), end & !(page - 1));
        // SAFETY: the pages are the object's, and it has no relocations that would be written there.
        unsafe {
            libc::mprotect(
                (base + first) as *mut c_void,
                end.saturating_sub(first),
                libc::PROT_READ,
            )
        };
    }
    Ok(base as *const u8)
}

/// Maps `length` bytes of a file or of zeros at `address`, or anywhere if that is 0.
fn place(address: usize, length: usize, protection: c_int, file: Option<(&OwnedFd, usize)>) -> Result<usize> {
    let fixed = if address == 0 { 0 } else { libc::MAP_FIXED };
    let (from, fd, offset) = match file {
        Some((file, offset)) => (0, file.as_raw_fd(), offset),
        None => (libc::MAP_ANONYMOUS, -1, 0),
    };
    let flags = libc::MAP_PRIVATE | fixed | from;
    // SAFETY: an address is one in the room that was reserved for the object.
    let mapped = unsafe {
        libc::mmap(
            address as *mut c_void,
            length,
            protection,
            flags,
            fd,
            offset as libc::off_t,
        )
    };
    match mapped == libc::MAP_FAILED {
        true => Err(Error::sys("mmap(artifact)", nix::errno::Errno::last())),
        false => Ok(mapped as usize),
    }
}
