//! Landlock (landlock(7)): rights that a process gives up for good, checked by the kernel below all mounts.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use crate::error::{Error, Result};

/// Rights to files (`LANDLOCK_ACCESS_FS_*`).
pub mod access {
    /// Execute a file.
    pub const EXECUTE: u64 = 1 << 0;
    /// Make a device node.
    pub const MAKE_CHAR: u64 = 1 << 6;
    /// Make a block device node.
    pub const MAKE_BLOCK: u64 = 1 << 11;
    /// Link or rename from one folder to another; denied by any ruleset that does not grant it.
    pub const REFER: u64 = 1 << 13;
    /// ioctl(2) on a device (version 5).
    pub const IOCTL_DEV: u64 = 1 << 15;
}

/// Connect to abstract unix sockets, and signal processes, outside of the domain (`LANDLOCK_SCOPE_*`, version 6).
const SCOPE_ALL: u64 = 0b11;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Attributes {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    parent: i32,
}

/// The kernel's version of Landlock; `None` where there is none.
pub fn version() -> Option<u32> {
    // SAFETY: with this flag the kernel wants a null pointer and a size of 0.
    let r = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Attributes>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(r).ok().filter(|version| *version > 0)
}

/// Takes the rights `denied` from the calling thread and its descendants, on all files, and the right to reach out of its domain
/// by abstract sockets and signals. The rights `granted`, of those that Landlock takes unasked, stay below `root`.
///
/// # Errors
/// `EPERM` without no_new_privs or `CAP_SYS_ADMIN`; `E2BIG` for the 17th domain in a row.
pub fn restrict(version: u32, denied: u64, granted: u64, root: BorrowedFd<'_>) -> Result<()> {
    let attributes = Attributes {
        fs: denied | granted,
        net: 0,
        scoped: if version >= 6 { SCOPE_ALL } else { 0 },
    };
    // Older kernels know fewer members.
    let size = match version {
        ..4 => 8_usize,
        4..6 => 16,
        6.. => 24,
    };
    // SAFETY: the kernel reads `size` bytes of the structure, which is at least as large.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32) };
    let ruleset = checked(ruleset, "landlock_create_ruleset")?;
    // SAFETY: the call gave a new descriptor that nobody else owns.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as i32) };
    let rule = PathBeneath {
        access: granted,
        parent: root.as_raw_fd(),
    };
    // SAFETY: the kernel reads one structure of the type that the number names.
    let r = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    checked(r, "landlock_add_rule")?;
    // SAFETY: the call takes a descriptor and flags.
    let r = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    checked(r, "landlock_restrict_self").map(drop)
}

fn checked(r: libc::c_long, call: &str) -> Result<libc::c_long> {
    match r {
        r if r < 0 => Err(Error::sys(call, Errno::last())),
        r => Ok(r),
    }
}
