//! The engine's library, loaded while the container is set up and not before the program's first line.
//!
//! Linked the usual way, libwasmedge and the ten libraries behind it would take two milliseconds of every start before `main`.
//! Loaded by dlopen(3) they take them on another CPU, while init makes the container's mounts.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::OnceLock;

use nix::libc;
use wasmedge_sys::ffi;

use super::copies;
use crate::error::{Error, Result};
use crate::sys::exe;

/// The version in its headers, such as `0.14.1`.
const VERSION: Option<&str> = option_env!("RUNW_ENGINE_VERSION");
/// What ld.so(8) looks for where that is not known.
const SONAME: &str = "libwasmedge.so.0";

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Whether the engine's compiler, LLVM, is going to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// It is.
    Wanted,
    /// It is not.
    LeftOut,
}

/// Loads the engine; once it is there, that costs nothing.
///
/// # Errors
/// It is not installed, or it is one that lacks a function. What dlopen(3) said.
pub fn load(compiler: Compiler) -> Result<&'static Library> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let handle = match (compiler, copies::all()) {
        (Compiler::LeftOut, Some(copies)) => {
            for library in &copies.libraries {
                open(library)?;
            }
            open(&copies.engine)?
        }
        _ => open(copies::original().unwrap_or(Path::new(SONAME)))?,
    };
    let library = Library::find(handle)?;
    Ok(LIBRARY.get_or_init(|| library))
}

fn open(path: &Path) -> Result<*mut c_void> {
    let name = exe::c_string(path.as_os_str())?;
    // SAFETY: the name is a C string. What the constructors of the engine and its libraries do is theirs; they are the
    // administrator's, as this program is.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(Error::unsupported(format!(
            "the WebAssembly engine cannot be loaded: {}; install libwasmedge0",
            problem()
        )));
    }
    Ok(handle)
}

/// What dlopen(3) or dlsym(3) has to say.
fn problem() -> String {
    // SAFETY: dlerror gives null or a string that lives until the next call in this thread.
    unsafe {
        let text = libc::dlerror();
        match text.is_null() {
            true => "no reason was given".to_owned(),
            false => CStr::from_ptr(text).to_string_lossy().into_owned(),
        }
    }
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void> {
    // SAFETY: the handle is an open library, and the name a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    match found.is_null() {
        true => Err(Error::unsupported(format!(
            "the WebAssembly engine is another one: {}; install libwasmedge0 of the version that runw was built for{}, \
             or build runw for the installed one with scripts/build",
            problem(),
            VERSION.map(|version| format!(", {version}")).unwrap_or_default()
        ))),
        false => Ok(found),
    }
}

/// Declares the functions of the engine that are called, with their types, which a test holds against the headers.
macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of a loaded engine (`wasmedge/wasmedge.h`).
        #[derive(Debug)]
        #[allow(non_snake_case, reason = "the names are WasmEdge's own")]
        pub struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn find(handle: *mut c_void) -> Result<Library> {
                let name = |name: &str| CString::new(name).map_err(|_| Error::message("a NUL byte in a name"));
                Ok(Library {
                    // SAFETY: the header of WasmEdge declares the symbol as a function of this type.
                    $($name: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                            symbol(handle, &name(stringify!($name))?)?,
                        )
                    },)*
                })
            }
        }

        #[cfg(test)]
        mod types {
            use super::*;

            #[test]
            fn are_those_of_the_headers() {
                $(let _: unsafe extern "C" fn($($argument),*) $(-> $result)? = ffi::$name;)*
            }
        }
    };
}

functions! {
    WasmEdge_VersionGet() -> *const c_char;
    WasmEdge_LogOff();
    WasmEdge_StringWrap(*const c_char, u32) -> ffi::WasmEdge_String;
    WasmEdge_ResultOK(ffi::WasmEdge_Result) -> bool;
    WasmEdge_ResultGetCode(ffi::WasmEdge_Result) -> u32;
    WasmEdge_ResultGetMessage(ffi::WasmEdge_Result) -> *const c_char;
    WasmEdge_ConfigureCreate() -> *mut ffi::WasmEdge_ConfigureContext;
    WasmEdge_ConfigureDelete(*mut ffi::WasmEdge_ConfigureContext);
    WasmEdge_ConfigureAddProposal(*mut ffi::WasmEdge_ConfigureContext, ffi::WasmEdge_Proposal);
    WasmEdge_ConfigureSetForceInterpreter(*mut ffi::WasmEdge_ConfigureContext, bool);
    WasmEdge_ConfigureSetMaxMemoryPage(*mut ffi::WasmEdge_ConfigureContext, u32);
    WasmEdge_ConfigureCompilerSetOptimizationLevel(*mut ffi::WasmEdge_ConfigureContext, ffi::WasmEdge_CompilerOptimizationLevel);
    WasmEdge_ConfigureCompilerSetOutputFormat(*mut ffi::WasmEdge_ConfigureContext, ffi::WasmEdge_CompilerOutputFormat);
    WasmEdge_ConfigureCompilerSetGenericBinary(*mut ffi::WasmEdge_ConfigureContext, bool);
    WasmEdge_ConfigureCompilerSetInterruptible(*mut ffi::WasmEdge_ConfigureContext, bool);
    WasmEdge_CompilerCreate(*const ffi::WasmEdge_ConfigureContext) -> *mut ffi::WasmEdge_CompilerContext;
    WasmEdge_CompilerCompileFromBuffer(*mut ffi::WasmEdge_CompilerContext, *const u8, u64, *const c_char) -> ffi::WasmEdge_Result;
    WasmEdge_CompilerDelete(*mut ffi::WasmEdge_CompilerContext);
    WasmEdge_LoaderCreate(*const ffi::WasmEdge_ConfigureContext) -> *mut ffi::WasmEdge_LoaderContext;
    WasmEdge_LoaderParseFromBuffer(*mut ffi::WasmEdge_LoaderContext, *mut *mut ffi::WasmEdge_ASTModuleContext, *const u8, u32) -> ffi::WasmEdge_Result;
    WasmEdge_LoaderParseFromFile(*mut ffi::WasmEdge_LoaderContext, *mut *mut ffi::WasmEdge_ASTModuleContext, *const c_char) -> ffi::WasmEdge_Result;
    WasmEdge_LoaderDelete(*mut ffi::WasmEdge_LoaderContext);
    WasmEdge_ValidatorCreate(*const ffi::WasmEdge_ConfigureContext) -> *mut ffi::WasmEdge_ValidatorContext;
    WasmEdge_ValidatorValidate(*mut ffi::WasmEdge_ValidatorContext, *const ffi::WasmEdge_ASTModuleContext) -> ffi::WasmEdge_Result;
    WasmEdge_ValidatorDelete(*mut ffi::WasmEdge_ValidatorContext);
    WasmEdge_ExecutorCreate(*const ffi::WasmEdge_ConfigureContext, *mut ffi::WasmEdge_StatisticsContext) -> *mut ffi::WasmEdge_ExecutorContext;
    WasmEdge_ExecutorRegisterImport(*mut ffi::WasmEdge_ExecutorContext, *mut ffi::WasmEdge_StoreContext, *const ffi::WasmEdge_ModuleInstanceContext) -> ffi::WasmEdge_Result;
    WasmEdge_ExecutorInstantiate(*mut ffi::WasmEdge_ExecutorContext, *mut *mut ffi::WasmEdge_ModuleInstanceContext, *mut ffi::WasmEdge_StoreContext, *const ffi::WasmEdge_ASTModuleContext) -> ffi::WasmEdge_Result;
    WasmEdge_ExecutorInvoke(*mut ffi::WasmEdge_ExecutorContext, *const ffi::WasmEdge_FunctionInstanceContext, *const ffi::WasmEdge_Value, u32, *mut ffi::WasmEdge_Value, u32) -> ffi::WasmEdge_Result;
    WasmEdge_StoreCreate() -> *mut ffi::WasmEdge_StoreContext;
    WasmEdge_ModuleInstanceCreateWASI(*const *const c_char, u32, *const *const c_char, u32, *const *const c_char, u32) -> *mut ffi::WasmEdge_ModuleInstanceContext;
    WasmEdge_ModuleInstanceInitWASI(*mut ffi::WasmEdge_ModuleInstanceContext, *const *const c_char, u32, *const *const c_char, u32, *const *const c_char, u32);
    WasmEdge_ModuleInstanceWASIGetExitCode(*const ffi::WasmEdge_ModuleInstanceContext) -> u32;
    WasmEdge_ModuleInstanceFindFunction(*const ffi::WasmEdge_ModuleInstanceContext, ffi::WasmEdge_String) -> *mut ffi::WasmEdge_FunctionInstanceContext;
    WasmEdge_ASTModuleListImportsLength(*const ffi::WasmEdge_ASTModuleContext) -> u32;
    WasmEdge_ASTModuleListImports(*const ffi::WasmEdge_ASTModuleContext, *mut *const ffi::WasmEdge_ImportTypeContext, u32) -> u32;
    WasmEdge_ASTModuleListExportsLength(*const ffi::WasmEdge_ASTModuleContext) -> u32;
    WasmEdge_ASTModuleListExports(*const ffi::WasmEdge_ASTModuleContext, *mut *const ffi::WasmEdge_ExportTypeContext, u32) -> u32;
    WasmEdge_ImportTypeGetModuleName(*const ffi::WasmEdge_ImportTypeContext) -> ffi::WasmEdge_String;
    WasmEdge_ImportTypeGetExternalName(*const ffi::WasmEdge_ImportTypeContext) -> ffi::WasmEdge_String;
    WasmEdge_ExportTypeGetExternalType(*const ffi::WasmEdge_ExportTypeContext) -> ffi::WasmEdge_ExternalType;
    WasmEdge_ExportTypeGetExternalName(*const ffi::WasmEdge_ExportTypeContext) -> ffi::WasmEdge_String;
    WasmEdge_ExportTypeGetFunctionType(*const ffi::WasmEdge_ASTModuleContext, *const ffi::WasmEdge_ExportTypeContext) -> *const ffi::WasmEdge_FunctionTypeContext;
    WasmEdge_FunctionTypeGetParametersLength(*const ffi::WasmEdge_FunctionTypeContext) -> u32;
    WasmEdge_FunctionTypeGetReturnsLength(*const ffi::WasmEdge_FunctionTypeContext) -> u32;
}

impl Library {
    /// Its version, such as `0.14.1`.
    pub fn version(&self) -> String {
        // SAFETY: the function takes nothing and returns a static string.
        let text = unsafe { CStr::from_ptr((self.WasmEdge_VersionGet)()) };
        text.to_string_lossy().into_owned()
    }
}
