//! Mounts by file descriptor: the mount interface of Linux 5.2 and 5.12, one verb per intent.
//!
//! A mount is made detached, given its attributes, and only then put into the tree; nobody ever sees it half done, and no path
//! is looked up twice. The classic mount(2) is here only for kernels (or outer sandboxes) that refuse the newer calls; it is
//! given `/proc/self/fd` paths, never a path of the container.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

/// Attributes of a mount as mount_setattr(2) and fsmount(2) know them.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The bits that hold the choice of access times; to change it all of them are cleared first.
    pub const ATIME: u64 = 0x70;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never updated.
    pub const NODIRATIME: u64 = 0x80;
    /// The mount maps ids.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed (Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'fd> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear; cleared before `set` is applied.
    pub clear: u64,
    /// Propagation to give it (`MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`), or 0.
    pub propagation: u64,
    /// The user namespace whose mappings the mount uses from now on.
    pub idmap: Option<BorrowedFd<'fd>>,
}

impl Change<'_> {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set | self.clear | self.propagation == 0 && self.idmap.is_none()
    }
}

/// `struct mount_attr` of mount_setattr(2), its first published version.
#[derive(Clone, Copy)]
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of the mount that `mount` is the root of, or of everything mounted below it too (mount_setattr(2)).
pub fn change(mount: BorrowedFd<'_>, recursive: bool, change: &Change<'_>) -> Result<()> {
    // The access time is an enumeration inside the flags: choosing a value means clearing the old one.
    let atime = if change.set & attr::ATIME != 0 { attr::ATIME } else { 0 };
    let args = MountAttr {
        attr_set: change.set | change.idmap.map_or(0, |_| attr::IDMAP),
        attr_clr: change.clear | atime,
        propagation: change.propagation,
        userns_fd: change.idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    match set_attr(mount, recursive, &args) {
        // Before Linux 5.14 there is no such attribute, so there is none to clear either.
        Err(Errno::INVAL) if args.attr_clr & !args.attr_set & attr::NOSYMFOLLOW != 0 => {
            let args = MountAttr {
                attr_clr: args.attr_clr & !attr::NOSYMFOLLOW,
                ..args
            };
            set_attr(mount, recursive, &args)
        }
        other => other,
    }
}

fn set_attr(mount: BorrowedFd<'_>, recursive: bool, args: &MountAttr) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant C string and `args` a live, fully initialised structure whose size is passed along.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(args),
            size_of::<MountAttr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// How to take a copy of a mount (open_tree(2) with `OPEN_TREE_CLONE`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Copying {
    /// With everything mounted below it.
    pub recursive: bool,
    /// If the last component is a symbolic link, take the link itself.
    pub no_follow: bool,
}

/// A detached copy of the mount tree at `path`, seen from `dir` if relative.
pub fn copy_at(dir: BorrowedFd<'_>, path: &Path, how: Copying) -> Result<OwnedFd> {
    rustix::mount::open_tree(dir, path, copy_flags(how))
}

/// A detached copy of the mount tree that begins at the very inode of `fd`.
pub fn copy(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let how = Copying {
        recursive,
        no_follow: false,
    };
    rustix::mount::open_tree(fd, c"", copy_flags(how) | OpenTreeFlags::AT_EMPTY_PATH)
}

fn copy_flags(how: Copying) -> OpenTreeFlags {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, how.recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, how.no_follow);
    flags
}

/// Puts the mount of `mount` on top of the inode of `target` (move_mount(2)).
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// Begins a new mount of a file system, or the reconfiguration of one (fsopen(2), fspick(2)).
pub struct FsContext(OwnedFd);

impl FsContext {
    /// A context for a file system of this type.
    pub fn open(fstype: &str) -> Result<Self> {
        rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).map(FsContext)
    }

    /// A context for the file system that is mounted at `mount`.
    pub fn pick(mount: BorrowedFd<'_>) -> Result<Self> {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        rustix::mount::fspick(mount, c"", flags).map(FsContext)
    }

    /// Sets an option without a value.
    pub fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.0, key)
    }

    /// Sets an option with a value.
    pub fn text(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.0, key, value)
    }

    /// Makes (or finds) the file system and returns a detached mount of it with these attributes.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.0)?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    /// Applies the options to the file system that was picked.
    pub fn reconfigure(&self) -> Result<()> {
        rustix::mount::fsconfig_reconfigure(&self.0)
    }

    /// What the kernel has to say about the last failure (`tmpfs: Bad value for 'size'`), or an empty string.
    pub fn complaint(&self) -> String {
        let mut line = [0u8; 512];
        match rustix::io::read(&self.0, &mut line) {
            // Each message begins with its class: `e `, `w ` or `i `.
            Ok(n) if n > 2 => String::from_utf8_lossy(&line[2..n]).trim_end().to_owned(),
            _ => String::new(),
        }
    }
}

/// Changes the propagation of the mount at `path` by the classic call; `flags` are `MS_*`.
pub fn propagate(path: &CStr, flags: u64) -> Result<()> {
    rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(flags as u32))
}

/// Mounts a copy of what is at `path`, with all that is mounted in it, on itself (mount(2), `MS_BIND`, `MS_REC`).
pub fn bind_on_itself(path: &Path) -> Result<()> {
    rustix::mount::mount_bind_recursive(path, path)
}

/// The classic mount(2), for kernels without the newer calls. `target` must be a path below `/proc/self/fd`.
pub fn classic(source: &Path, target: &Path, fstype: &str, flags: u64, data: &str) -> Result<()> {
    let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
    let data = (!data.is_empty()).then_some(data.as_c_str());
    rustix::mount::mount(source, target, fstype, MountFlags::from_bits_retain(flags as u32), data)
}

/// Takes the mount at `path` out of the tree at once and lets it go when it is no longer in use (umount2(2)).
pub fn detach(path: impl rustix::path::Arg) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH)
}

/// Makes the current directory the root of the mount namespace and stacks the old root on top of it (pivot_root(2), NOTES).
pub fn pivot_here() -> Result<()> {
    rustix::process::pivot_root(c".", c".")
}

/// A descriptor for the directory at `path` that can be used for lookups only.
pub fn open_dir(path: &CStr) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty())
}

/// Makes `dir` the current directory.
pub fn enter_dir(dir: impl AsFd) -> Result<()> {
    rustix::process::fchdir(dir)
}
