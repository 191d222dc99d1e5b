//! Device nodes and the links in `/dev`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::tree::{Alteration, Tree};
use super::{Room, bind, resolve};
use crate::config::{Device, DeviceKind, SymlinkRule};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::{Change, attr};

/// The devices that every container has (config-linux.md, Default Devices).
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links that every container has (runtime-linux.md, Dev symbolic links), without `ptmx` and `core`.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// The configured devices, and those of the default ones that are not configured otherwise. `/dev/ptmx` is a link, always.
pub(super) fn complete(configured: &[Device]) -> Vec<Device> {
    let mut out: Vec<Device> = configured
        .iter()
        .map(|device| Device {
            path: resolve::clean(&device.path),
            ..device.clone()
        })
        .filter(|device| device.path != Path::new("/dev/ptmx"))
        .collect();
    for (path, major, minor) in DEFAULTS {
        if !out.iter().any(|device| device.path == Path::new(path)) {
            out.push(Device {
                path: PathBuf::from(path),
                kind: DeviceKind::Char,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    out
}

/// Makes the nodes. In a user namespace, where the kernel forbids that, the host's are bind-mounted instead.
pub(super) fn make(devices: &[Device], bind: bool, room: &mut Room) -> Result<()> {
    let dev = open_dev(room.root()?)?;
    for device in devices {
        let name = device.path.file_name().ok_or(Errno::INVAL).call(|| "mknod(\"/\")")?;
        let name = Path::new(name);
        let parent;
        let dir = match device.path.parent() {
            Some(path) if path == Path::new("/dev") => dev.as_fd(),
            path => {
                let path = path.unwrap_or(Path::new("/"));
                parent = resolve::make_dir(room.root()?, path).call(|| format!("mkdir({:?})", path.display()))?;
                parent.fd.as_fd()
            }
        };
        node(dir, name, device, bind, room).wrap(|| format!("device {}", device.path.display()))?;
    }
    Ok(())
}

/// `/dev` inside the root, made if it is missing.
pub(super) fn open_dev(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = Path::new("/dev");
    match resolve::find(root, path).call(|| "openat2(\"/dev\")")? {
        Some(found) => Ok(found.fd),
        None => Ok(resolve::make_dir(root, path).call(|| "mkdir(\"/dev\")")?.fd),
    }
}

fn node(dir: BorrowedFd<'_>, name: &Path, device: &Device, bind: bool, room: &mut Room) -> Result<()> {
    if bind && device.kind != DeviceKind::Fifo {
        return bind_node(dir, name, device, room);
    }
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(dir, name, file_type(device.kind), mode, number) {
        Ok(()) => own(dir, name, device),
        Err(Errno::EXIST) => replace_placeholder(dir, name, device, room),
        Err(Errno::PERM) => bind_node(dir, name, device, room),
        Err(e) => Err(Error::sys("mknod()", e)),
    }
}

/// Images made from containers have empty files where the devices were; the host's node is mounted over such a file. Anything
/// else that is there already stays.
fn replace_placeholder(dir: BorrowedFd<'_>, name: &Path, device: &Device, room: &mut Room) -> Result<()> {
    let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).call(|| "stat()")?;
    let placeholder = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile && there.st_size == 0;
    if placeholder && device.kind != DeviceKind::Fifo {
        bind_node(dir, name, device, room)
    } else {
        Ok(())
    }
}

/// Gives a new node its owner, after a look at whether it still is that node.
fn own(dir: BorrowedFd<'_>, name: &Path, device: &Device) -> Result<()> {
    if device.uid == 0 && device.gid == 0 {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).call(|| "open()")?;
    verify(fd.as_fd(), device)?;
    let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
    rustix::fs::chownat(&fd, c"", owner.0, owner.1, AtFlags::EMPTY_PATH).call(|| "chown()")
}

fn bind_node(dir: BorrowedFd<'_>, name: &Path, device: &Device, room: &mut Room) -> Result<()> {
    let tree = host_node(device)?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, create, Mode::empty()) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::sys("create()", e)),
    }
    let target = resolve::child(dir, name).call(|| "open()")?;
    let change = Change {
        set: attr::NOSUID | attr::NOEXEC,
        ..Change::default()
    };
    let recursive = false;
    tree.attach(target.as_fd(), &[Alteration { recursive, change }], room)
        .map(drop)
}

/// The host's node with the same name, or else the one with the same number.
fn host_node(device: &Device) -> Result<Tree> {
    let by_number = format!(
        "/dev/{}/{}:{}",
        if device.kind == DeviceKind::Block {
            "block"
        } else {
            "char"
        },
        device.major,
        device.minor
    );
    let copy = |path: &Path| {
        let tree = Tree::copy_at(path, bind::how(SymlinkRule::Follow, false))?;
        tree.inode().map_or(Ok(()), |inode| verify(inode, device))?;
        Ok(tree)
    };
    copy(&device.path).or_else(|why| copy(Path::new(&by_number)).map_err(|_| why))
}

fn verify(fd: BorrowedFd<'_>, device: &Device) -> Result<()> {
    let stat = rustix::fs::fstat(fd).call(|| "fstat()")?;
    let number = rustix::fs::makedev(device.major, device.minor);
    let right_type = FileType::from_raw_mode(stat.st_mode) == file_type(device.kind);
    if right_type && (device.kind == DeviceKind::Fifo || stat.st_rdev == number) {
        return Ok(());
    }
    Err(Error::message(format!(
        "is not the {:?} device {}:{} that was asked for",
        device.kind, device.major, device.minor
    )))
}

fn file_type(kind: DeviceKind) -> FileType {
    match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// The links in `/dev`; an image's own ones stay, except `ptmx`, which must lead to the container's devpts.
pub(super) fn link(core: bool, room: &Room) -> Result<()> {
    let dev = open_dev(room.root()?)?;
    let core = core.then_some(("/proc/kcore", "core"));
    for (target, name) in LINKS.into_iter().chain(core) {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::sys(format!("symlink({target:?}, \"/dev/{name}\")"), e)),
        }
    }
    let ptmx = || rustix::fs::symlinkat("pts/ptmx", &dev, "ptmx");
    match ptmx() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()).call(|| "unlink(\"/dev/ptmx\")")?;
            ptmx()
        }
        other => other,
    }
    .call(|| "symlink(\"pts/ptmx\", \"/dev/ptmx\")")
}

/// A character device 1:3, whatever its name.
pub(super) fn is_null(fd: BorrowedFd<'_>) -> Result<bool> {
    let stat = rustix::fs::fstat(fd).call(|| "fstat()")?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    Ok(character && stat.st_rdev == rustix::fs::makedev(1, 3))
}

/// The container's `/dev/null`, for lookups and mounts; an error if it is anything else than that device (CVE-2025-31133).
pub(super) fn find_null(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let null = resolve::find_no_follow(root, Path::new("/dev/null"))
        .call(|| "openat2(\"/dev/null\")")?
        .ok_or_else(|| Error::sys("openat2(\"/dev/null\")", Errno::NOENT))?;
    if is_null(null.as_fd())? {
        Ok(null)
    } else {
        Err(Error::message("the container's /dev/null is not the null device"))
    }
}

/// Whether the kernel offers `/proc/kcore`.
pub(super) fn has_kcore() -> bool {
    rustix::fs::accessat(CWD, c"/proc/kcore", rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str) -> Device {
        Device {
            path: path.into(),
            kind: DeviceKind::Char,
            major: 10,
            minor: 229,
            mode: 0o600,
            uid: 1,
            gid: 2,
        }
    }

    #[test]
    fn defaults_are_added_once_and_ptmx_never() {
        let all = complete(&[device("/dev/fuse/"), device("/dev//null"), device("/dev/ptmx")]);
        let paths: Vec<_> = all.iter().map(|d| d.path.to_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "/dev/fuse",
                "/dev/null",
                "/dev/zero",
                "/dev/full",
                "/dev/random",
                "/dev/urandom",
                "/dev/tty"
            ]
        );
        assert_eq!(all[1].major, 10);
    }

    #[test]
    fn only_the_real_null_is_null() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let zero = std::fs::File::open("/dev/zero").unwrap();
        assert!(is_null(null.as_fd()).unwrap());
        assert!(!is_null(zero.as_fd()).unwrap());
        let asked = Device {
            major: 1,
            minor: 3,
            ..device("/dev/null")
        };
        verify(null.as_fd(), &asked).unwrap();
        assert!(verify(zero.as_fd(), &asked).is_err());
    }
}
