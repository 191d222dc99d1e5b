//! Inside the new root: sysctls, read-only and masked paths.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::resolve::{self, Found};
use super::{Room, devices, filesystem};
use crate::error::{Result, ResultExt, Wrap};
use crate::sys::mount::{self, Change, attr};

const READ_ONLY: Change<'static> = Change {
    set: attr::RDONLY,
    clear: 0,
    propagation: 0,
    idmap: None,
};

/// Writes sysctls through the trusted procfs, each value in one piece.
pub(super) fn write_sysctls(sysctls: &[(String, String)], room: &mut Room) -> Result<()> {
    for (name, value) in sysctls {
        let write = |room: &mut Room| {
            let file = room.open_proc(&sysctl_file(name), OFlags::WRONLY)?;
            rustix::io::write(&file, value.as_bytes()).call(|| format!("write({value:?})"))
        };
        write(room).wrap(|| format!("linux.sysctl[{name:?}]"))?;
    }
    Ok(())
}

/// `net.ipv4.conf.eth0/1.forwarding` is `sys/net/ipv4/conf/eth0.1/forwarding` (sysctl(8)).
fn sysctl_file(name: &str) -> String {
    let swapped = name.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    });
    "sys/".chars().chain(swapped).collect()
}

/// Makes the mounts read-only that were to be so from the beginning, had there not been files to make in them.
pub(super) fn close_mounts(room: &mut Room) -> Result<()> {
    for (index, mount) in std::mem::take(&mut room.to_be_readonly) {
        mount::change(mount.as_fd(), false, &READ_ONLY)
            .call(|| format!("mount_setattr(mounts[{index}], read-only)"))?;
    }
    Ok(())
}

/// Puts a read-only copy of each path on top of it; nosuid, nodev and noexec stay as they are there. Missing ones are skipped.
pub(super) fn protect(paths: &[PathBuf], room: &Room) -> Result<()> {
    let root = room.root()?;
    for path in paths {
        let protect = || {
            let Some(Found { fd, .. }) = find(root, path)? else {
                return Ok(());
            };
            let tree = mount::copy(fd.as_fd(), true).call(|| "open_tree()")?;
            mount::change(tree.as_fd(), false, &READ_ONLY).call(|| "mount_setattr()")?;
            mount::attach(tree.as_fd(), fd.as_fd()).call(|| "move_mount()")
        };
        protect().wrap(|| format!("read-only path {:?}", path.display()))?;
    }
    Ok(())
}

/// Hides each path: a file behind the null device, a directory behind an empty one, which they all share. Missing ones are
/// skipped.
pub(super) fn mask(paths: &[PathBuf], label: Option<&str>, room: &Room) -> Result<()> {
    let mut masks = Masks {
        label,
        room,
        null: None,
        empty: None,
    };
    paths.iter().try_for_each(|path| {
        masks
            .cover(path)
            .wrap(|| format!("can't mask path {:?}", path.display()))
    })
}

struct Masks<'a> {
    label: Option<&'a str>,
    room: &'a Room,
    /// The null device of the container.
    null: Option<OwnedFd>,
    /// The empty directory, once it is mounted somewhere.
    empty: Option<OwnedFd>,
}

impl Masks<'_> {
    fn cover(&mut self, path: &Path) -> Result<()> {
        let Some(Found { fd, .. }) = find(self.room.root()?, path)? else {
            return Ok(());
        };
        let directory = resolve::file_type(fd.as_fd()).call(|| "fstat()")? == FileType::Directory;
        let (tree, first) = match (&self.empty, directory) {
            (_, false) => (self.null()?, false),
            (Some(empty), true) => (mount::copy(empty.as_fd(), false).call(|| "open_tree(mask)")?, false),
            (None, true) => (filesystem::make_mask(self.label)?, true),
        };
        mount::attach(tree.as_fd(), fd.as_fd()).call(|| "move_mount(mask)")?;
        if first {
            self.empty = Some(tree);
        }
        Ok(())
    }

    fn null(&mut self) -> Result<OwnedFd> {
        if self.null.is_none() {
            self.null = Some(devices::find_null(self.room.root()?)?);
        }
        let null = self.null.as_ref().map_or(self.room.root()?, |fd| fd.as_fd());
        mount::copy(null, false).call(|| "open_tree(\"/dev/null\")")
    }
}

fn find(root: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<Option<Found>> {
    match resolve::find(root, path) {
        // Below something that is no directory there is nothing to hide.
        Err(rustix::io::Errno::NOTDIR) => Ok(None),
        other => other.call(|| "openat2()"),
    }
}

/// Makes the root itself read-only, not what is mounted in it.
pub(super) fn close_root(room: &Room) -> Result<()> {
    mount::change(room.root()?, false, &READ_ONLY).call(|| "mount_setattr(\"/\", read-only)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_become_files() {
        assert_eq!(sysctl_file("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(
            sysctl_file("net.ipv4.conf.eth0/1.forwarding"),
            "sys/net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
