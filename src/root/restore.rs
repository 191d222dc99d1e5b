//! What a restored container needs of its root file system: the mountpoints, and the names of what is mounted from outside.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::enter::{RECURSIVE, SLAVE};
use super::{bind, devices, resolve, target};
use crate::config::{Config, DeviceKind, Mount, MountSource, NamespaceKind};
use crate::error::{Result, ResultExt, Wrap};
use crate::sys::{mount, namespace};

/// Does `work` in a mount namespace of its own, in which `rootfs` is a mountpoint, and returns to the one before. CRIU wants
/// such a root; the host is not to see it. What is opened meanwhile belongs to that namespace.
///
/// # Errors
/// Those of `work`, or the namespace cannot be made or left.
pub fn on_own_mount<T>(rootfs: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let flag = NamespaceKind::Mount.clone_flag();
    let path = "/proc/self/ns/mnt";
    let home =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))?;
    let [top, here] = [c"/", c"."].map(mount::open_dir);
    let (top, here) = (top.call(|| "open(\"/\")")?, here.call(|| "open(\".\")")?);
    namespace::unshare(flag)?;
    let result = mount::propagate(c"/", SLAVE | RECURSIVE)
        .call(|| "mount(\"/\", rslave)")
        .and_then(|()| mount::bind_on_itself(rootfs).call(|| format!("mount({:?}, bind)", rootfs.display())))
        .and_then(|()| work());
    // setns(2) puts root and working directory at the top of the namespace.
    namespace::enter(home.as_fd(), flag)?;
    mount::enter_dir(top).call(|| "fchdir(\"/\")")?;
    rustix::process::chroot(c".").call(|| "chroot(\".\")")?;
    mount::enter_dir(here).call(|| "fchdir(\".\")")?;
    result
}

/// Makes the mountpoints that are missing. CRIU makes none in the root file system, nor in what is bound from the host; what
/// lies in other file systems of the container comes with the image.
///
/// # Errors
/// One cannot be made, or a source of a bind mount is not there.
pub fn make_mountpoints(rootfs: &Path, mounts: &[Mount]) -> Result<()> {
    for (at, mount) in mounts.iter().enumerate() {
        let destination = resolve::clean(&mount.destination);
        let before = mounts.get(..at).unwrap_or_default();
        if mount.remount || mount.source == MountSource::Cgroup {
            continue;
        }
        if let Some((folder, inside)) = carrier(rootfs, before, &destination) {
            make_mountpoint(&folder, &inside, mount).wrap(|| {
                format!(
                    "make the mountpoint {} (mounts[{}])",
                    destination.display(),
                    mount.index
                )
            })?;
        }
    }
    Ok(())
}

fn make_mountpoint(folder: &Path, inside: &Path, mount: &Mount) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root =
        rustix::fs::openat(CWD, folder, flags, Mode::empty()).call(|| format!("open({:?})", folder.display()))?;
    let there = Mount {
        destination: inside.to_owned(),
        ..mount.clone()
    };
    let source = match &mount.source {
        MountSource::Bind { path, .. } => {
            let copy = mount::copy_at(CWD, path, bind::how(mount.symlink, false));
            Some(copy.call(|| format!("open_tree({:?})", path.display()))?)
        }
        MountSource::Filesystem { .. } | MountSource::Cgroup => None,
    };
    target::open(root.as_fd(), &there, source.as_ref().map(AsFd::as_fd)).map(drop)
}

/// The folder of the host that `destination` lies in once the mounts `before` are there, and the path inside of it; `None` if
/// that is no folder of the host.
fn carrier(rootfs: &Path, before: &[Mount], destination: &Path) -> Option<(PathBuf, PathBuf)> {
    // The nearest counts: the one that leaves the shortest rest of the path, the last of several.
    let covering = before.iter().rev().filter(|mount| !mount.remount).filter_map(|mount| {
        let inside = destination.strip_prefix(resolve::clean(&mount.destination)).ok()?;
        (!inside.as_os_str().is_empty()).then_some((mount, inside))
    });
    match covering.min_by_key(|(_, inside)| inside.components().count()) {
        None => Some((rootfs.to_owned(), destination.to_owned())),
        Some((mount, inside)) => match &mount.source {
            MountSource::Bind { path, .. } => Some((path.clone(), Path::new("/").join(inside))),
            MountSource::Filesystem { .. } | MountSource::Cgroup => None,
        },
    }
}

/// The device nodes that are the host's, mounted from there: those of a container with a user namespace.
pub fn bound_devices(config: &Config) -> Vec<PathBuf> {
    if !config.namespaces.is_own(NamespaceKind::User) {
        return Vec::new();
    }
    let devices = devices::complete(&config.devices).into_iter();
    devices.filter(|d| d.kind != DeviceKind::Fifo).map(|d| d.path).collect()
}

/// Where `path` leads in the file system of a running container with the root `root`, by the names that its own mount table
/// uses, and whether that is a folder; `None` if it leads nowhere.
///
/// # Errors
/// The path cannot be looked up.
pub fn locate(root: BorrowedFd<'_>, path: &Path) -> Result<Option<(PathBuf, bool)>> {
    let found = match resolve::find(root, path) {
        Err(rustix::io::Errno::NOTDIR) => None,
        other => other.call(|| format!("openat2(root of the container, {:?})", path.display()))?,
    };
    let Some(found) = found else { return Ok(None) };
    let is_dir = resolve::file_type(found.fd.as_fd()).call(|| "fstat()")? == FileType::Directory;
    // What is not below our own root is named from the root of its mount namespace (d_path in the kernel).
    let link = format!("/proc/self/fd/{}", found.fd.as_raw_fd());
    let name = std::fs::read_link(&link).call(|| format!("readlink({link:?})"))?;
    Ok(Some((name, is_dir)))
}

/// Where the destination of a mount leads in the root file system, links followed: what the mount table of the saved container
/// has it under. What is not there yet keeps its name.
///
/// # Errors
/// The path cannot be looked up.
pub fn settle(rootfs: &Path, destination: &Path) -> Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags, Mode::empty()).call(|| format!("open({:?})", rootfs.display()))?;
    let place = locate(root.as_fd(), destination)?;
    let inside = place.and_then(|(place, _)| {
        place
            .strip_prefix(rootfs)
            .map(|inside| Path::new("/").join(inside))
            .ok()
    });
    Ok(inside.unwrap_or_else(|| destination.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::mount::tests::{bind as bind_mount, filesystem};
    use super::*;

    #[test]
    fn the_nearest_mount_carries_a_mountpoint() {
        let before = [
            filesystem("tmpfs", "/dev"),
            bind_mount("/srv/data", "/data"),
            filesystem("tmpfs", "/data/tmp"),
            bind_mount("/srv/more", "/data/more"),
        ];
        let carrier = |path: &str| carrier(Path::new("/r"), &before, Path::new(path));
        let on = |folder: &str, inside: &str| Some((PathBuf::from(folder), PathBuf::from(inside)));
        assert_eq!(carrier("/etc/hosts"), on("/r", "/etc/hosts"));
        assert_eq!(carrier("/dev"), on("/r", "/dev"));
        assert_eq!(carrier("/dev/shm"), None);
        assert_eq!(carrier("/data/x/y"), on("/srv/data", "/x/y"));
        assert_eq!(carrier("/data/tmp/x"), None);
        assert_eq!(carrier("/data/more/x"), on("/srv/more", "/x"));
    }

    #[test]
    fn destinations_settle_where_links_lead() {
        let dir = std::env::temp_dir().join(format!("runw-settle-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("real/conf")).unwrap();
        std::os::unix::fs::symlink("/real", dir.join("link")).unwrap();
        let settled = |path: &str| settle(&dir, Path::new(path)).unwrap();
        assert_eq!(settled("/link/conf"), Path::new("/real/conf"));
        assert_eq!(settled("/dev/shm"), Path::new("/dev/shm"));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn mountpoints_are_made_where_criu_makes_none() {
        let dir = std::env::temp_dir().join(format!("runw-mountpoints-{}", std::process::id()));
        for name in ["root", "data"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        std::fs::write(dir.join("file"), "").unwrap();
        let source = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let mounts = [
            filesystem("proc", "/proc"),
            bind_mount(&source("data"), "/srv/data"),
            bind_mount(&source("file"), "/srv/data/file"),
        ];
        make_mountpoints(&dir.join("root"), &mounts).unwrap();
        assert!(dir.join("root/proc").is_dir() && dir.join("root/srv/data").is_dir());
        assert!(dir.join("data/file").is_file());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
