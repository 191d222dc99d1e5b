//! Id-mapped mounts: the user namespaces that carry the mappings, and sources mapped by the host.
//!
//! Mapping the ids of a mount takes privileges over its file system, so the runtime does it before the clone. A mount only
//! borrows the mappings of a user namespace; one with the same mappings as the container's will do, and exists in time.
//! A source inside the root file system is there only when the mounts before it are. Init opens that one; without privileges
//! over its file system it has the parent map it.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use super::Room;
use super::tree::Tree;
use crate::config::{Config, IdMap, IdMapping, NamespaceKind, NamespaceSource};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::{self, Change, Copying};
use crate::sys::process::{clone, exit_now, wait};

/// A source that is opened by init in a user namespace and mapped by the parent.
#[derive(Debug)]
pub struct LateSource {
    pub(super) index: usize,
    pub(super) path: PathBuf,
    pub(super) copying: Copying,
    /// The user namespace with the mappings.
    pub(super) namespace: Arc<OwnedFd>,
    /// What is mounted below it is mapped, too.
    pub(super) recursive: bool,
}

/// A copy of such a source; it belongs to init alone until it is attached.
#[derive(Debug)]
pub struct Unmapped {
    /// Its place in `mounts`.
    pub index: usize,
    /// The copy.
    pub tree: OwnedFd,
    /// The user namespace with the mappings.
    pub namespace: Arc<OwnedFd>,
    /// What is mounted below it is mapped, too.
    pub recursive: bool,
}

impl LateSource {
    pub(super) fn describe(&self) -> String {
        format!(
            "open the id-mapped source {:?} (mounts[{}])",
            self.path.display(),
            self.index
        )
    }

    /// Leaves the copy in the room, for the parent to map and the mount to take.
    pub(super) fn open(&self, room: &mut Room) -> Result<()> {
        match Tree::copy_at(&self.path, self.copying)? {
            Tree::Detached(tree) => {
                room.source = Some(Unmapped {
                    index: self.index,
                    tree,
                    namespace: self.namespace.clone(),
                    recursive: self.recursive,
                });
                Ok(())
            }
            Tree::Classic(_, why) => Err(why),
        }
    }
}

type Mappings = (Vec<IdMapping>, Vec<IdMapping>);

/// The user namespaces made so far, each kept for the mounts with equal mappings.
#[derive(Debug, Default)]
pub(super) struct UserNamespaces(Vec<(Option<Mappings>, Arc<OwnedFd>)>);

impl UserNamespaces {
    /// A user namespace with the mappings of `idmap`, or else those of the container.
    pub(super) fn carrying(&mut self, idmap: &IdMap, config: &Config) -> Result<Arc<OwnedFd>> {
        if let Some((_, fd)) = self.0.iter().find(|(known, _)| *known == idmap.mappings) {
            return Ok(fd.clone());
        }
        let fd = match (&idmap.mappings, config.namespaces.source(NamespaceKind::User)) {
            (Some((uids, gids)), _) => make(uids, gids)?,
            (None, NamespaceSource::Path(path)) => {
                rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .call(|| format!("open({path:?})"))?
            }
            (None, _) => make(&config.uid_mappings, &config.gid_mappings)?,
        };
        let fd = Arc::new(fd);
        self.0.push((idmap.mappings.clone(), fd.clone()));
        Ok(fd)
    }
}

/// Makes a user namespace with these mappings. It lives as long as the descriptor.
fn make(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).call(|| "pipe()")?;
    let new_user = NamespaceKind::User.clone_flag();
    let mut write = Some(write);
    let child = clone(new_user, None, || {
        drop(write.take());
        hold(&read)
    })
    .wrap(|| "make a user namespace for an id-mapped mount")?;
    let pid = child.pid.as_raw_nonzero();
    let map = |file: &str, mappings: &[IdMapping]| {
        let path = format!("/proc/{pid}/{file}");
        let text = lines(mappings);
        std::fs::write(&path, &text).call(|| format!("write({path:?}, {text:?})"))
    };
    let open = || {
        let path = format!("/proc/{pid}/ns/user");
        rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?})"))
    };
    let namespace = map("uid_map", uids)
        .and_then(|()| map("gid_map", gids))
        .and_then(|()| open());
    drop(write.take());
    wait(child.pidfd.as_fd())?;
    namespace
}

/// Lives until the other end of the pipe is closed, be it by the runtime's end.
fn hold(read: &OwnedFd) -> Infallible {
    let mut byte = [0u8; 1];
    while matches!(rustix::io::read(read, &mut byte), Err(rustix::io::Errno::INTR)) {}
    exit_now(0)
}

fn lines(mappings: &[IdMapping]) -> String {
    let mut text = String::new();
    for one in mappings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", one.container, one.host, one.size);
    }
    text
}

/// Gives a detached mount the mappings of `namespace`.
///
/// # Errors
/// mount_setattr(2) fails, with a word on why.
pub fn apply(tree: &OwnedFd, recursive: bool, namespace: &OwnedFd) -> Result<()> {
    let change = Change {
        idmap: Some(namespace.as_fd()),
        ..Change::default()
    };
    mount::change(tree.as_fd(), recursive, &change).map_err(|e| {
        let error = Error::sys("mount_setattr(MOUNT_ATTR_IDMAP)", e);
        match e {
            rustix::io::Errno::INVAL => error.wrap("the file system may not support id-mapped mounts"),
            rustix::io::Errno::NOSYS => error.wrap("id-mapped mounts need Linux 5.12"),
            rustix::io::Errno::PERM => error.wrap("id-mapped mounts need privileges over the file system"),
            _ => error,
        }
    })
}
