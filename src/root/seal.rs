//! Inside the new root: sysctls, read-only and masked paths.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::resolve::{self, Found};
use super::tree::{self, Alteration, Tree};
use super::{MountLabel, Room, devices, filesystem};
use crate::error::{Result, ResultExt, Wrap};
use crate::sys::mount::{Change, attr};

pub(super) const READ_ONLY: Alteration = Alteration {
    recursive: false,
    change: Change {
        set: attr::RDONLY,
        clear: 0,
        propagation: 0,
        idmap: None,
    },
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
        tree::alter(mount.as_fd(), READ_ONLY, room).wrap(|| format!("mounts[{index}]"))?;
    }
    Ok(())
}

/// Puts a read-only copy of each path on top of it; nosuid, nodev and noexec stay as they are there. Missing ones are skipped.
pub(super) fn protect(paths: &[PathBuf], room: &mut Room) -> Result<()> {
    for path in paths {
        let protect = |room: &mut Room| {
            let Some(Found { fd, .. }) = find(room.root()?, path)? else {
                return Ok(());
            };
            let copy = Tree::copy(fd.as_fd(), true)?;
            copy.attach(fd.as_fd(), &[READ_ONLY], room).map(drop)
        };
        protect(room).wrap(|| format!("read-only path {:?}", path.display()))?;
    }
    Ok(())
}

/// Hides each path: a file behind the null device, a directory behind an empty one, which they all share. Missing ones are
/// skipped.
pub(super) fn mask(paths: &[PathBuf], label: Option<&MountLabel>, room: &mut Room) -> Result<()> {
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
    label: Option<&'a MountLabel>,
    room: &'a mut Room,
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
        let tree = match (&self.empty, directory) {
            (_, false) => self.null()?,
            (Some(empty), true) => Tree::copy(empty.as_fd(), false)?,
            (None, true) => filesystem::make_mask(self.label)?,
        };
        let mask = tree.attach(fd.as_fd(), &[], self.room)?;
        if directory {
            self.empty.get_or_insert(mask);
        }
        Ok(())
    }

    fn null(&mut self) -> Result<Tree> {
        let null = match self.null.take() {
            Some(null) => null,
            None => devices::find_null(self.room.root()?)?,
        };
        let null = self.null.insert(null);
        Tree::copy(null.as_fd(), false)
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
pub(super) fn close_root(room: &mut Room) -> Result<()> {
    let root = room.shared_root()?;
    tree::alter(root.as_fd(), READ_ONLY, room)
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
