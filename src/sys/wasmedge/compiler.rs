//! WasmEdge as a compiler. It loads LLVM, if the loader of programs has not done so already.

use std::ffi::CStr;

use wasmedge_sys::ffi;

use super::{PROPOSALS, Refusal, check};

/// How much is done for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    O0,
    /// Everything.
    O3,
}

/// Compiles a module for this very CPU, to a shared object at the path `out`.
///
/// The code does not look out for being interrupted: a guest is ended by a signal.
///
/// # Errors
/// The module is not valid, or the engine cannot compile it.
pub fn compile(module: &[u8], level: Level, out: &CStr) -> Result<(), Refusal> {
    // SAFETY: the contexts are made and freed here; module and path outlive the call that reads them.
    unsafe {
        ffi::WasmEdge_LogOff();
        let settings = ffi::WasmEdge_ConfigureCreate();
        for proposal in PROPOSALS {
            ffi::WasmEdge_ConfigureAddProposal(settings, proposal);
        }
        // No native code is looked for in what is compiled.
        ffi::WasmEdge_ConfigureSetForceInterpreter(settings, true);
        let level = match level {
            Level::O0 => ffi::WasmEdge_CompilerOptimizationLevel_O0,
            Level::O3 => ffi::WasmEdge_CompilerOptimizationLevel_O3,
        };
        ffi::WasmEdge_ConfigureCompilerSetOptimizationLevel(settings, level);
        ffi::WasmEdge_ConfigureCompilerSetOutputFormat(settings, ffi::WasmEdge_CompilerOutputFormat_Native);
        ffi::WasmEdge_ConfigureCompilerSetGenericBinary(settings, false);
        ffi::WasmEdge_ConfigureCompilerSetInterruptible(settings, false);
        let compiler = ffi::WasmEdge_CompilerCreate(settings);
        let made = check(ffi::WasmEdge_CompilerCompileFromBuffer(
            compiler,
            module.as_ptr(),
            module.len() as u64,
            out.as_ptr(),
        ));
        ffi::WasmEdge_CompilerDelete(compiler);
        ffi::WasmEdge_ConfigureDelete(settings);
        made
    }
}
