//! The few file operations that cgroups are made of.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir as Listing, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, ResultExt};

/// An open cgroup folder, and its path for messages.
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a cgroup folder for reading (`clone3` and `bpf` take the descriptor, too).
    pub(super) fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        Ok(Dir {
            fd,
            path: path.to_owned(),
        })
    }

    /// Its path on the host.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file in it for writing.
    pub(super) fn writer(&self, file: &str) -> Result<Writer> {
        Writer::open(self.fd.as_fd(), &self.path, file)
    }

    /// Writes one value.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<()> {
        self.writer(file)?.write(value)
    }

    /// Opens a file in it for reading.
    pub(super) fn reader(&self, file: &str) -> Result<Reader> {
        let path = self.path.join(file);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, file, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        Ok(Reader { fd, path })
    }

    /// Reads a file in it.
    pub(super) fn read(&self, file: &str) -> Result<String> {
        self.reader(file)?.text()
    }

    /// The names of the cgroups directly below.
    pub(super) fn children(&self) -> Result<Vec<PathBuf>> {
        use std::os::unix::ffi::OsStrExt;
        let list = || -> std::result::Result<Vec<PathBuf>, Errno> {
            let mut names = Vec::new();
            for entry in Listing::read_from(&self.fd)? {
                let entry = entry?;
                let name: &CStr = entry.file_name();
                if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                    names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())));
                }
            }
            Ok(names)
        };
        list().call(|| format!("getdents({:?})", self.path))
    }

    /// Changes the owner of the folder (`file` empty) or of a file in it.
    pub(super) fn chown(&self, file: &str, uid: u32) -> Result<()> {
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        rustix::fs::chownat(&self.fd, file, owner, None, AtFlags::EMPTY_PATH)
            .call(|| format!("chown({:?}, {uid})", self.path.join(file)))
    }

    /// The descriptor.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file of a cgroup, open for writing: each write is one command to the kernel.
pub(super) struct Writer {
    fd: OwnedFd,
    path: PathBuf,
}

impl Writer {
    fn open(dir: BorrowedFd<'_>, dir_path: &Path, file: &str) -> Result<Writer> {
        let path = dir_path.join(file);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(dir, file, flags, Mode::empty()).call(|| format!("open({path:?}, O_WRONLY)"))?;
        Ok(Writer { fd, path })
    }

    /// Opens a file by its path on the host.
    pub(super) fn at(path: PathBuf) -> Result<Writer> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).call(|| format!("open({path:?}, O_WRONLY)"))?;
        Ok(Writer { fd, path })
    }

    /// Writes one value. An empty one is written as a newline, because the kernel does not see a write of nothing.
    pub(super) fn write(&self, value: &str) -> Result<()> {
        let bytes: &[u8] = if value.is_empty() { b"\n" } else { value.as_bytes() };
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes))
            .map(drop)
            .call(|| format!("write({:?}, {value:?})", self.path))
    }
}

/// A file of procfs or a cgroup, open for reading.
pub(super) struct Reader {
    fd: OwnedFd,
    path: PathBuf,
}

impl Reader {
    /// What the file says now; each call asks the kernel anew.
    pub(super) fn text(&self) -> Result<String> {
        let mut text = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            let offset = text.len() as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut buffer, offset)) {
                Ok(0) => break,
                Ok(n) => text.extend_from_slice(&buffer[..n]),
                Err(errno) => return Err(Error::sys(format!("read({:?})", self.path), errno)),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads a whole file of procfs or cgroupfs.
pub(super) fn read_text(path: &str) -> Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    let path = path.into();
    Reader { fd, path }.text()
}

/// Makes a cgroup and the ones above it that are missing, down from `mountpoint`. Returns those that were made, outermost
/// first: none if `path` was there.
///
/// # Errors
/// mkdir(2) failed; what was made until then has been removed again.
pub(super) fn make(mountpoint: &Path, path: &Path) -> Result<Vec<PathBuf>> {
    match mkdir(path) {
        Ok(()) => return Ok(vec![path.to_owned()]),
        Err(Errno::EXIST) => return Ok(Vec::new()),
        Err(Errno::NOENT) if path != mountpoint => {}
        Err(errno) => return Err(Error::sys(format!("mkdir({path:?})"), errno)),
    }
    let mut made = match path.parent() {
        Some(parent) => make(mountpoint, parent)?,
        None => Vec::new(),
    };
    match mkdir(path) {
        Ok(()) => made.push(path.to_owned()),
        Err(Errno::EXIST) => {}
        Err(errno) => {
            unmake(&made);
            return Err(Error::sys(format!("mkdir({path:?})"), errno));
        }
    }
    Ok(made)
}

/// Removes what [`make`] made, as far as it is empty.
pub(super) fn unmake(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = rmdir(path);
    }
}

fn mkdir(path: &Path) -> std::result::Result<(), Errno> {
    rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755))
}

/// rmdir(2); a cgroup that is gone is no error.
pub(super) fn rmdir(path: &Path) -> std::result::Result<(), Errno> {
    match rustix::io::retry_on_intr(|| rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// The error says that the cgroup or the file is not there (ENODEV: it went away while open).
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(e) if e == Errno::NOENT.raw_os_error() || e == Errno::NODEV.raw_os_error())
}

/// The error is one of permissions, in the wide sense that a read-only file system is one, too.
pub(super) fn is_forbidden(error: &Error) -> bool {
    let forbidden = [Errno::PERM, Errno::ACCESS, Errno::ROFS];
    matches!(error.errno(), Some(e) if forbidden.iter().any(|f| f.raw_os_error() == e))
}
