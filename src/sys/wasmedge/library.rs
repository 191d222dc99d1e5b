//! The engine's functions, loaded when a module is to run and not before the program's first line.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;

use wasmedge_sys::ffi;

#[cfg(not(feature = "image"))]
use super::dynamic as opened;
#[cfg(feature = "image")]
use super::image as opened;
use crate::error::{Error, Result};

/// The version in its headers, such as `0.14.1`.
const VERSION: Option<&str> = option_env!("RUNW_ENGINE_VERSION");

pub(super) use opened::by_path;

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Whether this program can load an engine.
pub fn is_here() -> bool {
    opened::is_here()
}

/// The file that the engine is loaded from, if that is known.
pub fn file() -> Option<std::path::PathBuf> {
    opened::file()
}

/// Loads the engine; once it is there, that costs nothing.
///
/// # Errors
/// It is not installed, or it is one that lacks a function.
pub fn load() -> Result<&'static Library> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let library = Library::find(&opened::open()?)?;
    Ok(LIBRARY.get_or_init(|| library))
}

/// Does what [`load`] needs files of the host for: an image is open since [`is_here`] has found it, a library is loaded as a whole.
///
/// # Errors
/// Those of [`load`].
pub fn settle() -> Result<()> {
    match cfg!(feature = "image") {
        true => Ok(()),
        false => load().map(drop),
    }
}

fn symbol(engine: &opened::Handle, name: &CStr) -> Result<*mut c_void> {
    engine.symbol(name).map_err(|e| {
        Error::unsupported(format!(
            "the WebAssembly engine is another one: {e}; install libwasmedge0 of the version that runw was built for{}, \
             or build runw for the installed one with scripts/build",
            VERSION.map(|version| format!(", {version}")).unwrap_or_default()
        ))
    })
}

/// The type of `std::set_terminate`.
pub type SetTerminate = extern "C" fn(extern "C" fn()) -> *const c_void;
const SET_TERMINATE: &CStr = c"_ZSt13set_terminatePFvvE";

/// Declares the functions of the engine that are called, with their types, which a test holds against the headers.
macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of a loaded engine (`wasmedge/wasmedge.h`).
        #[derive(Debug)]
        #[allow(non_snake_case, reason = "the names are WasmEdge's own")]
        pub struct Library {
            /// C++'s own `std::set_terminate`, if it can be found.
            pub set_terminate: Option<SetTerminate>,
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn find(engine: &opened::Handle) -> Result<Library> {
                let name = |name: &str| CString::new(name).map_err(|_| Error::message("a NUL byte in a name"));
                Ok(Library {
                    // SAFETY: `std::set_terminate` has this type (C++ standard, [set.terminate]).
                    set_terminate: engine.symbol(SET_TERMINATE).ok().map(|found| unsafe {
                        std::mem::transmute::<*mut c_void, SetTerminate>(found)
                    }),
                    // SAFETY: the header of WasmEdge declares the symbol as a function of this type.
                    $($name: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                            symbol(engine, &name(stringify!($name))?)?,
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
