//! Into the new root: propagation before, pivot_root or chroot, and what belongs right after it.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::attributes::{cuts_off_host, propagation_flag};
use super::step::Cover;
use super::tree::{self, Alteration, Tree};
use super::{Room, devices, filesystem, resolve};
use crate::config::Propagation;
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{self, Change};

/// `MS_REC` (mount(2)).
pub(super) const RECURSIVE: u64 = 1 << 14;
/// `MS_SLAVE` (mount(2)).
pub(super) const SLAVE: u64 = 1 << 19;
/// `MS_PRIVATE` (mount(2)).
const PRIVATE: u64 = 1 << 18;

/// Sets the propagation of the mount at `/`.
pub(super) fn propagate_root(propagation: Propagation) -> Result<()> {
    let recursive = if propagation.recursive { RECURSIVE } else { 0 };
    mount::propagate(c"/", propagation_flag(propagation.kind) | recursive)
        .call(|| format!("mount(\"/\", {:?})", propagation.kind))
}

/// Makes the mount that the root file system lies on private, so that nothing mounted below reaches the host.
pub(super) fn seclude(rootfs: &Path) -> Result<()> {
    for path in rootfs.ancestors() {
        let text = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Error::message("NUL in root.path"))?;
        match mount::propagate(&text, PRIVATE) {
            // Not a mountpoint: the mount begins further up.
            Err(Errno::INVAL) => {}
            other => return other.call(|| format!("mount({:?}, private)", path.display())),
        }
    }
    Err(Error::sys(
        format!("mount({:?}, private)", rootfs.display()),
        Errno::INVAL,
    ))
}

/// Opens the root file system. A copy of it, with what is mounted in it, is put on top of it: pivot_root(2) wants a mount, and
/// changes to it stay in the container. It is no slave of the original: what the host mounts there is not seen inside.
pub(super) fn open_rootfs(rootfs: &Path, cover: Cover, room: &mut Room) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let shown = rootfs.display();
    let dir = rustix::fs::openat(CWD, rootfs, flags, Mode::empty()).call(|| format!("open({shown:?})"))?;
    if cover == Cover::None {
        room.set_root(dir);
        return Ok(());
    }
    let private = |recursive| Alteration {
        recursive,
        change: Change {
            propagation: PRIVATE,
            ..Change::default()
        },
    };
    let mount = Tree::copy(dir.as_fd(), true)?.attach(dir.as_fd(), &[private(false)], room)?;
    if cover == Cover::Shared {
        // On a shared mount it has become shared itself; what is mounted below need not reach yet other namespaces.
        tree::alter(mount.as_fd(), private(true), room)?;
    }
    room.set_root(mount);
    Ok(())
}

/// The mount that `rootfs` lies on, to be told from a [`Cover::Shared`] of it later. `None` before Linux 5.8.
pub fn mount_below(rootfs: &Path) -> Option<u64> {
    let stat = rustix::fs::statx(CWD, rootfs, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

/// Takes the [`Cover::Shared`] of `rootfs` away from the host, with all that is mounted in it, if it is (still) there.
///
/// # Errors
/// umount2(2) fails.
pub fn take_down(rootfs: &Path, below: u64) -> Result<()> {
    match mount_below(rootfs) {
        Some(now) if now != below => mount::detach(rootfs).call(|| format!("umount({:?})", rootfs.display())),
        _ => Ok(()),
    }
}

/// Changes to the new root by pivot_root(2) and lets the old one go. The trick of its NOTES: with both arguments `.` the old
/// root ends up on top of the new one, and no directory is needed for it.
pub(super) fn pivot(propagation: Propagation, room: &mut Room) -> Result<()> {
    let old = match cuts_off_host(propagation) {
        true => None,
        false => Some(mount::open_dir(c"/").call(|| "open(\"/\")")?),
    };
    mount::enter_dir(room.root()?).call(|| "fchdir(rootfs)")?;
    mount::pivot_here().call(|| "pivot_root(\".\", \".\")")?;
    if let Some(old) = old {
        // The unmounting below must not reach the host.
        let slave = Alteration {
            recursive: true,
            change: Change {
                propagation: SLAVE,
                ..Change::default()
            },
        };
        tree::alter(old.as_fd(), slave, room)?;
    }
    mount::detach(c".").call(|| "umount(old root)")?;
    room.entered = true;
    Ok(())
}

/// Moves the new root on top of `/` and changes to it; the old root stays below it.
pub(super) fn move_root(rootfs: &Path, room: &mut Room) -> Result<()> {
    hide_host_filesystems(rootfs, room)?;
    let top = mount::open_dir(c"/").call(|| "open(\"/\")")?;
    let root = room.shared_root()?;
    tree::relocate(root.as_fd(), top.as_fd(), room)?;
    chroot(room)
}

/// Changes to the new root by chroot(2) alone.
pub(super) fn chroot(room: &mut Room) -> Result<()> {
    change_to(room.root()?)?;
    room.entered = true;
    Ok(())
}

/// Makes the folder `root` the root and the working directory of the calling process.
///
/// # Errors
/// chroot(2) is not permitted.
pub fn change_to(root: BorrowedFd<'_>) -> Result<()> {
    mount::enter_dir(root).call(|| "fchdir(rootfs)")?;
    rustix::process::chroot(c".").call(|| "chroot(\".\")")?;
    rustix::process::chdir(c"/").call(|| "chdir(\"/\")")
}

/// Below a root that was only moved, the host's procfs and sysfs stay reachable for the kernel, which then lets a container in a
/// user namespace mount fresh ones without the masks. So they go, or are covered.
fn hide_host_filesystems(rootfs: &Path, room: &mut Room) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").call(|| "read(\"/proc/self/mountinfo\")")?;
    for path in full_proc_and_sysfs(&table, rootfs) {
        match mount::propagate(&path, SLAVE | RECURSIVE) {
            // Gone together with one above it, or not the topmost at that path.
            Err(Errno::NOENT | Errno::INVAL) => continue,
            other => other.call(|| format!("mount({path:?}, slave)"))?,
        }
        match mount::detach(path.as_c_str()) {
            Err(Errno::INVAL | Errno::PERM) => cover(&path, room)?,
            other => other.call(|| format!("umount({path:?})"))?,
        }
    }
    Ok(())
}

fn cover(path: &CString, room: &mut Room) -> Result<()> {
    let target = mount::open_dir(path).call(|| format!("open({path:?})"))?;
    filesystem::make_mask(None)?.attach(target.as_fd(), &[], room).map(drop)
}

/// The mountpoints of whole procfs and sysfs mounts outside of `rootfs` in a mountinfo table (proc_pid_mountinfo(5)).
fn full_proc_and_sysfs(table: &str, rootfs: &Path) -> Vec<CString> {
    let line = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let fstype = filesystem.split(' ').next()?;
        let whole = *fields.get(3)? == "/" && matches!(fstype, "proc" | "sysfs");
        let path = unescape(fields.get(4)?);
        let outside = !Path::new(OsStr::from_bytes(&path)).starts_with(rootfs);
        (whole && outside).then(|| CString::new(path).ok())?
    };
    table.lines().filter_map(line).collect()
}

/// Blanks and the like are written as three octal digits after a backslash.
pub(super) fn unescape(field: &str) -> Vec<u8> {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = field
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, octal) {
            (b'\\', Some(value)) => {
                out.push(value);
                at += 4;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Standard streams on the host's `/dev/null` get the container's instead, once its identity is certain (CVE-2026-88265).
pub(super) fn reopen_null(room: &Room) -> Result<()> {
    let mut ours: Option<OwnedFd> = None;
    for (number, stream) in [
        (0, rustix::stdio::stdin()),
        (1, rustix::stdio::stdout()),
        (2, rustix::stdio::stderr()),
    ] {
        // A closed stream stays closed.
        if !devices::is_null(stream).unwrap_or(false) {
            continue;
        }
        if ours.is_none() {
            ours = Some(open_null(room)?);
        }
        if let Some(null) = &ours {
            match number {
                0 => rustix::stdio::dup2_stdin(null),
                1 => rustix::stdio::dup2_stdout(null),
                _ => rustix::stdio::dup2_stderr(null),
            }
            .call(|| format!("dup2(null, {number})"))?;
        }
    }
    Ok(())
}

fn open_null(room: &Room) -> Result<OwnedFd> {
    // Looked at before it is opened in earnest, which with some devices has effects, and after.
    devices::find_null(room.root()?)?;
    let dev = devices::open_dev(room.root()?)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(&dev, c"null", flags, Mode::empty()).call(|| "open(\"/dev/null\")")?;
    if devices::is_null(null.as_fd())? {
        Ok(null)
    } else {
        Err(Error::message("the container's /dev/null is not the null device"))
    }
}

/// Makes the working directory of the process if it is missing.
pub(super) fn make_cwd(path: &Path, room: &Room) -> Result<()> {
    let root = room.root()?;
    if resolve::find(root, path)
        .call(|| format!("openat2({:?})", path.display()))?
        .is_none()
    {
        resolve::make_dir(root, path).call(|| format!("mkdir({:?})", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_proc_and_sysfs_mounts() {
        let table = "22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw\n\
                     23 27 0:22 / /a\\040b rw - sysfs sysfs rw\n\
                     24 27 0:21 /sys /proc/sys ro - proc proc rw\n\
                     25 27 0:25 / /root/fs/proc rw - proc proc rw\n\
                     27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
        let found = full_proc_and_sysfs(table, Path::new("/root/fs"));
        assert_eq!(found, [c"/proc".to_owned(), c"/a b".to_owned()]);
    }
}
