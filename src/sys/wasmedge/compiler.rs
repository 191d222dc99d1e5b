//! WasmEdge as a compiler, which calls LLVM.

use std::ffi::CStr;

use wasmedge_sys::ffi;

use super::{Library, PROPOSALS, Refusal, check};

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
pub fn compile(lib: &Library, module: &[u8], level: Level, out: &CStr) -> Result<(), Refusal> {
    // SAFETY: the contexts are made and freed here; module and path outlive the call that reads them.
    unsafe {
        (lib.WasmEdge_LogOff)();
        let settings = (lib.WasmEdge_ConfigureCreate)();
        for proposal in PROPOSALS {
            (lib.WasmEdge_ConfigureAddProposal)(settings, proposal);
        }
        // No native code is looked for in what is compiled.
        (lib.WasmEdge_ConfigureSetForceInterpreter)(settings, true);
        let level = match level {
            Level::O0 => ffi::WasmEdge_CompilerOptimizationLevel_O0,
            Level::O3 => ffi::WasmEdge_CompilerOptimizationLevel_O3,
        };
        (lib.WasmEdge_ConfigureCompilerSetOptimizationLevel)(settings, level);
        (lib.WasmEdge_ConfigureCompilerSetOutputFormat)(settings, ffi::WasmEdge_CompilerOutputFormat_Native);
        (lib.WasmEdge_ConfigureCompilerSetGenericBinary)(settings, false);
        (lib.WasmEdge_ConfigureCompilerSetInterruptible)(settings, false);
        let compiler = (lib.WasmEdge_CompilerCreate)(settings);
        let made = check(
            lib,
            (lib.WasmEdge_CompilerCompileFromBuffer)(compiler, module.as_ptr(), module.len() as u64, out.as_ptr()),
        );
        (lib.WasmEdge_CompilerDelete)(compiler);
        (lib.WasmEdge_ConfigureDelete)(settings);
        made
    }
}
