//! `tmpcopyup`: a tmpfs begins with what it covers.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, openat,
    statat,
};
use rustix::io::Errno;

use crate::error::{Error, Result, ResultExt, Wrap};

const SOURCE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies the contents and the ownership of the directory `from` to the directory `to`.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let from = openat(from, c".", SOURCE | OFlags::DIRECTORY, Mode::empty()).call(|| "open(covered directory)")?;
    let to = openat(to, c".", SOURCE | OFlags::DIRECTORY, Mode::empty()).call(|| "open(tmpfs)")?;
    let stat = rustix::fs::fstat(&from).call(|| "fstat(covered directory)")?;
    copy_entries(&from, &to)?;
    let (uid, gid) = owner(&stat);
    fchown(&to, uid, gid).call(|| "chown(tmpfs)")
}

fn copy_entries(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for entry in Dir::read_from(from).call(|| "open(directory)")? {
        let entry = entry.call(|| "getdents()")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, to, name).wrap(|| format!("copy {name:?}"))?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).call(|| "stat()")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let source = openat(from, name, SOURCE | OFlags::DIRECTORY, Mode::empty()).call(|| "open()")?;
            rustix::fs::mkdirat(to, name, Mode::RWXU).call(|| "mkdir()")?;
            let copy = openat(to, name, SOURCE | OFlags::DIRECTORY, Mode::empty()).call(|| "open(copy)")?;
            copy_entries(&source, &copy)?;
            finish(&source, &copy, &stat)
        }
        FileType::RegularFile => copy_file(from, to, name, &stat),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).call(|| "readlink()")?;
            rustix::fs::symlinkat(target, to, name).call(|| "symlink()")?;
            own_entry(to, name, &stat)
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode);
            match rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev) {
                // Devices cannot be made in a user namespace.
                Err(Errno::PERM) => Ok(()),
                Err(e) => Err(Error::sys("mknod()", e)),
                Ok(()) => own_entry(to, name, &stat),
            }
        }
    }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
    let source = openat(from, name, SOURCE | OFlags::NONBLOCK, Mode::empty()).call(|| "open()")?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = openat(to, name, create, Mode::RUSR | Mode::WUSR).call(|| "create()")?;
    let (mut reader, mut writer) = (File::from(source), File::from(copy));
    std::io::copy(&mut reader, &mut writer).call(|| "copy contents")?;
    finish(&reader, &writer, stat)
}

/// Owner, mode, extended attributes and times, in an order in which none undoes another.
fn finish(source: impl AsFd, copy: impl AsFd, stat: &Stat) -> Result<()> {
    let (uid, gid) = owner(stat);
    fchown(&copy, uid, gid).call(|| "chown()")?;
    fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o7777)).call(|| "chmod()")?;
    copy_attributes(source.as_fd(), copy.as_fd());
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime as _,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime as _,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    };
    rustix::fs::futimens(&copy, &times).call(|| "utimensat()")
}

/// Takes over the extended attributes that a tmpfs can hold.
fn copy_attributes(source: BorrowedFd<'_>, copy: BorrowedFd<'_>) {
    let mut names = vec![0u8; 4096];
    let Ok(length) = rustix::fs::flistxattr(source, names.as_mut_slice()) else {
        return;
    };
    let mut value = vec![0u8; 65536];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if let Ok(size) = rustix::fs::fgetxattr(source, name, value.as_mut_slice()) {
            // What the tmpfs has no place for is left behind.
            let _ = rustix::fs::fsetxattr(copy, name, &value[..size], XattrFlags::empty());
        }
    }
}

fn own_entry(dir: &OwnedFd, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = owner(stat);
    rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).call(|| "chown()")
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn copies_a_tree() {
        let dir = std::env::temp_dir().join(format!("runw-copyup-{}", std::process::id()));
        let (from, to) = (dir.join("from"), dir.join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(from.join("sub/file"), "contents").unwrap();
        std::fs::set_permissions(from.join("sub/file"), std::fs::Permissions::from_mode(0o4751)).unwrap();
        std::fs::set_permissions(from.join("sub"), std::fs::Permissions::from_mode(0o1700)).unwrap();
        std::os::unix::fs::symlink("sub/file", from.join("link")).unwrap();
        let open = |path| File::open(path).unwrap();
        let copied = copy(open(&from).as_fd(), open(&to).as_fd());
        let read = std::fs::read_to_string(to.join("link"));
        let (old, new) = (from.join("sub/file").metadata(), to.join("sub/file").metadata());
        let sub = to.join("sub").metadata();
        let _ = std::fs::remove_dir_all(&dir);
        copied.unwrap();
        assert_eq!(read.unwrap(), "contents");
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!(
            (old.mode(), old.mtime(), old.uid()),
            (new.mode(), new.mtime(), new.uid())
        );
        assert_eq!(sub.unwrap().mode() & 0o7777, 0o1700);
    }
}
