//! WasmEdge.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::path::PathBuf;

use wasmedge_sdk::config::{CommonConfigOptions, Config, ConfigBuilder};
use wasmedge_sdk::vm::SyncInst;
use wasmedge_sdk::wasi::WasiModule;
use wasmedge_sdk::{LogManager, Module, Store, Vm, WasmEdgeResult};
use wasmedge_types::error::{CoreCommonError, CoreError, WasmEdgeError};

use super::TRAP_CODE;
use crate::error::{Error, Result, ResultExt};
use crate::payload::{Payload, Seal};
use crate::sys;

/// Name and version of the engine that is linked in, if any.
pub const ENGINE: Option<fn() -> String> =
    Some(|| format!("wasmedge {}", wasmedge_sdk::utils::CoreVersion::version_string()));

/// The only module of host functions that a guest may import from.
const WASI: &str = "wasi_snapshot_preview1";
/// What a WASI command exports for being run.
const ENTRY: &str = "_start";

/// A module and what it needs to run.
#[derive(Debug)]
pub struct Wasm {
    path: PathBuf,
    args: Vec<String>,
    ready: Option<(Config, Module)>,
}

impl Wasm {
    /// The module at `path` inside the container, with the whole `process.args`.
    pub fn new(path: PathBuf, args: Vec<String>) -> Self {
        Wasm {
            path,
            args,
            ready: None,
        }
    }

    fn load(&self) -> Result<(Config, Module)> {
        LogManager::log_off();
        let config = ConfigBuilder::new(common_options())
            .build()
            .map_err(|e| engine("configure", &e))?;
        let bytes = self.read()?;
        let module = Module::from_bytes(Some(&config), bytes).map_err(|e| engine("load", &e))?;
        Ok((config, module))
    }

    /// Reads the module once; what was checked is what runs.
    fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(&self.path).call(|| format!("open({:?})", self.path))?;
        file.read_to_end(&mut bytes).call(|| format!("read({:?})", self.path))?;
        Ok(bytes)
    }
}

impl Payload for Wasm {
    const SEAL: Seal = Seal::Now;

    fn prepare(&mut self) -> Result<()> {
        let (config, module) = self.load().map_err(|e| e.wrap(format!("{}", self.path.display())))?;
        check_imports(&module).map_err(|e| e.wrap(format!("{}", self.path.display())))?;
        if module.get_export(ENTRY).is_none() {
            return Err(Error::message(format!(
                "{} exports no {ENTRY}: it is a library, not a WASI command",
                self.path.display()
            )));
        }
        self.ready = Some((config, module));
        Ok(())
    }

    fn run(self, env: Vec<String>, hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        let Some((config, module)) = self.ready else {
            return Err(Error::message("the module was not prepared"));
        };
        let args = self.args.iter().map(String::as_str).collect();
        let env = env.iter().map(String::as_str).collect();
        let mut wasi =
            WasiModule::create(Some(args), Some(env), Some(vec!["/:/"])).map_err(|e| engine("set up WASI", &e))?;
        sys::signal::end_on_termination();
        hand_over()?;
        let result = execute(&config, module, &mut wasi);
        sys::process::exit_now(exit_code(result, wasi.exit_code()))
    }
}

fn execute(config: &Config, module: Module, wasi: &mut WasiModule) -> WasmEdgeResult<()> {
    let mut instances: HashMap<String, &mut dyn SyncInst> = HashMap::new();
    instances.insert(wasi.name().to_owned(), wasi.as_mut());
    let mut vm = Vm::new(Store::new(Some(config), instances)?);
    vm.register_module(None, module)?;
    vm.run_func(None, ENTRY, []).map(|_| ())
}

/// What the container's exit code is; a trap is told in one line on stderr.
fn exit_code(result: WasmEdgeResult<()>, wasi: u32) -> i32 {
    match result.map_err(|e| *e) {
        Ok(()) | Err(WasmEdgeError::Core(CoreError::Common(CoreCommonError::Terminated))) => (wasi & 0xff) as i32,
        Err(e) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(std::io::stderr(), "runw: the WebAssembly module trapped: {e}");
            TRAP_CODE
        }
    }
}

/// Everything the engine supports, and the interpreter for the module's own code: native code that comes inside an image is
/// never loaded.
fn common_options() -> CommonConfigOptions {
    CommonConfigOptions::new()
        .interpreter_mode(true)
        .bulk_memory_operations(true)
        .multi_value(true)
        .mutable_globals(true)
        .non_trap_conversions(true)
        .reference_types(true)
        .sign_extension_operators(true)
        .simd(true)
        .multi_memories(true)
        .tail_call(true)
        .threads(true)
        .function_references(true)
}

fn check_imports(module: &Module) -> Result<()> {
    match module.imports().iter().find(|i| i.module_name() != WASI) {
        None => Ok(()),
        Some(i) => Err(Error::message(format!(
            "the module imports {}.{}, which nobody provides; only {WASI} is available",
            i.module_name(),
            i.name()
        ))),
    }
}

fn engine(what: &str, e: &WasmEdgeError) -> Error {
    Error::message(format!("WasmEdge cannot {what} the module: {e}"))
}
