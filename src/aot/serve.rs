//! `runw-aot`: compiles one module, tier by tier, for the runtime that started it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

use super::artifact::{self, Notes};
use super::cache::{self, Failure, Slot};
use super::order::{Tier, tiers};
use super::request::{Awaits, Order};
use super::strip::{Stripped, strip};
use super::worker::{self, Outcome};
use super::{Cache, Key, source};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::{spawn, wasmedge};

/// The worker's folder.
const WORK: &str = "work";
/// What is being written; whoever has the lock may remove it.
const DRAFT: &str = "draft";

/// The entry of `runw-aot`.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [word] if word == "--version" => wasmedge::identity().and_then(|engine| {
            let text = format!("runw-aot version {}\nengine: {engine}\n", env!("CARGO_PKG_VERSION"));
            std::io::stdout().write_all(text.as_bytes()).call(|| "write(stdout)")
        }),
        [order] if order.starts_with('{') => serve(order),
        _ => Err(Error::new(Kind::Usage(
            "runw-aot is started by runw, to compile WebAssembly modules; see runw wasm compile --help".to_owned(),
        ))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Nobody need listen.
            let _ = writeln!(std::io::stderr(), "error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order).map_err(|e| Error::message(format!("the order: {e}")))?;
    // The lock is held until this process ends, whatever ends it.
    let (handed, guest) = match order.guest {
        true => {
            let [module, folder, lock, ready, guest] = spawn::handed()?;
            ([module, folder, lock, ready], Some(guest))
        }
        false => (spawn::handed()?, None),
    };
    let [module, folder, _lock, ready] = handed;
    if let Some(guest) = guest {
        leave_alone(guest);
    }
    let slot = Slot::from_fd(folder);
    let _turn = (order.awaited == Awaits::Nothing).then(|| turn(&order)).flatten();
    worker::clear(slot.as_fd(), WORK);
    let _ = rustix::fs::unlinkat(slot.as_fd(), DRAFT, AtFlags::empty());
    let (size, stripped) = read(&module, &order)?;
    let mut job = Job {
        key: order.key.parse()?,
        order,
        slot,
        module: stripped,
        size,
        ready: Some(ready),
    };
    let made = tiers(size).iter().try_for_each(|tier| job.make(*tier));
    job.tidy();
    made
}

/// The module without its custom sections, and its size before.
fn read(module: &OwnedFd, order: &Order) -> Result<(u64, Stripped)> {
    let size = rustix::fs::fstat(module)
        .call(|| "fstat(module)")?
        .st_size
        .unsigned_abs();
    let mut bytes = Vec::new();
    File::from(module.try_clone().call(|| "dup(module)")?)
        .take(source::LARGEST)
        .read_to_end(&mut bytes)
        .call(|| "read(module)")?;
    if blake3::hash(&bytes).to_hex().as_str() != order.module {
        return Err(Error::message("the module has changed since it was asked for"));
    }
    let stripped = strip(&bytes).ok_or_else(|| Error::message("it is no WebAssembly module"))?;
    Ok((size, stripped))
}

/// Waits for the end of a guest that has just begun, for some time: most are short, and a compiler beside them would cost them a
/// third of their speed. The code is for the next start anyway.
fn leave_alone(guest: OwnedFd) {
    const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
    // Whatever poll says, it is time to begin then.
    let _ = rustix::event::poll(&mut [PollFd::new(&guest, PollFlags::IN)], Some(&PATIENCE));
}

/// Waits for one of as many turns as half of the machine's CPUs: many first starts must not use up its memory.
fn turn(order: &Order) -> Option<OwnedFd> {
    const LOOK: Duration = Duration::from_millis(200);
    let turns = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        for n in 0..turns {
            // Without a turn to take, because the disk is full or the like, go ahead.
            let path = order.cache.join(format!("turn.{n}"));
            let file = rustix::fs::open(path, flags, Mode::from(0o600)).ok()?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(file),
                Err(rustix::io::Errno::WOULDBLOCK) => (),
                Err(_) => return None,
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// One module to compile.
struct Job {
    order: Order,
    key: Key,
    slot: Slot,
    module: Stripped,
    size: u64,
    ready: Option<OwnedFd>,
}

impl Job {
    /// Makes the artifact of a tier, or notes why there is none.
    fn make(&mut self, tier: Tier) -> Result<()> {
        let limits = &self.order.limits;
        if self.slot.has(tier) {
            self.tell();
            return Ok(());
        }
        if self.slot.gave_up(tier, limits) {
            return Ok(());
        }
        let begin = Instant::now();
        let outcome = if limits.allow(self.module.code) {
            rustix::fs::mkdirat(self.slot.as_fd(), WORK, Mode::from(0o700)).call(|| "mkdir(work)")?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let work = rustix::fs::openat(self.slot.as_fd(), WORK, flags, Mode::empty()).call(|| "open(work)")?;
            // Once somebody has what he waited for, the rest has time.
            let background = match self.order.awaited {
                Awaits::Nothing => true,
                Awaits::First => self.ready.is_none(),
                Awaits::All => false,
            };
            let outcome = worker::compile(&self.module.module, tier, &work, limits, background);
            let outcome = match outcome {
                Ok(Outcome::Made) => self.keep(tier, &work, begin.elapsed()).map(|()| Outcome::Made),
                other => other,
            };
            worker::clear(self.slot.as_fd(), WORK);
            outcome?
        } else {
            let mib = limits.memory >> 20;
            Outcome::Stopped(format!("{mib} MiB of memory are not enough for so much code"))
        };
        match outcome {
            Outcome::Made => self.tell(),
            // With another disk it may go well next time.
            Outcome::Refused(_) | Outcome::Stopped(_) if self.is_full() => {
                return Err(Error::message("the disk of the cache is full"));
            }
            Outcome::Refused(reason) => self.give_up(tier, reason, false),
            Outcome::Stopped(reason) => self.give_up(tier, reason, true),
        }
        Ok(())
    }

    /// Whether the disk has no room for what a compiler writes.
    fn is_full(&self) -> bool {
        const ROOM: u64 = 64 << 20;
        rustix::fs::fstatvfs(self.slot.as_fd()).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM)
    }

    /// Takes over what the worker has made: a copy, because the worker, or what is left of it, may still write to its own file.
    fn keep(&self, tier: Tier, work: &OwnedFd, took: Duration) -> Result<()> {
        const MOST: u64 = 4 << 30;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let made = rustix::fs::openat(work, worker::OUTPUT, flags, Mode::empty()).call(|| "open(object)")?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&made).call(|| "fstat(object)")?.st_mode);
        if kind != FileType::RegularFile {
            return Err(Error::message("the compiler has made no file"));
        }
        let notes = Notes {
            key: self.key.to_string(),
            tier,
            module: self.order.module.clone(),
            name: self.order.name.clone(),
            module_size: self.size,
            engine: self.order.engine.clone(),
            created: crate::clock::now(),
            milliseconds: took.as_millis() as u64,
        };
        let kept = copy(self.slot.as_fd(), File::from(made).take(MOST), &notes).and_then(|()| {
            rustix::fs::renameat(self.slot.as_fd(), DRAFT, self.slot.as_fd(), cache::object(tier))
                .call(|| "rename(draft)")
        });
        if kept.is_err() {
            let _ = rustix::fs::unlinkat(self.slot.as_fd(), DRAFT, AtFlags::empty());
        }
        kept
    }

    /// The runtime that waits learns that there is code.
    fn tell(&mut self) {
        if let Some(ready) = self.ready.take() {
            // It may have given up.
            let _ = rustix::io::write(&ready, &[1]);
        }
    }

    /// So that the next start does not try the same in vain.
    fn give_up(&self, tier: Tier, reason: String, may_pass: bool) {
        let failure = Failure {
            reason,
            limits: self.order.limits,
            may_pass,
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.slot.as_fd(), cache::failure(tier), flags, Mode::from(0o600));
        // Where it cannot be noted, it is tried again.
        if let (Ok(file), Ok(text)) = (file, serde_json::to_vec(&failure)) {
            let _ = File::from(file).write_all(&text);
        }
    }

    /// Removes code that is no longer wanted.
    fn tidy(&self) {
        if self.slot.has(Tier::Optimised) {
            let _ = rustix::fs::unlinkat(self.slot.as_fd(), cache::object(Tier::Quick), AtFlags::empty());
        }
        if let Ok(Some(cache)) = Cache::open(&self.order.cache) {
            let _ = cache.shrink_to(self.order.most);
        }
    }
}

/// Writes the draft of an artifact: what `object` gives, and the seal.
fn copy(folder: std::os::fd::BorrowedFd<'_>, mut object: impl Read, notes: &Notes) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let draft = rustix::fs::openat(folder, DRAFT, flags, Mode::from(0o600)).call(|| "create(draft)")?;
    let mut draft = File::from(draft);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = object.read(&mut buffer).call(|| "read(object)")?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        draft.write_all(&buffer[..n]).call(|| "write(draft)")?;
    }
    draft
        .write_all(&artifact::seal(hasher, notes)?)
        .call(|| "write(draft)")?;
    rustix::fs::fchmod(draft.as_fd(), Mode::from(0o444)).call(|| "fchmod(draft)")
}
