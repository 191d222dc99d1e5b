//! Running on from another file of the same content, without being executed anew.
//!
//! A program's code and data are mappings of its file. Each is replaced by the same part of another file, and what the process
//! has written since its start is carried over; then the kernel is told that this is the file that runs (prctl(2),
//! `PR_SET_MM_EXE_FILE`), which it allows once nothing of the first one is mapped any more.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use nix::libc;

use super::mm::Map;
use crate::error::{Error, Result};

/// A part of the program's file and where it is in memory: whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    start: usize,
    length: usize,
    offset: u64,
    protection: i32,
}

/// Goes on running from `image`, whose content must be that of the file that runs; the process must have one thread.
///
/// # Errors
/// The kernel does not allow it (`CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE` in the user namespace are needed). The process runs
/// on as before then, maybe in part from `image`.
pub fn onto(image: BorrowedFd<'_>) -> Result<()> {
    let map = Map::of_self()?;
    let headers = headers()?;
    let base = base(headers).ok_or_else(|| Error::message("the program has no header of its headers"))?;
    for header in headers {
        match header.p_type {
            libc::PT_LOAD => replace(segment(header, base)?, image)?,
            // What the C library has protected since the start.
            libc::PT_GNU_RELRO => protect(segment(header, base)?)?,
            _ => {}
        }
    }
    map.with_exe(image).apply()
}

/// The program headers (elf(5)) of the running program.
fn headers() -> Result<&'static [libc::Elf64_Phdr]> {
    // SAFETY: getauxval takes a number. The kernel has put the headers' address and count there, and they stay mapped.
    unsafe {
        let start = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        let count = libc::getauxval(libc::AT_PHNUM) as usize;
        match start.is_null() {
            true => Err(Error::message(
                "the kernel does not tell where the program's headers are",
            )),
            false => Ok(std::slice::from_raw_parts(start, count)),
        }
    }
}

/// How far from the addresses in the file the program was put.
fn base(headers: &[libc::Elf64_Phdr]) -> Option<usize> {
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR)?;
    Some((headers.as_ptr() as usize).wrapping_sub(own.p_vaddr as usize))
}

/// The pages of a segment that come from the file.
fn segment(header: &libc::Elf64_Phdr, base: usize) -> Result<Segment> {
    let address = base.wrapping_add(header.p_vaddr as usize);
    let page = rustix::param::page_size();
    let start = address & !(page - 1);
    let before = address - start;
    let end = match header.p_type {
        // Only whole pages of it are protected.
        libc::PT_GNU_RELRO => (address + header.p_memsz as usize) & !(page - 1),
        _ => (address + header.p_filesz as usize).next_multiple_of(page),
    };
    let offset = header.p_offset.checked_sub(before as u64);
    let bits = [
        (libc::PF_R, libc::PROT_READ),
        (libc::PF_W, libc::PROT_WRITE),
        (libc::PF_X, libc::PROT_EXEC),
    ];
    Ok(Segment {
        start,
        length: end.saturating_sub(start),
        offset: offset.ok_or_else(|| Error::message("a segment of the program begins before its file"))?,
        protection: bits
            .iter()
            .filter(|(flag, _)| header.p_flags & flag != 0)
            .map(|(_, bit)| bit)
            .sum(),
    })
}

/// Puts the same part of `image` in its place.
fn replace(segment: Segment, image: BorrowedFd<'_>) -> Result<()> {
    if segment.length == 0 {
        return Ok(());
    }
    if segment.protection & libc::PROT_WRITE == 0 {
        // SAFETY: what is there is replaced in one go by the same bytes, with the same protection.
        return unsafe { map(segment.start, segment, libc::MAP_FIXED, image) }.map(|_| ());
    }
    // SAFETY: the new mapping goes where nothing is. Then both are of this length; the old one may be read, as relocated data is
    // at least readable, and nothing writes to it meanwhile in a process of one thread. The move replaces it in one go.
    unsafe {
        let copy = map(0, segment, 0, image)?;
        let page = rustix::param::page_size();
        let old = segment.start as *const u8;
        for at in (0..segment.length).step_by(page) {
            let (from, to) = (old.add(at), copy.as_ptr().add(at));
            if std::slice::from_raw_parts(from, page) != std::slice::from_raw_parts(to, page) {
                std::ptr::copy_nonoverlapping(from, to, page);
            }
        }
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let moved = libc::mremap(
            copy.as_ptr().cast(),
            segment.length,
            segment.length,
            flags,
            segment.start,
        );
        match moved == libc::MAP_FAILED {
            true => Err(Error::sys("mremap(the program's data)", nix::errno::Errno::last())),
            false => Ok(()),
        }
    }
}

/// Maps the segment's part of `image` at `address`.
///
/// # Safety
/// With `MAP_FIXED`, what is mapped there must be of no use any more, or the same.
unsafe fn map(address: usize, segment: Segment, flags: i32, image: BorrowedFd<'_>) -> Result<NonNull<u8>> {
    let at = address as *mut libc::c_void;
    let flags = flags | libc::MAP_PRIVATE;
    // SAFETY: the caller's promise.
    let mapped = unsafe {
        libc::mmap(
            at,
            segment.length,
            segment.protection,
            flags,
            image.as_raw_fd(),
            segment.offset as libc::off_t,
        )
    };
    match NonNull::new(mapped.cast()) {
        Some(start) if mapped != libc::MAP_FAILED => Ok(start),
        _ => Err(Error::sys("mmap(the program's image)", nix::errno::Errno::last())),
    }
}

fn protect(segment: Segment) -> Result<()> {
    if segment.length == 0 {
        return Ok(());
    }
    // SAFETY: the pages are the program's own, and were read-only before they were replaced.
    match unsafe { libc::mprotect(segment.start as *mut libc::c_void, segment.length, libc::PROT_READ) } {
        0 => Ok(()),
        _ => Err(Error::sys("mprotect(the program's data)", nix::errno::Errno::last())),
    }
}
