//! The working directory: entered inside the container's root, never through a magic link, and checked afterwards
//! (CVE-2024-21626: `/proc/self/fd/N` as cwd led out of the container).

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::process_error;
use crate::error::{Result, errno_text};

/// Whether the directory could be entered now, or has to wait for the change of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    Yes,
    /// The runtime's user may not enter it; the container's user perhaps may.
    Later,
}

/// Enters `path`, which is made first, with its parents, if `create` is set and it is missing.
pub(super) fn enter(path: &Path, create: bool) -> Result<Entered> {
    let opened = match open(path) {
        Err(Errno::NOENT) if create => make(path),
        other => other,
    };
    match opened.and_then(rustix::process::fchdir) {
        Ok(()) => Ok(Entered::Yes),
        Err(Errno::ACCESS | Errno::PERM) => Ok(Entered::Later),
        Err(e) => Err(refused(path, e)),
    }
}

/// Enters `path` as the container's user if that is still to be done, and makes sure of being inside the root.
pub(super) fn settle(path: &Path, entered: Entered) -> Result<()> {
    if entered == Entered::Later {
        open(path)
            .and_then(rustix::process::fchdir)
            .map_err(|e| refused(path, e))?;
    }
    match rustix::process::getcwd(Vec::new()) {
        Ok(now) if now.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => {
            let problem = format!("{path:?} is outside of the container's root (possible breakout)");
            Err(process_error("cwd", problem))
        }
        Err(e) => Err(refused(path, e)),
    }
}

fn refused(path: &Path, e: Errno) -> crate::Error {
    let why = match e {
        Errno::LOOP => "leads through a magic link of procfs or a loop of links".to_owned(),
        e => errno_text(e.raw_os_error()),
    };
    process_error("cwd", format!("chdir to cwd ({path:?}) failed: {why}"))
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Makes what is missing of `path`, 0755, as a user of the container would with `mkdir -p`.
fn make(path: &Path) -> rustix::io::Result<OwnedFd> {
    let mut so_far = PathBuf::from("/");
    let mut parent = open(&so_far)?;
    for component in path.components() {
        let name: &OsStr = match component {
            Component::Normal(name) => name,
            Component::ParentDir => OsStr::new(".."),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        so_far.push(name);
        parent = match open(&so_far) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
                open(&so_far)?
            }
            other => other?,
        };
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_what_is_missing_and_opens_it() {
        let base = std::env::temp_dir().join(format!("runw-cwd-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        let path = base.join("a/../b//c");
        assert_eq!(open(&path).unwrap_err(), Errno::NOENT);
        make(&path).unwrap();
        open(&path).unwrap();
        assert!(base.join("a").is_dir() && base.join("b/c").is_dir());
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn no_magic_link_and_no_file_will_do() {
        assert_eq!(open(Path::new("/proc/self/cwd")).unwrap_err(), Errno::LOOP);
        assert_eq!(open(Path::new("/proc/self/root/tmp")).unwrap_err(), Errno::LOOP);
        assert_eq!(open(Path::new("/etc/passwd")).unwrap_err(), Errno::NOTDIR);
    }
}
