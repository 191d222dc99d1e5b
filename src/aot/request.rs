//! The runtime's side: looking for native code, and starting the compiler.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use super::cache::{Entry, Lock, Slot};
use super::order::{Limits, Mode, Tier, Wishes, tiers};
use super::{Cache, Code, Key, Source};
use crate::error::{Error, Result, ResultExt};
use crate::settings::Settings;
use crate::sys::{exe, spawn};
use crate::{log, trace};

/// What the compiler is told on its command line; beside it the module, the folder, the lock and a pipe are handed over, see
/// [`spawn::in_own_session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The key, in hexadecimal.
    pub key: String,
    /// BLAKE3 of the module, in hexadecimal.
    pub module: String,
    /// Where the module was found.
    pub name: String,
    /// Name and version of the engine.
    pub engine: String,
    /// What each tier may cost.
    pub limits: Limits,
    /// For what somebody waits; the rest comes after everything else that the machine has to do.
    pub awaited: Awaits,
    /// Whether a guest runs that is not to be disturbed; then its pidfd is handed over as well.
    pub guest: bool,
    /// The cache, and how many bytes it may take.
    pub cache: PathBuf,
    /// See `cache`.
    pub most: u64,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaits {
    /// Nothing.
    Nothing,
    /// Any native code.
    First,
    /// Every tier.
    All,
}

/// What the compiler gets descriptors of.
struct Handed<'a> {
    module: BorrowedFd<'a>,
    slot: &'a Slot,
    lock: &'a Lock,
    guest: Option<BorrowedFd<'a>>,
}

/// The compiler's program, as it lies beside the runtime's own.
#[derive(Debug)]
pub struct Compiler {
    program: PathBuf,
}

impl Compiler {
    /// Finds it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Compiler> {
        let program = exe::companion("runw-aot")?;
        match program.exists() {
            true => Ok(Compiler { program }),
            false => Err(Error::unsupported(format!(
                "{} is missing: install runw-aot beside runw to have modules compiled",
                program.display()
            ))),
        }
    }

    /// Name and version of the engine that it compiles for.
    ///
    /// # Errors
    /// It cannot be started, or does not say.
    pub fn engine(&self) -> Result<String> {
        let output = Command::new(&self.program)
            .arg("--version")
            .env_clear()
            .output()
            .call(|| format!("exec {:?}", self.program))?;
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .find_map(|line| line.strip_prefix("engine: "))
            .map(str::to_owned)
            .ok_or_else(|| Error::message(format!("{} does not name its engine", self.program.display())))
    }

    /// Starts to compile.
    ///
    /// # Errors
    /// The program cannot be started.
    fn start(&self, order: &Order, work: Handed<'_>) -> Result<Awaited> {
        let (ready, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call(|| "pipe2")?;
        let order = serde_json::to_string(order).map_err(|e| Error::message(e.to_string()))?;
        let mut fds = vec![work.module, work.slot.as_fd(), work.lock.0.as_fd(), theirs.as_fd()];
        fds.extend(work.guest);
        // Whoever started it reaps it, or leaves it to init.
        spawn::in_own_session(Command::new(&self.program).arg(order), &fds)?;
        Ok(Awaited(ready))
    }
}

/// A compilation that has begun.
#[derive(Debug)]
pub struct Awaited(OwnedFd);

impl Awaited {
    /// Waits until there is the first native code; `false` when there will be none, or not until then.
    pub fn wait(&self, until: Instant) -> Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let time = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(rustix::io::read(&self.0, &mut [0; 1]).call(|| "read(compiler)")? == 1),
                Err(rustix::io::Errno::INTR) => (),
                Err(e) => return Err(Error::sys("poll(compiler)", e)),
            }
        }
    }
}

/// Native code for one start of one module, which is read when somebody first asks for its code.
#[derive(Debug)]
pub struct Ahead {
    mode: Mode,
    cache: PathBuf,
    most: u64,
    limits: Limits,
    engine: String,
    file: OwnedFd,
    name: PathBuf,
    subject: OnceLock<Result<Subject>>,
}

/// What is compiled.
#[derive(Debug)]
struct Subject {
    source: Source,
    key: Key,
}

/// How often somebody who waits for another's compilation looks for its result.
const LOOK: Duration = Duration::from_millis(50);

impl Ahead {
    /// Prepares for the module in `file`, found as `name`; `None` if no native code is wanted.
    ///
    /// # Errors
    /// The settings or the annotation make no sense.
    pub fn new(
        wishes: &Wishes,
        annotations: &std::collections::BTreeMap<String, String>,
        engine: String,
        file: OwnedFd,
        name: &Path,
    ) -> Result<Option<Ahead>> {
        let settings = Settings::read()?.wasm;
        let mode = wishes.mode(annotations, &settings)?;
        let (Some(cache), true) = (wishes.cache(&settings), mode != Mode::Off) else {
            return Ok(None);
        };
        Ok(Some(Ahead {
            mode,
            cache,
            most: most(&settings),
            limits: Limits::new(&settings, host_memory()),
            engine,
            file,
            name: name.to_owned(),
            subject: OnceLock::new(),
        }))
    }

    /// # Errors
    /// The module cannot be read, or is too large.
    fn subject(&self) -> Result<&Subject> {
        let read = self.subject.get_or_init(|| {
            let _span = trace::span("hash module");
            let source = Source::read(self.file.as_fd(), &self.name)?;
            let key = Key::new(&source.hash, &self.engine);
            Ok(Subject { source, key })
        });
        read.as_ref().map_err(Error::clone)
    }

    /// The best native code there is. With [`Mode::Wait`] it is compiled first if there is none.
    ///
    /// Whatever goes wrong, the module can be interpreted: it is a warning.
    pub fn code(&self) -> Option<Code> {
        let found = self.look().and_then(|found| match found {
            None if self.mode == Mode::Wait => self.compile_and_wait(),
            found => Ok(found),
        });
        found.unwrap_or_else(|e| {
            log::warn(format!("{} is not compiled: {e}", self.name.display()));
            None
        })
    }

    fn look(&self) -> Result<Option<Code>> {
        let Subject { source, key } = self.subject()?;
        let _span = trace::span("find native code");
        let cache = Cache::open(&self.cache).unwrap_or_else(|e| {
            log::warn(e.to_string());
            None
        });
        Ok(cache.and_then(|cache| cache.find(key, source.stamp, source.hash)))
    }

    /// Has better code made for the next start, unless there is the best, or somebody is at it. `guest` is a pidfd of the process
    /// that is about to run the module.
    pub fn begin(&self, guest: BorrowedFd<'_>) {
        if let Err(e) = self.compile(Awaits::Nothing, Some(guest)) {
            log::debug(|| format!("{} is not compiled: {e}", self.name.display()));
        }
    }

    /// Starts the compiler, if there is anything to do and nobody else is at it.
    ///
    /// # Errors
    /// The cache cannot be written to, or the compiler cannot be started.
    fn compile(&self, awaited: Awaits, guest: Option<BorrowedFd<'_>>) -> Result<Option<Awaited>> {
        if let Some(slot) = self.existing()?
            && self.nothing_to_do(&slot)?
        {
            return Ok(None);
        }
        let compiler = Compiler::find()?;
        let Subject { source, key } = self.subject()?;
        let slot = Cache::make(&self.cache)?.make_slot(key)?;
        let Some(lock) = slot.lock()? else {
            return Ok(None);
        };
        // Another may have come to an end between the look and the lock.
        if self.nothing_to_do(&slot)? {
            return Ok(None);
        }
        let order = Order {
            key: key.to_string(),
            module: source.hash.to_hex().to_string(),
            name: self.name.to_string_lossy().into_owned(),
            engine: self.engine.clone(),
            limits: self.limits,
            awaited,
            guest: guest.is_some(),
            cache: self.cache.clone(),
            most: self.most,
        };
        log::debug(|| format!("compile {} into {}", order.name, order.cache.display()));
        let work = Handed {
            module: self.file.as_fd(),
            slot: &slot,
            lock: &lock,
            guest,
        };
        compiler.start(&order, work).map(Some)
    }

    fn existing(&self) -> Result<Option<Slot>> {
        let key = &self.subject()?.key;
        Ok(Cache::open(&self.cache)?.and_then(|cache| cache.slot(key)))
    }

    /// Whether each tier was made or cannot be made.
    fn nothing_to_do(&self, slot: &Slot) -> Result<bool> {
        let done = |tier: &Tier| slot.has(*tier) || slot.gave_up(*tier, &self.limits);
        Ok(slot.has(Tier::Optimised) || self.tiers()?.iter().all(done))
    }

    /// The tiers that are made for a module of this size.
    fn tiers(&self) -> Result<&'static [Tier]> {
        Ok(tiers(self.subject()?.source.size))
    }

    /// Compiles, or waits for another who does.
    ///
    /// # Errors
    /// Those of starting the compiler; why there is no code in the end.
    pub fn compile_and_wait(&self) -> Result<Option<Code>> {
        let _span = trace::span("compile");
        // One tier after the other, and some time to wait for a turn.
        let until = Instant::now() + self.limits.time() * 2 + Duration::from_secs(10);
        while Instant::now() < until {
            let begun = self.compile(Awaits::First, None)?;
            if let Some(begun) = &begun {
                begun.wait(until)?;
            }
            if let Some(code) = self.look()? {
                return Ok(Some(code));
            }
            if let Some(slot) = self.existing()?
                && let Some(failed) = self.failure(&slot)?
            {
                return Err(Error::message(failed));
            }
            if begun.is_some() {
                return Err(Error::message("the compiler has made nothing; the disk may be full"));
            }
            std::thread::sleep(LOOK);
        }
        Err(Error::message(format!("it took longer than {} s", self.limits.seconds)))
    }

    /// Compiles every tier, or waits for another who does, and answers what there is then. With `force` all is made anew.
    ///
    /// # Errors
    /// The cache cannot be written to, or the compiler cannot be started.
    pub fn compile_all(&self, force: bool) -> Result<Entry> {
        let key = &self.subject()?.key;
        let slot = Cache::make(&self.cache)?.make_slot(key)?;
        let idle = || -> Result<Lock> {
            loop {
                match slot.lock()? {
                    Some(lock) => return Ok(lock),
                    None => std::thread::sleep(LOOK),
                }
            }
        };
        let lock = idle()?;
        if force {
            slot.forget();
        }
        drop(lock);
        self.compile(Awaits::All, None)?;
        // The compiler has the lock until its end.
        drop(idle()?);
        slot.entry(&key.to_string())
    }

    /// Why every tier has failed.
    fn failure(&self, slot: &Slot) -> Result<Option<String>> {
        let tiers = self.tiers()?;
        if !tiers.iter().all(|tier| slot.gave_up(*tier, &self.limits)) {
            return Ok(None);
        }
        Ok(tiers.iter().find_map(|tier| Some(slot.read_failure(*tier)?.reason)))
    }
}

/// How many bytes the cache may take; 4 GiB by default.
pub fn most(settings: &crate::settings::WasmSettings) -> u64 {
    settings
        .cache_size_mib
        .map_or(4 << 30, |mib| mib.saturating_mul(1 << 20))
}

/// Bytes of memory that the machine has.
fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}
