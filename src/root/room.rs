//! What init carries from step to step.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FsWord, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;

use super::console::Console;
use super::idmap::Unmapped;
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{self, FsContext, attr};

/// The descriptors and facts that one step leaves for the next. All descriptors are close-on-exec.
#[derive(Debug, Default)]
pub struct Room {
    root: Option<Arc<OwnedFd>>,
    procfs: Option<OwnedFd>,
    /// The source of the next mount, to be mapped by the parent.
    pub(super) source: Option<Unmapped>,
    /// Mounts that become read-only in the end, with their index in config.json.
    pub(super) to_be_readonly: Vec<(usize, OwnedFd)>,
    /// The root is the current root of the process.
    pub(super) entered: bool,
    console: Option<Console>,
}

/// The inode number that only the root of a procfs has (`PROC_ROOT_INO`, include/linux/proc_ns.h).
const PROC_ROOT_INODE: u64 = 1;

impl Room {
    /// An empty room.
    pub fn new() -> Self {
        Room::default()
    }

    /// The root of the container.
    ///
    /// # Errors
    /// If no step has opened it yet.
    pub fn root(&self) -> Result<BorrowedFd<'_>> {
        match &self.root {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(Error::message("the container's root is not open yet")),
        }
    }

    /// The same, to be kept while the room changes.
    pub(super) fn shared_root(&self) -> Result<Arc<OwnedFd>> {
        self.root
            .clone()
            .ok_or_else(|| Error::message("the container's root is not open yet"))
    }

    pub(super) fn set_root(&mut self, root: OwnedFd) {
        self.root = Some(Arc::new(root));
    }

    /// A procfs that nobody can have tampered with, seen from inside the container's namespaces. It is the container's own
    /// `/proc`, taken before it was mounted, or else a private one made at the first call.
    ///
    /// Open files below it with [`Room::open_proc`] only.
    ///
    /// # Errors
    /// If there is no way to get one (a user namespace whose `/proc` is masked).
    pub fn procfs(&mut self) -> Result<BorrowedFd<'_>> {
        if self.procfs.is_none() {
            self.procfs = Some(private_procfs()?);
        }
        match &self.procfs {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(Error::message("no procfs")),
        }
    }

    /// Keeps a procfs that the runtime has just made as the trusted one.
    pub(super) fn trust_procfs(&mut self, proc: &OwnedFd) -> Result<()> {
        if self.procfs.is_none() {
            self.procfs = Some(proc.try_clone().call(|| "dup(procfs)")?);
        }
        Ok(())
    }

    /// Opens `path` (relative, `sys/net/…` or `self/attr/exec`) below the trusted procfs. Neither links nor mounts on top of
    /// it are crossed, except the link `self`.
    pub fn open_proc(&mut self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        let proc = self.procfs()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {
                let file = rustix::fs::openat(proc, path, flags, Mode::empty()).call(|| format!("openat({path:?})"))?;
                if rustix::fs::fstatfs(&file).call(|| "fstatfs()")?.f_type == PROC_SUPER_MAGIC {
                    Ok(file)
                } else {
                    Err(Error::message(format!("{path} is not on a procfs")))
                }
            }
            other => other.call(|| format!("openat2(procfs, {path:?})")),
        }
    }

    /// The source that the last step has opened for the parent to map.
    pub fn unmapped(&self) -> Option<&Unmapped> {
        self.source.as_ref()
    }

    /// The pty of the container, once the console step has made it.
    pub fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }

    /// Makes a pty in the devpts of the root that the process is in.
    ///
    /// # Errors
    /// `/dev/pts/ptmx` is something else than the kernel made it, or no pty is left.
    pub fn make_pty(&mut self) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).call(|| "open(\"/\")")?;
        self.console = Some(super::console::open(root.as_fd())?);
        Ok(())
    }

    /// Hands over the pty of the container.
    pub fn take_console(&mut self) -> Option<Console> {
        self.console.take()
    }

    pub(super) fn set_console(&mut self, console: Console) {
        self.console = Some(console);
    }
}

/// A procfs of our own that is mounted nowhere; where that is not permitted, `/proc` if it is the root of a real procfs.
fn private_procfs() -> Result<OwnedFd> {
    let fresh = FsContext::open("proc").and_then(|fs| fs.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC));
    let Err(why) = fresh else {
        return fresh.call(|| "fsopen(\"proc\")");
    };
    let fd = mount::open_dir(c"/proc").call(|| "open(\"/proc\")")?;
    let magic: FsWord = rustix::fs::fstatfs(&fd).call(|| "fstatfs(\"/proc\")")?.f_type;
    let inode = rustix::fs::fstat(&fd).call(|| "fstat(\"/proc\")")?.st_ino;
    if magic == PROC_SUPER_MAGIC && inode == PROC_ROOT_INODE {
        Ok(fd)
    } else {
        Err(Error::sys("fsopen(\"proc\")", why).wrap("get a trustworthy procfs: /proc is not one"))
    }
}
