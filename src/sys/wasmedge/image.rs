//! The engine as one file, `lib/runw/engine-BUILDID.image`, that this static program loads by itself.
//!
//! The usual way, dlopen(3), is not open to a static program, and a dynamic one takes a millisecond to start and another to
//! load libwasmedge with what it needs. `scripts/engine-image` has done all of that which does not depend on where the
//! libraries lie, and what depends on that for one address. What is left is to map the file there, to fill in the addresses of the C
//! library's functions, which are linked into this program, and to call the constructors: a third of a millisecond.
//!
//! # Format
//! All numbers are little endian. The first page is a [`Header`]; then come the libraries, page by page; behind them tables.
//! Places are offsets in the file, which are offsets in memory as well.
//!
//! # What the libraries find of a dynamic loader
//! Their thread-local variables are in one block of each thread ([`thread_local`]); dlopen(3) loads shared objects that the
//! engine has compiled ([`object`]); the unwinder finds their frames by [`find_object`]. Destructors are never called: a process
//! that has loaded the engine runs one module and ends.

mod object;
mod reach;
mod table;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::libc;
use rustix::fs::{Mode, OFlags};

pub use self::reach::by_path;
use super::installed;
use crate::error::{Error, Result, ResultExt};
use crate::sys::exe;

const MAGIC: [u8; 16] = *b"runw engine 1\n\0\0";

/// A table: where it is, and of how many rows.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Table {
    at: u64,
    rows: u64,
}

/// The beginning of the file.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Header {
    magic: [u8; 16],
    /// SHA-256 of the names of what the libraries import, in their order.
    digest: [u8; 32],
    /// Where it would like to lie: there, what refers to places in the image is right. 0 if it has no such wish.
    address: u64,
    /// Of the libraries, with the header.
    size: u64,
    /// Of a thread's block of thread-local variables.
    thread_size: u64,
    /// Start, end, `PF_*`: pages that are not only read.
    protections: Table,
    /// Start, end: pages that are only read once all is filled in.
    relro: Table,
    /// As `DT_RELR`: words to which is added how far from `address` it lies.
    moved: Table,
    /// A word, and what is added to it: the address of the import of this number.
    slots: Table,
    /// Functions to call, in this order.
    constructors: Table,
    /// Start and end of a library, and its `PT_GNU_EH_FRAME`.
    frames: Table,
    /// Where in `names` the name begins, and the address; sorted by name.
    exports: Table,
    names: Table,
    /// Build id and path of each library, a line each.
    libraries: Table,
}

/// An image that fits this program and what is installed.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: OwnedFd,
    size: u64,
    header: Header,
}

/// The loaded engine.
#[derive(Debug, Clone, Copy)]
pub struct Handle {
    base: *const u8,
    header: Header,
}

// SAFETY: the image stays mapped, and what is read of it is not written to any more.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

static LOADED: OnceLock<Handle> = OnceLock::new();

/// The image, if there is one that fits; looked for once.
pub fn find() -> Option<&'static Image> {
    static FOUND: OnceLock<Option<Image>> = OnceLock::new();
    FOUND.get_or_init(|| Image::open().ok()).as_ref()
}

/// Whether this program can load the engine.
pub fn is_here() -> bool {
    find().is_some()
}

/// The file it is loaded from.
pub fn file() -> Option<PathBuf> {
    find().map(|image| image.path.clone())
}

/// Loads the engine.
///
/// # Errors
/// There is no image that fits, or no memory.
pub fn open() -> Result<Handle> {
    if let Some(loaded) = LOADED.get() {
        return Ok(*loaded);
    }
    let image =
        find().ok_or_else(|| Error::unsupported("no image of the WebAssembly engine fits; run scripts/build"))?;
    image.load().map_err(|e| e.wrap(image.path.display().to_string()))
}

impl Image {
    fn open() -> Result<Image> {
        let id = installed::id().ok_or_else(|| Error::message("the engine is not installed"))?;
        let path = exe::library(format!("engine-{id}.image").as_ref())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        let size = rustix::fs::fstat(&file).call(|| "fstat(image)")?.st_size as u64;
        let mut bytes = [0; size_of::<Header>()];
        rustix::io::pread(&file, &mut bytes, 0).call(|| "pread(image)")?;
        // SAFETY: a header is plain numbers, of any value, and the array is as long.
        let header = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<Header>()) };
        let image = Image {
            path,
            file,
            size,
            header,
        };
        match image.fits()? {
            true => Ok(image),
            false => Err(Error::message("the image is of other libraries or another program")),
        }
    }

    /// Whether it was made for this program, of the libraries that are installed.
    fn fits(&self) -> Result<bool> {
        let header = &self.header;
        let one_of_ours = header.magic == MAGIC
            && header.digest == table::digest()
            && header.size <= self.size
            && header.thread_size as usize <= table::BLOCK;
        if !one_of_ours {
            return Ok(false);
        }
        let mut lines = vec![0; header.libraries.rows.min(4096) as usize];
        rustix::io::pread(&self.file, &mut lines[..], header.libraries.at).call(|| "pread(image)")?;
        let lines = String::from_utf8_lossy(&lines);
        Ok(lines.lines().all(installed::is_there))
    }

    fn load(&self) -> Result<Handle> {
        // SAFETY: the mapping goes where nothing is, to that address only if it is free.
        let start = unsafe {
            let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE);
            libc::mmap(
                self.header.address as *mut c_void,
                self.size as usize,
                read,
                private,
                self.file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::sys("mmap(image)", nix::errno::Errno::last()));
        }
        let handle = Handle {
            base: start.cast(),
            header: self.header,
        };
        // SAFETY: the file is the administrator's, as this program is, and `scripts/engine-image` has made it of libraries that
        // are installed: its tables lie in the mapping, and what they name lies in the libraries.
        unsafe { handle.set_up()? }
        Ok(handle)
    }
}

impl Handle {
    /// Address of an exported function.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn symbol(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: as in `load`; each name ends with a NUL byte.
        let (exports, name_of) = unsafe {
            let names = self.rows::<u8>(self.header.names).as_ptr();
            let name_of = move |row: &[u32; 2]| CStr::from_ptr(names.add(row[0] as usize).cast());
            (self.rows::<[u32; 2]>(self.header.exports), name_of)
        };
        match exports.binary_search_by(|row| name_of(row).cmp(name)) {
            Ok(at) => Ok(self.place(u64::from(exports[at][1])).cast_mut().cast()),
            Err(_) => Err(Error::message(format!("it has no {}", name.to_string_lossy()))),
        }
    }

    fn place(&self, offset: u64) -> *const u8 {
        self.base.wrapping_add(offset as usize)
    }

    /// # Safety
    /// The table must lie in the image and have rows of this type.
    unsafe fn rows<T>(&self, table: Table) -> &'static [T] {
        // SAFETY: the caller's promise; the image stays mapped for good, and tables are aligned to 8 bytes.
        unsafe { std::slice::from_raw_parts(self.place(table.at).cast(), table.rows as usize) }
    }

    /// Makes the mapped file what the libraries are after their start.
    ///
    /// # Safety
    /// The tables must be right.
    unsafe fn set_up(self) -> Result<()> {
        let header = &self.header;
        // SAFETY: the caller's promise: only pages that may be written to are written to, and constructors are functions that
        // take what `main` takes.
        unsafe {
            for [from, to, flags] in self.rows::<[u64; 3]>(header.protections) {
                let write = if flags & 2 != 0 { libc::PROT_WRITE } else { 0 };
                let run = if flags & 1 != 0 { libc::PROT_EXEC } else { 0 };
                self.protect(*from, *to, libc::PROT_READ | write | run)?;
            }
            match (self.base as u64).wrapping_sub(header.address) {
                0 => {}
                distance => self.shift(self.rows(header.moved), distance as usize),
            }
            for [slot, import] in self.rows::<[u32; 2]>(header.slots) {
                let word = self.place(u64::from(*slot)).cast_mut().cast::<usize>();
                *word = (*word).wrapping_add(table::import(*import as usize));
            }
            for [from, to] in self.rows::<[u64; 2]>(header.relro) {
                self.protect(*from, *to, libc::PROT_READ)?;
            }
            LOADED.get_or_init(|| self);
            for constructor in self.rows::<u64>(header.constructors) {
                let constructor: extern "C" fn(c_int, *const *const c_char, *const *const c_char) =
                    std::mem::transmute(self.place(*constructor));
                constructor(0, std::ptr::null(), std::ptr::null());
            }
        }
        Ok(())
    }

    /// # Safety
    /// The pages must be the image's, and be used as `protection` allows it from now on.
    unsafe fn protect(&self, from: u64, to: u64, protection: c_int) -> Result<()> {
        let start = self.place(from).cast_mut().cast();
        // SAFETY: the caller's promise.
        match unsafe { libc::mprotect(start, (to - from) as usize, protection) } {
            0 => Ok(()),
            _ => Err(Error::sys("mprotect(image)", nix::errno::Errno::last())),
        }
    }

    /// Adds `distance` to words: an even entry is the place of one; an odd one has a bit for each of the 63 that
    /// follow.
    ///
    /// # Safety
    /// The places must be words of the image that may be written to.
    unsafe fn shift(&self, entries: &[u64], distance: usize) {
        let mut next = self.base.cast_mut().cast::<usize>();
        // SAFETY: the caller's promise.
        let add = |word: *mut usize| unsafe { word.write(word.read().wrapping_add(distance)) };
        for entry in entries {
            if entry & 1 == 0 {
                let word = self.place(*entry).cast_mut().cast::<usize>();
                add(word);
                next = word.wrapping_add(1);
                continue;
            }
            let mut bits = entry >> 1;
            while bits != 0 {
                add(next.wrapping_add(bits.trailing_zeros() as usize));
                bits &= bits - 1;
            }
            next = next.wrapping_add(63);
        }
    }
}

/// `struct dl_find_object` of `dlfcn.h`.
#[repr(C)]
struct Found {
    flags: u64,
    start: *const u8,
    end: *const u8,
    link_map: *const c_void,
    eh_frame: *const u8,
    reserved: [u64; 7],
}

unsafe extern "C" {
    /// glibc's own `_dl_find_object`, by the name that ld(1) gives it for `--wrap`.
    fn __real__dl_find_object(address: *const u8, found: *mut Found) -> c_int;
}

/// In the place of `_dl_find_object`, by which the unwinder finds how to leave a function: it knows the image as well.
///
/// # Safety
/// As of glibc's: `found` can be written to.
unsafe extern "C" fn find_object(address: *const u8, found: *mut Found) -> c_int {
    let Some(image) = LOADED.get() else {
        // SAFETY: the caller's promise.
        return unsafe { __real__dl_find_object(address, found) };
    };
    // SAFETY: the table is the image's.
    let libraries = unsafe { image.rows::<[u64; 3]>(image.header.frames) };
    let within = |row: &&[u64; 3]| (image.place(row[0])..image.place(row[1])).contains(&address);
    match libraries.iter().find(within) {
        // SAFETY: the caller's promise.
        None => unsafe { __real__dl_find_object(address, found) },
        Some([start, end, eh_frame]) => {
            let library = Found {
                flags: 0,
                start: image.place(*start),
                end: image.place(*end),
                link_map: std::ptr::null(),
                eh_frame: image.place(*eh_frame),
                reserved: [0; 7],
            };
            // SAFETY: the caller's promise.
            unsafe { found.write(library) };
            0
        }
    }
}
