//! The folder of artifacts: one folder per [`Key`], in it at most one artifact per [`Tier`].
//!
//! ```text
//! /var/lib/runw/aot/            0700
//!   KEY/                        0700
//!     lock                      held (flock(2)) by whoever compiles; its modification time is that of the last use
//!     quick.so, optimised.so    0444, because a container's user opens what it was handed, by /proc/self/fd
//!     quick.failed, …           0600, why there is none
//!     work/                     what the compiler writes
//! ```

mod entries;

use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags, Stat};

pub use self::entries::Entry;
use super::artifact;
use super::order::{Limits, Tier};
use super::{Key, Stamp};
use crate::error::{Error, Result, ResultExt};
use crate::log;
use crate::sys::mount;

/// The lock file's name.
const LOCK: &str = "lock";

/// The name of a tier's artifact.
pub fn object(tier: Tier) -> String {
    format!("{}.so", tier.name())
}

/// The name of the file that says why a tier has no artifact.
pub fn failure(tier: Tier) -> String {
    format!("{}.failed", tier.name())
}

/// Native code that was found in the cache and checked, ready to be handed into a container.
#[derive(Debug)]
pub struct Code {
    /// The artifact; nobody can write to it through this descriptor or one made from it.
    pub file: OwnedFd,
    /// How it was optimised.
    pub tier: Tier,
    /// What the module file looked like whose content it was made from.
    pub stamp: Stamp,
    /// BLAKE3 of the module.
    pub hash: blake3::Hash,
}

impl Code {
    /// Whether it was made from this content, of a file with that stamp.
    pub fn is_of(&self, stamp: Stamp, content: &[u8]) -> bool {
        stamp == self.stamp || blake3::hash(content) == self.hash
    }
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    folder: OwnedFd,
}

impl Cache {
    /// Opens the cache at `path`; `None` if there is nothing.
    ///
    /// # Errors
    /// It is no folder, or somebody else owns it or may write to it.
    pub fn open(path: &Path) -> Result<Option<Cache>> {
        let folder = match rustix::fs::open(path, FOLDER, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.call(|| format!("open({path:?})"))?,
        };
        if !is_ours(&stat(&folder)?, FileType::Directory) {
            return Err(Error::message(format!(
                "the cache {} is not used: it has to belong to the runtime's user, and nobody else may write to it",
                path.display()
            )));
        }
        Ok(Some(Cache {
            path: path.to_owned(),
            folder,
        }))
    }

    /// Opens the cache at `path`, and makes it if there is nothing.
    ///
    /// # Errors
    /// Those of [`Cache::open`], or it cannot be made.
    pub fn make(path: &Path) -> Result<Cache> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.call(|| format!("mkdir({path:?})"))?;
        Cache::open(path)?.ok_or_else(|| Error::message(format!("{} is gone again", path.display())))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The best artifact for `key`, checked; one that is broken is removed, and a warning tells.
    pub fn find(&self, key: &Key, stamp: Stamp, hash: blake3::Hash) -> Option<Code> {
        let slot = self.slot(key)?;
        let code = |tier| slot.code(key, tier, stamp, hash);
        let found = Tier::ALL.into_iter().rev().find_map(code)?;
        slot.touch();
        Some(found)
    }

    /// The folder of `key`, if there is one.
    pub fn slot(&self, key: &Key) -> Option<Slot> {
        self.slot_named(&key.to_string())
    }

    pub(super) fn slot_named(&self, name: &str) -> Option<Slot> {
        let folder = rustix::fs::openat(&self.folder, name, FOLDER, Mode::empty()).ok()?;
        is_ours(&stat(&folder).ok()?, FileType::Directory).then(|| Slot {
            path: self.path.join(name),
            folder,
        })
    }

    /// The folder of `key`, which is made if there is none.
    ///
    /// # Errors
    /// It cannot be made, or is not ours.
    pub fn make_slot(&self, key: &Key) -> Result<Slot> {
        let name = key.to_string();
        match rustix::fs::mkdirat(&self.folder, &name, Mode::from(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => (),
            Err(e) => return Err(Error::sys(format!("mkdir({:?})", self.path.join(&name)), e)),
        }
        self.slot(key)
            .ok_or_else(|| Error::message(format!("{} is not ours", self.path.join(&name).display())))
    }
}

/// The folder of one key.
#[derive(Debug)]
pub struct Slot {
    path: PathBuf,
    folder: OwnedFd,
}

/// The right to compile for a key.
#[derive(Debug)]
pub struct Lock(pub(super) OwnedFd);

impl Slot {
    /// The folder.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    #[cfg(feature = "wasm")]
    /// The folder as the only place that is known of a cache, as in the compiler.
    pub(super) fn from_fd(folder: OwnedFd) -> Slot {
        Slot {
            path: PathBuf::new(),
            folder,
        }
    }

    /// Takes the right to compile; `None` while another has it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn lock(&self) -> Result<Option<Lock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, LOCK, flags, Mode::from(0o600))
            .call(|| format!("open({:?})", self.path.join(LOCK)))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(Error::sys("flock", e)),
        }
    }

    /// Whether there is an artifact; it is not checked.
    pub fn has(&self, tier: Tier) -> bool {
        rustix::fs::accessat(
            &self.folder,
            object(tier),
            rustix::fs::Access::EXISTS,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok()
    }

    /// Whether it was tried in vain, and there is no more to spend now than then.
    pub fn gave_up(&self, tier: Tier, limits: &Limits) -> bool {
        self.read_failure(tier).is_some_and(|failed| {
            let then = failed.limits;
            !failed.may_pass || (then.seconds >= limits.seconds && then.memory >= limits.memory)
        })
    }

    /// Why a tier has no artifact.
    pub fn read_failure(&self, tier: Tier) -> Option<Failure> {
        let file = rustix::fs::openat(&self.folder, failure(tier), FILE, Mode::empty()).ok()?;
        let meta = stat(&file).ok()?;
        if !is_ours(&meta, FileType::RegularFile) || meta.st_size > 4096 {
            return None;
        }
        serde_json::from_reader(File::from(file)).ok()
    }

    /// Removes artifacts and failures, so that all is made anew.
    pub(super) fn forget(&self) {
        for tier in Tier::ALL {
            for name in [object(tier), failure(tier)] {
                let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
            }
        }
    }

    /// Marks the artifacts as used now.
    fn touch(&self) {
        // It decides nothing but what is pruned first.
        if let Ok(lock) = rustix::fs::openat(&self.folder, LOCK, FILE, Mode::empty()) {
            let now = rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_NOW,
            };
            let _ = rustix::fs::futimens(
                &lock,
                &rustix::fs::Timestamps {
                    last_access: now,
                    last_modification: now,
                },
            );
        }
    }

    fn code(&self, key: &Key, tier: Tier, stamp: Stamp, hash: blake3::Hash) -> Option<Code> {
        let name = object(tier);
        match self.check(key, tier, &name) {
            Ok(Some(file)) => Some(Code {
                file,
                tier,
                stamp,
                hash,
            }),
            Ok(None) => None,
            Err(e) => {
                log::warn(format!(
                    "{} is not loaded but removed: {e}",
                    self.path.join(&name).display()
                ));
                let _ = rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty());
                None
            }
        }
    }

    /// Opens an artifact and checks it.
    fn check(&self, key: &Key, tier: Tier, name: &str) -> Result<Option<OwnedFd>> {
        let mount = self.read_only();
        let from = mount.as_ref().unwrap_or(&self.folder);
        let file = match rustix::fs::openat(from, name, FILE, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::sys("open", e)),
        };
        let meta = stat(&file)?;
        if !is_ours(&meta, FileType::RegularFile) {
            return Err(Error::message("somebody else owns it or may write to it"));
        }
        let size = meta.st_size.unsigned_abs();
        if let Some(mount) = mount {
            artifact::verify(file.as_fd(), size, key, tier)?;
            // To close it takes the mount apart, which waits for every CPU: a millisecond where they all have work. The end of
            // the process, when nobody is in a hurry, does it as well.
            std::mem::forget(mount);
            return Ok(Some(file));
        }
        let copy = sealed_copy(&file, size)?;
        artifact::verify(copy.as_fd(), size, key, tier)?;
        Ok(Some(copy))
    }

    /// A read-only mount of the folder, attached nowhere. Whoever gets a descriptor from it cannot reopen that for writing.
    fn read_only(&self) -> Option<OwnedFd> {
        let copy = mount::copy(self.folder.as_fd(), false).ok()?;
        let attributes = mount::Change {
            set: mount::attr::RDONLY | mount::attr::NOSUID | mount::attr::NODEV,
            ..mount::Change::default()
        };
        mount::change(copy.as_fd(), false, &attributes).ok()?;
        Some(copy)
    }
}

/// Why there is no artifact.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// In one line.
    pub reason: String,
    /// What it was allowed to cost.
    pub limits: Limits,
    /// It might go well with higher limits.
    pub may_pass: bool,
}

/// A copy in memory that can't be changed, for those who can't make mounts.
fn sealed_copy(file: &OwnedFd, size: u64) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("runw-aot", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("runw-aot", flags))
        .call(|| "memfd_create(\"runw-aot\")")?;
    let mut offset = 0;
    while offset < size {
        let left = (size - offset) as usize;
        let n = rustix::fs::sendfile(&copy, file, Some(&mut offset), left).call(|| "sendfile(artifact)")?;
        if n == 0 {
            return Err(Error::message("it shrank while it was copied"));
        }
    }
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
    .call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(copy)
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

fn stat(file: &OwnedFd) -> Result<Stat> {
    rustix::fs::fstat(file).call(|| "fstat")
}

/// Whether it is of this type, belongs to the runtime's user, and nobody else may write to it.
fn is_ours(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o022 == 0
}
