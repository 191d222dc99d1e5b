//! What `wasm list` shows of the cache, and what `wasm prune` removes.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FlockOperation, Mode};

use super::{Cache, FILE, Failure, LOCK, Slot, object, stat};
use crate::aot::Key;
use crate::aot::artifact::{self, Notes};
use crate::aot::order::Tier;
use crate::error::{Result, ResultExt};

/// What `list` shows of a key, and `prune` decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The folder's name.
    pub key: String,
    /// Its artifacts with their sizes in bytes; those without readable notes are left out.
    pub artifacts: Vec<(Notes, u64)>,
    /// Why tiers are missing.
    pub failures: Vec<(Tier, Failure)>,
    /// Bytes on disk.
    pub size: u64,
    /// Seconds since the epoch.
    pub used: i64,
    /// Somebody is compiling for it.
    pub busy: bool,
}

impl Cache {
    /// All keys, the most recently used first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for item in std::fs::read_dir(&self.path).call(|| format!("read {}", self.path.display()))? {
            let name = item.call(|| "readdir")?.file_name();
            let Some(name) = name.to_str().filter(|name| name.parse::<Key>().is_ok()) else {
                continue;
            };
            entries.extend(self.slot_named(name).and_then(|slot| slot.entry(name).ok()));
        }
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(entries)
    }

    /// Removes a key with all that belongs to it; containers that run its code keep it. `false` if somebody is compiling for it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let Some(slot) = self.slot_named(name) else {
            return Ok(true);
        };
        let Some(_lock) = slot.lock()? else {
            return Ok(false);
        };
        let path = self.path.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).call(|| format!("remove {}", path.display())),
            _ => Ok(true),
        }
    }

    /// Removes everything that nobody is compiling for.
    ///
    /// # Errors
    /// The folder cannot be read, or something cannot be removed.
    pub fn clear(&self) -> Result<Vec<Entry>> {
        let mut removed = Vec::new();
        for entry in self.entries()? {
            if self.remove(&entry.key)? {
                removed.push(entry);
            }
        }
        Ok(removed)
    }

    /// Removes what was not used for longest until the rest takes at most `most` bytes.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn shrink_to(&self, most: u64) -> Result<Vec<Entry>> {
        let mut sum = 0u64;
        let mut removed = Vec::new();
        for entry in self.entries()? {
            sum += entry.size;
            if sum > most && self.remove(&entry.key)? {
                sum -= entry.size;
                removed.push(entry);
            }
        }
        Ok(removed)
    }
}

impl Slot {
    /// What there is, for the key of that name.
    pub(in crate::aot) fn entry(&self, key: &str) -> Result<Entry> {
        let mut entry = Entry {
            key: key.to_owned(),
            artifacts: Vec::new(),
            failures: Vec::new(),
            size: 0,
            used: 0,
            busy: false,
        };
        for tier in Tier::ALL {
            entry.failures.extend(self.read_failure(tier).map(|f| (tier, f)));
            let Ok(file) = rustix::fs::openat(&self.folder, object(tier), FILE, Mode::empty()) else {
                continue;
            };
            let meta = stat(&file)?;
            let size = meta.st_size.unsigned_abs();
            entry.size += meta.st_blocks.unsigned_abs() * 512;
            if let Ok(notes) = artifact::notes(file.as_fd(), size) {
                entry.artifacts.push((notes, size));
            }
        }
        if let Ok(lock) = rustix::fs::openat(&self.folder, LOCK, FILE, Mode::empty()) {
            entry.busy = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err();
            entry.used = File::from(lock).metadata().map_or(0, |meta| meta.mtime());
        }
        Ok(entry)
    }
}
