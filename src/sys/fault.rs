//! Faults of code that the engine runs: native stacks that overflow, and C++ that gives up.
//!
//! WasmEdge turns SIGSEGV in compiled code into a trap, but it asks for its handler to run on the very stack that has just
//! overflowed, where the kernel cannot start it: the process would die by the signal. So the engine gets a `sigaction` of this
//! program's own, which the dynamic loader prefers to libc's and an image has in its place: it puts [`on_fault`] in front of the
//! engine's handler, on an alternate stack. The interpreter's stack is memory of the heap; when there is no more of it, C++ ends in `std::terminate`.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;

use super::wasmedge::SetTerminate;

/// The exit status that the process ends with; set once, before any handler runs.
static STATUS: AtomicUsize = AtomicUsize::new(1);
/// The engine's handler of faults.
static ENGINE: AtomicUsize = AtomicUsize::new(0);

const STACK: usize = 64 * 1024;
/// Faults so near to the stack pointer are an overflow of the stack.
const NEAR: usize = 1 << 20;

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

unsafe extern "C" {
    /// libc's own one, under its other name.
    fn __sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int;
}

/// In the place of libc's sigaction(2), for this program and all its libraries.
///
/// # Safety
/// As sigaction(2): the pointers are null or valid.
#[cfg_attr(not(feature = "image"), unsafe(no_mangle))]
pub unsafe extern "C" fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let Some(wanted) = new
            .as_ref()
            .filter(|w| STATUS.load(Ordering::Relaxed) != 1 && is_fault(signal, w))
        else {
            return __sigaction(signal, new, old);
        };
        ENGINE.store(wanted.sa_sigaction, Ordering::Relaxed);
        let mut ours = *wanted;
        ours.sa_sigaction = on_fault as *const () as usize;
        ours.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
        __sigaction(signal, &raw const ours, old)
    }
}

fn is_fault(signal: c_int, wanted: &libc::sigaction) -> bool {
    let handles = wanted.sa_sigaction != libc::SIG_DFL && wanted.sa_sigaction != libc::SIG_IGN;
    handles && matches!(signal, libc::SIGSEGV | libc::SIGBUS)
}

/// From here on faults of the engine end the process with `status` and one line on stderr, if they are not a trap anyway.
/// `set_terminate` is the engine's.
pub fn end_with(status: i32, set_terminate: Option<SetTerminate>) {
    let stack = Box::leak(vec![0_u8; STACK].into_boxed_slice());
    let alternate = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: STACK,
    };
    STATUS.store(status as usize, Ordering::Relaxed);
    // SAFETY: the stack is never freed.
    unsafe { libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) };
    if let Some(set_terminate) = set_terminate {
        set_terminate(on_terminate);
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gave both pointers; the engine's handler has this type, and without one the program ends.
    unsafe {
        let address = (*info).si_addr() as usize;
        if address.abs_diff(stack_pointer(context.cast())) < NEAR {
            end(b"call stack exhausted");
        }
        let engine = ENGINE.load(Ordering::Relaxed);
        let engine: Handler = std::mem::transmute(engine as *const ());
        engine(signal, info, context);
    }
}

/// An exception that nobody takes; in this process, memory that ran out in the middle of a call.
extern "C" fn on_terminate() {
    end(b"call stack exhausted, or out of memory");
}

fn end(why: &[u8]) -> ! {
    for part in [b"runw: the WebAssembly module trapped: ", why, b"\n"] {
        // SAFETY: write and _exit are async-signal-safe; the slice is valid for its length.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: _exit does not return.
    unsafe { libc::_exit(STATUS.load(Ordering::Relaxed) as i32) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn stack_pointer(context: *const libc::ucontext_t) -> usize {
    // SAFETY: the caller gives the context of a signal handler.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] as usize }
}

#[cfg(target_arch = "aarch64")]
unsafe fn stack_pointer(context: *const libc::ucontext_t) -> usize {
    // SAFETY: the caller gives the context of a signal handler.
    unsafe { (*context).uc_mcontext.sp as usize }
}
