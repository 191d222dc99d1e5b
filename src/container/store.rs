//! The state folders: `ROOT/ID`, one for each container.
//!
//! A folder holds
//! - `creating.json`, the [`Record`], from the moment init's pid is known: were the runtime killed now, `delete --force`
//!   finds everything it has to undo;
//! - `state.json`, the same file after `create` has completed;
//! - the files of the start gate, see [`crate::launch::gate`].
//!
//! Who changes a container holds the lock of its folder (flock(2)), from before the change to after it. The lock ends with
//! the process that took it. A folder without a record is that of a `create` under way if it is locked, else a leftover that
//! `delete` clears away.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::status::{Probe, Status, is_alive, observe};
use super::{Id, Record};
use crate::error::{Error, Kind, Result, ResultExt, Wrap};
use crate::launch::gate;

const RECORD: &str = "state.json";
const CREATING: &str = "creating.json";
const DRAFT: &str = "record.tmp";
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A root folder with the state folders of many containers.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    dir: OwnedFd,
}

impl Store {
    /// Opens the root folder; `None` if it is not there.
    pub fn open(root: &Path) -> Result<Option<Store>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(root, flags, Mode::empty()) {
            Ok(dir) => Ok(Some(Store {
                root: root.to_owned(),
                dir,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e).call(|| format!("open root {root:?}")),
        }
    }

    /// Opens the root folder, made with mode 0700 if it is not there.
    pub fn make(root: &Path) -> Result<Store> {
        if let Some(store) = Store::open(root)? {
            return Ok(store);
        }
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .call(|| format!("mkdir root {root:?}"))?;
        Store::open(root)?.ok_or_else(|| Error::message(format!("root {root:?} vanished")))
    }

    /// The names of all state folders, sorted. What cannot be a container's name is not one.
    pub fn ids(&self) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        let entries = Dir::read_from(&self.dir).call(|| format!("read root {:?}", self.root))?;
        for entry in entries {
            let entry = entry.call(|| format!("read root {:?}", self.root))?;
            let id = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            if let (Some(id), FileType::Directory) = (id, entry.file_type()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Makes the state folder of a new container and locks it.
    ///
    /// # Errors
    /// [`Kind::Exists`] if there is one of that name.
    pub fn create(&self, id: &Id) -> Result<Locked> {
        loop {
            match rustix::fs::mkdirat(&self.dir, id.as_str(), Mode::from_raw_mode(0o711)) {
                Ok(()) => (),
                Err(Errno::EXIST) => return Err(Error::new(Kind::Exists { id: id.to_string() })),
                Err(e) => return Err(e).call(|| format!("mkdir {:?}", self.root.join(id.as_str()))),
            }
            // A `delete` that comes between these two calls takes the empty folder for a leftover; then once more.
            match self.folder(id).and_then(Folder::lock) {
                Err(e) if matches!(e.kind(), Kind::NotFound { .. }) => (),
                result => return result,
            }
        }
    }

    /// The state folder of a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is none.
    pub fn folder(&self, id: &Id) -> Result<Folder> {
        let path = self.root.join(id.as_str());
        match rustix::fs::openat(&self.dir, id.as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(Folder {
                id: id.clone(),
                path,
                dir,
            }),
            Err(Errno::NOENT) => Err(not_found(id)),
            Err(e) => Err(e).call(|| format!("open {path:?}")),
        }
    }
}

fn not_found(id: &Id) -> Error {
    Error::new(Kind::NotFound { id: id.to_string() })
}

/// The state folder of one container.
#[derive(Debug)]
pub struct Folder {
    id: Id,
    path: PathBuf,
    dir: OwnedFd,
}

/// A record, and whether `create` is done with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The record.
    pub record: Record,
    /// `create` has not completed.
    pub creating: bool,
}

impl Folder {
    /// The container's id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The folder's absolute path, for messages and sockets.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else changes the container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if it was deleted meanwhile.
    pub fn lock(self) -> Result<Locked> {
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.dir, FlockOperation::LockExclusive))
            .call(|| format!("lock {:?}", self.path))?;
        self.locked()
    }

    /// Locks the folder if nobody else has; otherwise gives it back.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if it was deleted meanwhile.
    pub fn try_lock(self) -> Result<std::result::Result<Locked, Folder>> {
        match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.locked().map(Ok),
            Err(Errno::WOULDBLOCK) => Ok(Err(self)),
            Err(e) => Err(e).call(|| format!("lock {:?}", self.path)),
        }
    }

    fn locked(self) -> Result<Locked> {
        let stat = rustix::fs::fstat(&self.dir).call(|| format!("stat {:?}", self.path))?;
        if stat.st_nlink == 0 {
            return Err(not_found(&self.id));
        }
        Ok(Locked(self))
    }

    /// The record; `None` if `create` has not come so far, or never will.
    ///
    /// # Errors
    /// The record cannot be read or makes no sense.
    pub fn load(&self) -> Result<Option<Saved>> {
        // `create` may rename the one to the other between two looks, hence a third.
        for (name, creating) in [(RECORD, false), (CREATING, true), (RECORD, false)] {
            if let Some(record) = self.read(name)? {
                return Ok(Some(Saved { record, creating }));
            }
        }
        Ok(None)
    }

    /// The bytes of a file in the folder; `None` if it is not there.
    pub(super) fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).call(|| format!("open {:?}", self.path.join(name))),
        };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).call(|| format!("read {:?}", self.path.join(name)))?;
        Ok(Some(bytes))
    }

    fn read(&self, name: &str) -> Result<Option<Record>> {
        let Some(text) = self.kept(name)? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| Error::message(format!("{:?} is not a container's record: {e}", self.path.join(name))))
    }

    /// The record and what the container is now.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no record.
    pub fn status(&self) -> Result<(Record, Status)> {
        self.look(|folder| folder.is_locked())
    }

    /// `creator` tells whether the `create` that made the folder is still at work.
    fn look(&self, creator: impl Fn(&Self) -> bool) -> Result<(Record, Status)> {
        let Saved { record, creating } = self.load()?.ok_or_else(|| not_found(&self.id))?;
        let alive = is_alive(record.init);
        let status = observe(&Probe {
            alive,
            creating: creating && (alive || creator(self)),
            gate: alive && gate::is_held(self.as_fd()),
            frozen: alive && record.cgroup.is_frozen().unwrap_or(false),
        });
        Ok((record, status))
    }

    /// Whether somebody is changing the container.
    fn is_locked(&self) -> bool {
        let again = rustix::fs::openat(&self.dir, ".", DIRECTORY, Mode::empty());
        again.is_ok_and(|dir| rustix::fs::flock(dir, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A state folder that only this process may change.
///
/// The lock belongs to the open file: a cloned process that still has it open must not drop this value.
#[derive(Debug)]
pub struct Locked(Folder);

impl Locked {
    /// Saves the record of a container that is being created: one rename, so that a reader sees all of it or nothing.
    ///
    /// Nothing is synced to disk: the folder does not outlive the kernel that the container runs on.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.write(record)
            .wrap(|| format!("save the record of container {:?}", self.id.as_str()))
    }

    fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| Error::message(e.to_string()))?;
        self.keep(DRAFT, &text)?;
        self.rename(DRAFT, CREATING)
    }

    /// Writes a file in the folder.
    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o600))
            .call(|| format!("open {:?}", self.path.join(name)))?;
        let mut file = std::fs::File::from(file);
        std::io::Write::write_all(&mut file, bytes).call(|| format!("write {:?}", self.path.join(name)))
    }

    /// The record and what the container is now. Nobody else is changing it, so a `create` that is not done never will be.
    ///
    /// # Errors
    /// [`Kind::NotFound`] if there is no record.
    pub fn status(&self) -> Result<(Record, Status)> {
        self.look(|_| false)
    }

    /// `create` is complete: from now on the container is created, or later.
    pub fn commit(&self) -> Result<()> {
        self.rename(CREATING, RECORD)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.dir, from, &self.dir, to)
            .call(|| format!("rename {:?} to {to:?}", self.path.join(from)))
    }

    /// Removes the folder: the container is no more.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.path).call(|| format!("remove {:?}", self.path))
    }

    /// Lets others change the container.
    pub fn unlock(self) {
        drop(self);
    }
}

impl Deref for Locked {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing is not enough: init, cloned while the lock was held, may have the same open file still.
        let _ = rustix::fs::flock(&self.0.dir, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests;
