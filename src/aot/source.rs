//! A module as the runtime sees it from outside of the container: an open file, and what tells it from others.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, ResultExt};

/// More than any real module has; what is larger is not compiled.
pub const LARGEST: u64 = 512 << 20;

/// Which file it was and when it changed last: equal stamps mean equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of an open file.
    pub fn of(file: impl AsFd) -> Result<Stamp> {
        let stat = rustix::fs::fstat(file).call(|| "fstat(module)")?;
        Ok(Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        })
    }
}

/// What tells a module from others.
#[derive(Debug)]
pub struct Source {
    /// Its length in bytes.
    pub size: u64,
    /// What tells it from other files.
    pub stamp: Stamp,
    /// BLAKE3 of its content.
    pub hash: blake3::Hash,
}

impl Source {
    /// Reads the open file `file`, which was found under `name`.
    ///
    /// # Errors
    /// It is no regular file, too large, or cannot be read.
    pub fn read(file: BorrowedFd<'_>, name: &Path) -> Result<Source> {
        let stamp = Stamp::of(file)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(file).call(|| "fstat(module)")?.st_mode);
        let size = stamp.size.unsigned_abs();
        if kind != FileType::RegularFile || size > LARGEST {
            return Err(Error::message(format!(
                "{} is no file of at most {LARGEST} bytes",
                name.display()
            )));
        }
        let hash = hash(file, size)?;
        Ok(Source { size, stamp, hash })
    }
}

/// BLAKE3 of the first `size` bytes of a file, read without moving its offset.
///
/// # Errors
/// It cannot be read, or it is shorter.
pub fn hash(file: BorrowedFd<'_>, size: u64) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; size.clamp(1, 256 << 10) as usize];
    let mut offset = 0;
    while offset < size {
        let wanted = buffer.len().min((size - offset) as usize);
        let n = rustix::io::pread(file, &mut buffer[..wanted], offset).call(|| "pread")?;
        if n == 0 {
            return Err(Error::message("the file shrank while it was read"));
        }
        hasher.update(&buffer[..n]);
        offset += n as u64;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use super::*;

    fn file(test: &str, content: &[u8]) -> (PathBuf, File) {
        let path = std::env::temp_dir().join(format!("runw-source-{test}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        (path, file)
    }

    #[test]
    fn a_source_is_known_by_its_content() {
        let content = vec![7; 300 << 10];
        let (path, open) = file("content", &content);
        let source = Source::read(open.as_fd(), &path).unwrap();
        assert_eq!(source.hash, blake3::hash(&content));
        assert_eq!(source.size, content.len() as u64);
        assert_eq!(Stamp::of(&open).unwrap(), source.stamp);
        std::fs::write(&path, b"other").unwrap();
        assert_ne!(Stamp::of(&open).unwrap(), source.stamp);
        assert!(hash(open.as_fd(), 6).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_regular_files_are_sources() {
        let folder = File::open("/").unwrap();
        assert!(Source::read(folder.as_fd(), Path::new("/")).is_err());
    }
}
