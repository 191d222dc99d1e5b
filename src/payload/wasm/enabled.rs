//! WasmEdge.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::errand::{Errand, Mailbox};
use super::outline::Outline;
use super::{Guest, TRAP_CODE, room};
use crate::aot::{Ahead, Code, Stamp};
use crate::config::{Workload, workload};
use crate::error::{Error, Result, ResultExt};
use crate::payload::{Payload, Seal};
use crate::sys::title::Title;
use crate::sys::wasmedge::{self, Engine, Instance, Library, Module, Refusal};
use crate::{log, sys, trace};

/// Tells the engine's build from any other; `None` in a program that runs no modules.
pub const ENGINE: Option<fn() -> Result<String>> = Some(wasmedge::identity);

/// The only module of host functions that a guest may import from.
const WASI: &str = "wasi_snapshot_preview1";
/// What a WASI command exports for being run.
const ENTRY: &str = "_start";

/// A module and what it needs to run.
#[derive(Debug)]
pub struct Wasm {
    guest: Guest,
    ahead: Option<Arc<Ahead>>,
    mailbox: Option<Mailbox>,
    code: Option<Code>,
    title: Option<Title>,
    ready: Option<Ready>,
}

/// A module that has passed all checks.
#[derive(Debug)]
struct Ready {
    engine: Engine,
    module: Module,
    /// `None` if the module runs code as soon as it is instantiated: that has to wait for `start`.
    instance: Option<Instance>,
}

/// Whether this program runs modules, so that its twin is not needed.
pub fn is_here() -> bool {
    wasmedge::is_here()
}

/// Lines on the engine for `--version`.
pub fn describe() -> Vec<String> {
    if !is_here() {
        return Vec::new();
    }
    match wasmedge::load() {
        Ok(library) => {
            let file = wasmedge::file().map(|file| format!("engine: {}", file.display()));
            [format!("wasmedge: {}", library.version())]
                .into_iter()
                .chain(file)
                .collect()
        }
        Err(e) => vec![format!("wasmedge is missing: {e}")],
    }
}

/// The module as native code; `None` if the engine does not take it, which is no reason not to run.
fn native(library: &'static Library, code: &Code) -> Option<Module> {
    let tier = code.tier.name();
    let _span = trace::span("load native code");
    match Module::load(library, code.file.as_fd()) {
        Ok(module) => {
            log::debug(|| format!("the module runs as {tier} native code"));
            Some(module)
        }
        Err(e) => {
            log::debug(|| format!("the {tier} code is not used: {e}"));
            None
        }
    }
}

impl Wasm {
    /// The module and what it is to see, as native code if `ahead` knows of any that fits, else interpreted.
    pub fn new(guest: Guest, ahead: Option<Arc<Ahead>>) -> Self {
        Wasm {
            guest,
            ahead,
            mailbox: None,
            code: None,
            title: None,
            ready: None,
        }
    }

    fn load(&mut self) -> Result<Ready> {
        let (bytes, stamp) = self.read()?;
        must_be_module(&bytes)?;
        let outline = Outline::of(&bytes);
        let library = wasmedge::load()?;
        let fitting = self.code.take().filter(|code| code.is_of(stamp, &bytes));
        let module = match fitting.and_then(|code| native(library, &code)) {
            Some(loaded) => loaded,
            None => {
                log::debug(|| "the module is interpreted");
                Module::read(library, &bytes)
                    .map_err(|refusal| Error::message(format!("not a valid WebAssembly module: {refusal}")))?
            }
        };
        drop(bytes);
        let room = room::room(self.guest.memory(), sys::process::heap(), &outline.pages)?;
        let engine = Engine::new(library, room.pages);
        check_links(&engine, &module)?;
        limit_data(room.data)?;
        sys::fault::end_with(TRAP_CODE, library.set_terminate);
        let instance = match outline.starts_itself {
            true => None,
            false => Some(
                engine
                    .instantiate(&module)
                    .map_err(|refusal| Error::message(format!("the module cannot be linked and set up: {refusal}")))?,
            ),
        };
        Ok(Ready {
            engine,
            module,
            instance,
        })
    }

    /// Has ps(1) show the module and its arguments. Here, as a filter that comes later may forbid it.
    fn show_title(&mut self) -> Result<()> {
        let title = self.title.take().ok_or_else(|| Error::message("there is no /proc"))?;
        let name = self.guest.module().file_name().unwrap_or_default();
        title.show(&sys::exe::c_string(name)?, &c_strings(self.guest.args())?)
    }

    /// Reads the module once; what was checked is what runs.
    fn read(&self) -> Result<(Vec<u8>, Stamp)> {
        let path = self.guest.module();
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(path).call(|| "open")?;
        file.read_to_end(&mut bytes).call(|| "read")?;
        match u32::try_from(bytes.len()) {
            Ok(_) => Ok((bytes, Stamp::of(&file)?)),
            Err(_) => Err(Error::message("a module has less than 4 GiB")),
        }
    }
}

impl Payload for Wasm {
    const SEAL: Seal = Seal::Now;

    fn settle(&mut self) -> Result<Option<Errand>> {
        // The container may have no /proc.
        self.title = Title::of_self().ok();
        wasmedge::settle()?;
        let Some(ahead) = self.ahead.take() else {
            return Ok(None);
        };
        let (errand, mailbox) = Errand::new(ahead)?;
        self.mailbox = Some(mailbox);
        Ok(Some(errand))
    }

    fn collect(&mut self) -> Result<()> {
        {
            // Not before the clone, which would leave every page of it to be touched once more.
            let _span = trace::span("load engine");
            wasmedge::load()?;
        }
        self.code = self.mailbox.take().and_then(Mailbox::take);
        Ok(())
    }

    fn prepare(&mut self) -> Result<()> {
        if let Err(e) = self.show_title() {
            log::debug(|| format!("ps shows the runtime's own command line: {e}"));
        }
        let ready = self.load();
        self.ready = Some(ready.map_err(|e| e.wrap(format!("exec: {:?}", self.guest.module())))?);
        Ok(())
    }

    fn run(self, env: Vec<String>, hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        let Some(ready) = self.ready else {
            return Err(Error::message("the module was not prepared"));
        };
        let args = c_strings(self.guest.args())?;
        let env = c_strings(&env)?;
        let in_root = match self.guest.is_elsewhere() {
            true => folders_in_root(),
            false => BTreeSet::new(),
        };
        let folders = c_strings(&self.guest.folders(&in_root))?;
        sys::signal::end_on_termination();
        hand_over()?;
        // Not before: the descriptors of the folders are to stay.
        ready.engine.furnish(&args, &env, &folders);
        let code = exit_code(ready.run());
        sys::process::exit_now(code)
    }
}

impl Ready {
    fn run(self) -> Result<u32, Refusal> {
        let instance = match self.instance {
            Some(instance) => instance,
            None => self.engine.instantiate(&self.module)?,
        };
        self.engine.call(&instance, ENTRY)
    }
}

/// Lowers `RLIMIT_DATA`, for good.
fn limit_data(bytes: u64) -> Result<()> {
    const RLIMIT_DATA: u32 = 2;
    let (soft, hard) = sys::sched::rlimit(0, RLIMIT_DATA)?;
    sys::sched::set_rlimit(0, RLIMIT_DATA, soft.min(bytes), hard.min(bytes))
}

/// What the container's exit code is; a trap is told in one line on stderr.
fn exit_code(result: Result<u32, Refusal>) -> i32 {
    match result {
        Ok(code) => (code & 0xff) as i32,
        Err(trap) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(std::io::stderr(), "runw: the WebAssembly module trapped: {trap}");
            TRAP_CODE
        }
    }
}

/// The file may be another one than the runtime saw from outside, and the engine would take a shared object as well.
fn must_be_module(bytes: &[u8]) -> Result<()> {
    match workload::from_magic(bytes) {
        Ok(Workload::Wasm) => Ok(()),
        Ok(Workload::Linux) => Err(Error::message("not a WebAssembly module")),
        Err(problem) => Err(Error::message(problem)),
    }
}

fn check_links(engine: &Engine, module: &Module) -> Result<()> {
    if let Some(import) = module
        .imports()
        .iter()
        .find(|i| i.module != WASI || !engine.provides(&i.name))
    {
        return Err(Error::message(format!(
            "the module imports {}.{}, which nobody provides; there is only {WASI}",
            import.module, import.name
        )));
    }
    match module.function(ENTRY) {
        Some(0) => Ok(()),
        Some(_) => Err(Error::message(format!(
            "the module's {ENTRY} takes arguments or gives results"
        ))),
        None => Err(Error::message(format!(
            "the module exports no function {ENTRY}: it is a library, not a WASI command"
        ))),
    }
}

/// The names of the folders, and of links to folders, that lie in the root.
fn folders_in_root() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    entries
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    texts
        .iter()
        .map(|t| sys::exe::c_string(std::ffi::OsStr::from_bytes(t.as_bytes())))
        .collect()
}
