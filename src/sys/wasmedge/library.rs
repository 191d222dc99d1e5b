//! The engine's library, loaded while the container is set up and not before the program's first line.
//!
//! Linked the usual way, libwasmedge and the ten libraries behind it would take two milliseconds of every start before `main`.
//! Loaded by dlopen(3) they take them on another CPU, while init makes the container's mounts.
//!
//! libwasmedge needs libLLVM, whose loading costs five times what all the rest does, and running modules never calls it.
//! `scripts/build` makes a library of LLVM's name that defines the few hundred symbols libwasmedge asks for, and names the
//! file after the build id of that very libwasmedge. With it loaded first, ld.so(8) finds LLVM's name taken. Any other
//! libwasmedge has another build id and gets its real LLVM: slower, never broken.

use std::ffi::{CStr, CString, OsString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::libc;
use wasmedge_sys::ffi;

use crate::error::{Error, Result};
use crate::sys::exe;

/// The libwasmedge that this program was built for.
const BUILT_FOR: Option<&str> = option_env!("RUNW_ENGINE_LIBRARY");
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
    /// It is not, so a stand-in will do.
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
    if compiler == Compiler::LeftOut
        && let Some(stand_in) = stand_in()
    {
        open(&stand_in)?;
    }
    let handle = open(engine().unwrap_or(Path::new(SONAME)))?;
    let library = Library::find(handle)?;
    Ok(LIBRARY.get_or_init(|| library))
}

/// Whether the engine is in memory.
pub fn is_loaded() -> bool {
    LIBRARY.get().is_some()
}

/// Tells one build of the engine from any other.
///
/// # Errors
/// It has no build id and cannot be loaded either.
pub fn identity() -> Result<String> {
    if let Some(id) = engine().and_then(id_of) {
        return Ok(format!("wasmedge build {}", &hex(&id)[..16.min(2 * id.len())]));
    }
    Ok(format!("wasmedge {}", load(Compiler::LeftOut)?.version()))
}

/// The file that will be loaded, if that is known; no variable of the environment changes it.
fn engine() -> Option<&'static Path> {
    BUILT_FOR.map(Path::new).filter(|path| path.exists())
}

/// The stand-in for LLVM, in this program's folder, that fits the engine.
pub fn stand_in() -> Option<PathBuf> {
    let id = engine().and_then(id_of)?;
    let path = exe::host_path().ok()?.with_file_name(stand_in_name(&id));
    path.exists().then_some(path)
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

fn stand_in_name(build_id: &[u8]) -> OsString {
    format!("llvm-{}.so", hex(build_id)).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn id_of(library: &Path) -> Option<Vec<u8>> {
    build_id(&exe::first_page(library).ok()?)
}

/// The GNU build id in the first page of a 64-bit ELF file (elf(5), `NT_GNU_BUILD_ID`), where linkers put it.
fn build_id(page: &[u8]) -> Option<Vec<u8>> {
    const PT_NOTE: u64 = 4;
    const NT_GNU_BUILD_ID: u64 = 3;
    if page.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let word = |at: usize, size: usize| -> Option<u64> {
        let bytes = page.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let (table, size, count) = (word(32, 8)? as usize, word(54, 2)? as usize, word(56, 2)? as usize);
    for header in (0..count).map(|n| table.saturating_add(n * size)) {
        if word(header, 4)? != PT_NOTE {
            continue;
        }
        let mut at = word(header + 8, 8)? as usize;
        let end = at.saturating_add(word(header + 32, 8)? as usize);
        while at.saturating_add(12) <= end.min(page.len()) {
            let (name, description) = (word(at, 4)? as usize, word(at + 4, 4)? as usize);
            let body = at + 12 + name.next_multiple_of(4);
            if word(at + 8, 4)? == NT_GNU_BUILD_ID && page.get(at + 12..at + 12 + name)? == b"GNU\0" {
                return page.get(body..body + description).map(<[u8]>::to_vec);
            }
            at = body + description.next_multiple_of(4);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(note_type: u8) -> Vec<u8> {
        let mut page = vec![0; 256];
        page[..5].copy_from_slice(b"\x7fELF\x02");
        (page[32], page[54], page[56]) = (64, 56, 1);
        (page[64], page[64 + 8], page[64 + 32]) = (4, 128, 12 + 4 + 20);
        (page[128], page[132], page[136]) = (4, 20, note_type);
        page[140..144].copy_from_slice(b"GNU\0");
        page[144..164].fill(0xa5);
        page
    }

    #[test]
    fn finds_the_build_id_and_nothing_else() {
        assert_eq!(build_id(&library(3)), Some(vec![0xa5; 20]));
        assert_eq!(build_id(&library(1)), None);
        assert_eq!(build_id(&library(3)[..150]), None);
        assert_eq!(build_id(b"#!/bin/sh"), None);
    }

    #[test]
    fn a_wild_header_is_no_crash() {
        let mut page = library(3);
        page[56] = 255;
        page[64 + 8..64 + 16].fill(0xff);
        assert_eq!(build_id(&page), None);
    }

    #[test]
    fn the_stand_in_is_named_after_the_build() {
        assert_eq!(stand_in_name(&[0xda, 0x0f]), "llvm-da0f.so");
    }
}
