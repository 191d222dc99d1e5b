//! WasmEdge's C interface, as far as running one module of WASI preview 1 goes.
//!
//! One process runs one module and ends with it, so the engine's objects are never taken apart: freeing them would only cost
//! time. The log of the engine is switched off before anything else, because it goes to stdout, which is the container's.

pub mod compiler;
#[cfg(not(feature = "image"))]
mod dynamic;
#[cfg(feature = "image")]
mod image;
mod installed;
mod library;
#[cfg(not(feature = "image"))]
mod reach;

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::BorrowedFd;

pub use installed::identity;
pub use library::{Library, SetTerminate, file, is_here, load, settle};
use wasmedge_sys::ffi;

use crate::error;

/// Why the engine refused or stopped: its number (`WasmEdge_ErrCode_*`) and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `WasmEdge_ErrCode_*`
    pub code: u32,
    /// Such as `out of bounds memory access`.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The engine with its settings.
#[derive(Debug)]
pub struct Engine {
    lib: &'static Library,
    executor: *mut ffi::WasmEdge_ExecutorContext,
    store: *mut ffi::WasmEdge_StoreContext,
    wasi: *mut ffi::WasmEdge_ModuleInstanceContext,
}

/// A module that has been read and validated.
#[derive(Debug)]
pub struct Module {
    lib: &'static Library,
    context: *mut ffi::WasmEdge_ASTModuleContext,
}

/// A module with its memory and tables.
#[derive(Debug)]
pub struct Instance(*mut ffi::WasmEdge_ModuleInstanceContext);

/// What a module wants from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The module it is to come from.
    pub module: String,
    /// Its name there.
    pub name: String,
}

/// The proposals that WasmEdge 0.14 supports beside those that are on from the beginning.
const PROPOSALS: [ffi::WasmEdge_Proposal; 8] = [
    ffi::WasmEdge_Proposal_ExceptionHandling,
    ffi::WasmEdge_Proposal_ExtendedConst,
    ffi::WasmEdge_Proposal_FunctionReferences,
    ffi::WasmEdge_Proposal_GC,
    ffi::WasmEdge_Proposal_MultiMemories,
    ffi::WasmEdge_Proposal_RelaxSIMD,
    ffi::WasmEdge_Proposal_TailCall,
    ffi::WasmEdge_Proposal_Threads,
];

type Loader = *mut ffi::WasmEdge_LoaderContext;

impl Module {
    /// Reads and validates a module, which is interpreted, whatever native code it brings with it.
    pub fn read(lib: &'static Library, bytes: &[u8]) -> Result<Module, Refusal> {
        // SAFETY: the bytes outlive the call, which copies what the module needs of them.
        Module::parse(lib, false, |loader, module| unsafe {
            (lib.WasmEdge_LoaderParseFromBuffer)(loader, module, bytes.as_ptr(), bytes.len() as u32)
        })
    }

    /// Loads an artifact, a shared object that the compiler has made of a module.
    ///
    /// # Errors
    /// The engine refuses it, or the file cannot be reached by a path.
    pub fn load(lib: &'static Library, artifact: BorrowedFd<'_>) -> error::Result<Module> {
        let loaded = library::by_path(artifact, |path| {
            // SAFETY: the path outlives the call, which copies it.
            Module::parse(lib, true, |loader, module| unsafe {
                (lib.WasmEdge_LoaderParseFromFile)(loader, module, path.as_ptr())
            })
        })?;
        loaded.map_err(|refusal| error::Error::message(format!("WasmEdge refuses it: {refusal}")))
    }

    fn parse(
        lib: &'static Library,
        native: bool,
        parse: impl FnOnce(Loader, *mut *mut ffi::WasmEdge_ASTModuleContext) -> ffi::WasmEdge_Result,
    ) -> Result<Module, Refusal> {
        let mut module = std::ptr::null_mut();
        // SAFETY: the contexts are made and freed here, in the order that the engine asks for, and nobody else has them.
        unsafe {
            let settings = settings(lib, native);
            let loader = (lib.WasmEdge_LoaderCreate)(settings);
            let parsed = check(lib, parse(loader, &raw mut module));
            (lib.WasmEdge_LoaderDelete)(loader);
            let valid = parsed.and_then(|()| {
                let validator = (lib.WasmEdge_ValidatorCreate)(settings);
                let valid = check(lib, (lib.WasmEdge_ValidatorValidate)(validator, module));
                (lib.WasmEdge_ValidatorDelete)(validator);
                valid
            });
            (lib.WasmEdge_ConfigureDelete)(settings);
            valid?;
        }
        Ok(Module { lib, context: module })
    }
}

/// New settings with everything that the engine supports, and native code only if asked for.
fn settings(lib: &Library, native: bool) -> *mut ffi::WasmEdge_ConfigureContext {
    // SAFETY: the context is made here, and the caller gets it.
    unsafe {
        (lib.WasmEdge_LogOff)();
        let settings = (lib.WasmEdge_ConfigureCreate)();
        for proposal in PROPOSALS {
            (lib.WasmEdge_ConfigureAddProposal)(settings, proposal);
        }
        (lib.WasmEdge_ConfigureSetForceInterpreter)(settings, !native);
        settings
    }
}

impl Engine {
    /// An engine whose guests have at most `pages` pages of 64 KiB per memory.
    pub fn new(lib: &'static Library, pages: u32) -> Engine {
        // SAFETY: the contexts are made here, used by this type alone and never freed but for the settings, of which the
        // executor keeps a copy.
        unsafe {
            let settings = settings(lib, true);
            (lib.WasmEdge_ConfigureSetMaxMemoryPage)(settings, pages);
            let executor = (lib.WasmEdge_ExecutorCreate)(settings, std::ptr::null_mut());
            (lib.WasmEdge_ConfigureDelete)(settings);
            Engine {
                lib,
                executor,
                store: (lib.WasmEdge_StoreCreate)(),
                wasi: (lib.WasmEdge_ModuleInstanceCreateWASI)(
                    std::ptr::null(),
                    0,
                    std::ptr::null(),
                    0,
                    std::ptr::null(),
                    0,
                ),
            }
        }
    }

    /// Whether WASI has a function of that name.
    pub fn provides(&self, name: &str) -> bool {
        let lib = self.lib;
        // SAFETY: the wrapped string is only read during the call.
        unsafe { !(lib.WasmEdge_ModuleInstanceFindFunction)(self.wasi, wrap(lib, name)).is_null() }
    }

    /// Gives WASI its arguments, environment (`NAME=VALUE`) and folders (`GUEST:HOST`, `GUEST:HOST:readonly`), which are opened
    /// now; those that cannot be opened are left out.
    pub fn furnish(&self, args: &[CString], env: &[CString], folders: &[CString]) {
        let lib = self.lib;
        let [args, env, folders] = [args, env, folders].map(pointers);
        // SAFETY: each array holds as many C strings as is said; the engine copies them during the call.
        unsafe {
            (lib.WasmEdge_ModuleInstanceInitWASI)(
                self.wasi,
                args.as_ptr(),
                args.len() as u32,
                env.as_ptr(),
                env.len() as u32,
                folders.as_ptr(),
                folders.len() as u32,
            );
        }
    }

    /// Links the module to WASI, makes its memory, and runs its start function if it has one.
    pub fn instantiate(&self, module: &Module) -> Result<Instance, Refusal> {
        let lib = self.lib;
        let mut instance = std::ptr::null_mut();
        // SAFETY: all contexts are alive; the module outlives the instance because neither is ever freed.
        unsafe {
            check(
                lib,
                (lib.WasmEdge_ExecutorRegisterImport)(self.executor, self.store, self.wasi),
            )?;
            check(
                lib,
                (lib.WasmEdge_ExecutorInstantiate)(self.executor, &raw mut instance, self.store, module.context),
            )?;
        }
        Ok(Instance(instance))
    }

    /// Calls the exported function `name`, which takes and gives nothing. `Ok` holds the exit code, of proc_exit or 0.
    pub fn call(&self, instance: &Instance, name: &str) -> Result<u32, Refusal> {
        let lib = self.lib;
        // SAFETY: instance and executor are alive; the function has neither parameters nor results, which the engine checks.
        unsafe {
            let function = (lib.WasmEdge_ModuleInstanceFindFunction)(instance.0, wrap(lib, name));
            check(
                lib,
                (lib.WasmEdge_ExecutorInvoke)(self.executor, function, std::ptr::null(), 0, std::ptr::null_mut(), 0),
            )?;
            Ok(self.exit_code())
        }
    }

    /// What the guest gave to proc_exit.
    pub fn exit_code(&self) -> u32 {
        let lib = self.lib;
        // SAFETY: the instance is alive.
        unsafe { (lib.WasmEdge_ModuleInstanceWASIGetExitCode)(self.wasi) }
    }
}

impl Module {
    /// Everything the module wants from outside.
    pub fn imports(&self) -> Vec<Import> {
        let lib = self.lib;
        // SAFETY: the list's members live as long as the module; their names are copied.
        unsafe {
            let count = (lib.WasmEdge_ASTModuleListImportsLength)(self.context);
            let mut list = vec![std::ptr::null(); count as usize];
            (lib.WasmEdge_ASTModuleListImports)(self.context, list.as_mut_ptr(), count);
            let import = |import| Import {
                module: text((lib.WasmEdge_ImportTypeGetModuleName)(import)),
                name: text((lib.WasmEdge_ImportTypeGetExternalName)(import)),
            };
            list.into_iter().map(import).collect()
        }
    }

    /// How many parameters and results the exported function `name` has; `None` if there is no such function.
    pub fn function(&self, name: &str) -> Option<u32> {
        let lib = self.lib;
        // SAFETY: as in `imports`; the type of a function's export is one of a function.
        unsafe {
            let count = (lib.WasmEdge_ASTModuleListExportsLength)(self.context);
            let mut list = vec![std::ptr::null(); count as usize];
            (lib.WasmEdge_ASTModuleListExports)(self.context, list.as_mut_ptr(), count);
            let export = list.into_iter().find(|export| {
                (lib.WasmEdge_ExportTypeGetExternalType)(*export) == ffi::WasmEdge_ExternalType_Function
                    && bytes(&(lib.WasmEdge_ExportTypeGetExternalName)(*export)) == name.as_bytes()
            })?;
            let kind = (lib.WasmEdge_ExportTypeGetFunctionType)(self.context, export);
            Some(
                (lib.WasmEdge_FunctionTypeGetParametersLength)(kind)
                    + (lib.WasmEdge_FunctionTypeGetReturnsLength)(kind),
            )
        }
    }
}

/// The engine counts `Terminated`, the way out of proc_exit, as a success.
fn check(lib: &Library, result: ffi::WasmEdge_Result) -> Result<(), Refusal> {
    // SAFETY: the functions only look at the value; the message is a static string.
    unsafe {
        if (lib.WasmEdge_ResultOK)(result) {
            return Ok(());
        }
        Err(Refusal {
            code: (lib.WasmEdge_ResultGetCode)(result),
            text: CStr::from_ptr((lib.WasmEdge_ResultGetMessage)(result))
                .to_string_lossy()
                .into_owned(),
        })
    }
}

/// A view of `name` that is valid as long as it is.
fn wrap(lib: &Library, name: &str) -> ffi::WasmEdge_String {
    // SAFETY: the function only stores pointer and length.
    unsafe { (lib.WasmEdge_StringWrap)(name.as_ptr().cast(), name.len() as u32) }
}

fn bytes(string: &ffi::WasmEdge_String) -> &[u8] {
    if string.Buf.is_null() {
        return &[];
    }
    // SAFETY: the engine's strings hold `Length` bytes at `Buf`.
    unsafe { std::slice::from_raw_parts(string.Buf.cast(), string.Length as usize) }
}

fn text(string: ffi::WasmEdge_String) -> String {
    String::from_utf8_lossy(bytes(&string)).into_owned()
}

fn pointers(strings: &[CString]) -> Vec<*const std::ffi::c_char> {
    strings.iter().map(|s| s.as_ptr()).collect()
}
