//! What the libraries of an image import: the C library's functions, and in the place of some of them this program's own.

use std::cell::UnsafeCell;
use std::ffi::c_int;

use super::{find_object, object, reach};
use crate::sys::fault;

// The assembly has the names of its operands from `scripts/engine-image`.
std::arch::global_asm!(
    include_str!(env!("RUNW_ENGINE_IMPORTS")),
    thread_local = sym thread_local,
    nothing = sym nothing,
    open = sym reach::open,
    stat = sym reach::stat,
    object = sym object::open,
    symbol = sym object::symbol,
    problem = sym object::problem,
    sigaction = sym fault::sigaction,
    find_object = sym find_object,
    options(att_syntax)
);

unsafe extern "C" {
    static runw_engine_imports: [usize; 0];
    static runw_engine_digest: [u8; 32];
}

/// Bytes of a thread's block.
pub const BLOCK: usize = 4096;

/// Where the thread-local variables of the libraries are, all of them zero at first.
#[repr(align(64))]
struct Block(UnsafeCell<[u8; BLOCK]>);

thread_local! {
    static THREAD: Block = const { Block(UnsafeCell::new([0; BLOCK])) };
}

/// In the place of `__tls_get_addr`: a variable's place in the block of this thread.
///
/// # Safety
/// `index` points to where the library's variables begin in the block, and the variable's place behind that.
unsafe extern "C" fn thread_local(index: *const [usize; 2]) -> *mut u8 {
    // SAFETY: the caller's promise.
    let [library, variable] = unsafe { *index };
    THREAD.with(|block| block.0.get().cast::<u8>().wrapping_add(library.wrapping_add(variable)))
}

/// In the place of what has nothing to do here.
extern "C" fn nothing() -> c_int {
    0
}

/// The address of an import.
///
/// # Safety
/// There must be one of this number.
pub unsafe fn import(number: usize) -> usize {
    // SAFETY: the table has as many entries as there are names, and is never written to.
    unsafe { *(&raw const runw_engine_imports).cast::<usize>().add(number) }
}

/// The digest of their names.
pub fn digest() -> [u8; 32] {
    // SAFETY: it is never written to.
    unsafe { runw_engine_digest }
}
