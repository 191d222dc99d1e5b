//! Paths of the container, resolved once and inside its root, to a descriptor.
//!
//! On the common road one openat2(2) with `RESOLVE_IN_ROOT` does it. Where something is missing, or the kernel has no openat2,
//! [`walk`] goes component by component with a stack of descriptors: it never opens `..` and never follows a link by itself,
//! so a tree that is changed under its feet can make it fail but not leave the root.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// As many symbolic links as the kernel itself follows in one lookup (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// How often a lookup that raced with a rename is tried again (openat2(2), `EAGAIN`).
const MAX_RACES: usize = 128;

/// What a lookup found.
#[derive(Debug)]
pub struct Found {
    /// The inode, for lookups only (`O_PATH`).
    pub fd: OwnedFd,
    /// A symbolic link was followed on the way, so the inode may lie anywhere inside the root.
    pub through_link: bool,
}

/// What [`walk`] makes of a last component that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing: the lookup fails.
    Fail,
    /// A directory, like the missing ones above it.
    Directory,
    /// An empty file in a directory.
    File,
}

/// `path` without `.`, `..` and doubled slashes, as if there were no symbolic links; always absolute.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// The path as seen from the root's descriptor.
fn relative(path: &Path) -> &Path {
    let inner = path.strip_prefix("/").unwrap_or(path);
    if inner.as_os_str().is_empty() {
        Path::new(".")
    } else {
        inner
    }
}

/// Finds `path` inside `root`, following links inside it; `None` if there is nothing.
pub fn find(root: BorrowedFd<'_>, path: &Path) -> Result<Option<Found>> {
    let opened = match open_in(root, path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
        Ok(fd) => Ok(Found {
            fd,
            through_link: false,
        }),
        Err(Errno::LOOP) => {
            open_in(root, path, OFlags::PATH, ResolveFlags::empty()).map(|fd| Found { fd, through_link: true })
        }
        Err(Errno::NOSYS | Errno::PERM) => walk(root, path, Missing::Fail, true),
        Err(e) => Err(e),
    };
    absent(opened)
}

/// Finds `path` inside `root` but does not follow a link in its last component.
pub fn find_no_follow(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    absent(
        match open_in(root, path, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty()) {
            Err(Errno::NOSYS | Errno::PERM) => walk(root, path, Missing::Fail, false).map(|found| found.fd),
            other => other,
        },
    )
}

fn absent<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens `path` inside `root` by one openat2(2); magic links are never followed.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    for _ in 0..MAX_RACES {
        match rustix::fs::openat2(root, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Finds the directory `path` inside `root`, making what is missing with mode 0755.
pub fn make_dir(root: BorrowedFd<'_>, path: &Path) -> Result<Found> {
    walk(root, path, Missing::Directory, true)
}

/// Finds the file `path` inside `root`, making it (empty, mode 0644) and missing directories above it.
pub fn make_file(root: BorrowedFd<'_>, path: &Path) -> Result<Found> {
    walk(root, path, Missing::File, true)
}

/// Goes to `path` inside `root` component by component. New directories take over the set-group-id bit of the one above them,
/// as mkdir(2) does by itself. With `follow`, a link in the last component is followed too.
pub fn walk(root: BorrowedFd<'_>, path: &Path, missing: Missing, follow: bool) -> Result<Found> {
    let mut stack: Vec<OwnedFd> = Vec::new();
    // Components still to go, the next one last.
    let mut rest: Vec<OsString> = Vec::new();
    push_components(&mut rest, path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let last = rest.is_empty();
        let here = stack.last().map_or(root, |fd| fd.as_fd());
        let fd = open_or_make(here, &name, missing, last)?;
        match file_type(fd.as_fd())? {
            FileType::Directory => stack.push(fd),
            FileType::Symlink if !last || follow => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                if target.is_absolute() {
                    stack.clear();
                }
                push_components(&mut rest, target);
            }
            _ if last => {
                let through_link = links > 0;
                return Ok(Found { fd, through_link });
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    let fd = match stack.pop() {
        Some(fd) => fd,
        None => rustix::fs::openat(root, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
    };
    let through_link = links > 0;
    Ok(Found { fd, through_link })
}

fn push_components(rest: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    rest.extend(names);
}

fn open_or_make(dir: BorrowedFd<'_>, name: &OsStr, missing: Missing, last: bool) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if missing != Missing::Fail => {}
        other => return other,
    }
    let made = if last && missing == Missing::File {
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        Err(e) => Err(e),
    }
}

/// The type of the inode behind `fd`.
pub fn file_type(fd: BorrowedFd<'_>) -> Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Opens `name` in the directory `dir` for lookups, not following a link.
pub fn child(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("runw-resolve-{name}-{}", std::process::id()));
            std::fs::create_dir(&dir).unwrap();
            Scratch(dir)
        }

        fn open(&self) -> OwnedFd {
            std::fs::File::open(&self.0).unwrap().into()
        }

        fn inode(&self, path: &str) -> u64 {
            std::fs::symlink_metadata(self.0.join(path)).unwrap().ino()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn inode(fd: impl AsFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    #[test]
    fn cleans_lexically() {
        for (from, to) in [
            ("/", "/"),
            ("dev//pts/", "/dev/pts"),
            ("/../a/./b/../c", "/a/c"),
            ("../..", "/"),
            ("", "/"),
        ] {
            assert_eq!(clean(Path::new(from)), Path::new(to), "{from}");
        }
    }

    #[test]
    fn links_stay_inside_and_may_dangle() {
        let scratch = Scratch::new("links");
        std::fs::create_dir(scratch.0.join("real")).unwrap();
        symlink("/real", scratch.0.join("absolute")).unwrap();
        symlink("../../../../real", scratch.0.join("upwards")).unwrap();
        symlink("/no/such", scratch.0.join("dangling")).unwrap();
        let root = scratch.open();
        for path in ["/real", "/absolute", "/upwards"] {
            let found = find(root.as_fd(), Path::new(path)).unwrap().unwrap();
            assert_eq!(inode(&found.fd), scratch.inode("real"), "{path}");
            assert_eq!(found.through_link, path != "/real");
            let walked = walk(root.as_fd(), Path::new(path), Missing::Fail, true).unwrap();
            assert_eq!(inode(&walked.fd), scratch.inode("real"), "{path}");
        }
        assert!(find(root.as_fd(), Path::new("/dangling")).unwrap().is_none());
        let made = make_dir(root.as_fd(), Path::new("/dangling/deep")).unwrap();
        assert_eq!(inode(&made.fd), scratch.inode("no/such/deep"));
    }

    #[test]
    fn makes_files_and_set_group_id_directories() {
        let scratch = Scratch::new("make");
        let top = scratch.0.join("top");
        std::fs::create_dir(&top).unwrap();
        std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o2755)).unwrap();
        let root = scratch.open();
        make_file(root.as_fd(), Path::new("/top/a/b/file")).unwrap();
        assert!(scratch.0.join("top/a/b/file").is_file());
        assert_eq!(std::fs::metadata(top.join("a/b")).unwrap().mode() & 0o2000, 0o2000);
        assert_eq!(
            make_dir(root.as_fd(), Path::new("/top/a/b/file/c")).unwrap_err(),
            Errno::NOTDIR
        );
    }

    #[test]
    fn loops_end() {
        let scratch = Scratch::new("loop");
        symlink("b", scratch.0.join("a")).unwrap();
        symlink("a", scratch.0.join("b")).unwrap();
        let root = scratch.open();
        assert_eq!(make_dir(root.as_fd(), Path::new("/a")).unwrap_err(), Errno::LOOP);
        assert_eq!(find(root.as_fd(), Path::new("/a")).unwrap_err(), Errno::LOOP);
        let link = find_no_follow(root.as_fd(), Path::new("/a")).unwrap().unwrap();
        assert_eq!(file_type(link.as_fd()).unwrap(), FileType::Symlink);
    }
}
