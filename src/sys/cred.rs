//! Who the calling process is: ids, the five capability sets, no_new_privs, the session keyring.
//!
//! The kernel keeps all of these per thread. Each verb changes the calling thread only, which is the whole process: runw is
//! single-threaded until its payload runs.

use rustix::thread::{CapabilitySet, CapabilitySets};
use rustix::thread::{Gid, Uid};

use crate::error::{Error, Result, ResultExt};

/// `CAP_SYS_ADMIN` as a mask.
pub const CAP_SYS_ADMIN: u64 = 1 << 21;

/// The sets that capset(2) writes, as masks (bit n = capability n, capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSets {
    /// Checked by the kernel.
    pub effective: u64,
    /// The most that `effective` can become.
    pub permitted: u64,
    /// Passed through execve to files that name them.
    pub inheritable: u64,
}

/// The calling thread's sets (capget(2)).
pub fn capabilities() -> Result<CapSets> {
    let sets = rustix::thread::capabilities(None).call(|| "capget")?;
    Ok(CapSets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Replaces the calling thread's sets (capset(2)).
///
/// # Errors
/// `EPERM` for a permitted capability that the thread does not have, for an effective one that is not permitted, and for an
/// inheritable one outside the bounding set.
pub fn set_capabilities(sets: CapSets) -> Result<()> {
    let raw = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, raw).call(|| {
        format!(
            "capset(effective={:#x}, permitted={:#x}, inheritable={:#x})",
            sets.effective, sets.permitted, sets.inheritable
        )
    })
}

/// Drops every capability outside `keep` from the bounding set (`PR_CAPBSET_DROP`); numbers unknown to the kernel end the
/// walk.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, and only if something had to be dropped.
pub fn limit_bounding(keep: u64) -> Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if keep & one.bits() != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(_) if rustix::thread::capability_is_in_bounding_set(one) == Ok(false) => {}
            Err(e) => return Err(Error::sys(format!("prctl(PR_CAPBSET_DROP, {number})"), e)),
        }
    }
    Ok(())
}

/// Makes the ambient set what is possible of `wanted` (`PR_CAP_AMBIENT`): a capability that is not both permitted and
/// inheritable cannot be ambient and is left out.
///
/// # Errors
/// Only those of a kernel that has ambient capabilities and refuses to clear them.
pub fn set_ambient(wanted: u64) -> Result<()> {
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) => {}
        Err(rustix::io::Errno::INVAL) => return Ok(()),
        Err(e) => return Err(Error::sys("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", e)),
    }
    for number in (0..64).filter(|n| wanted & (1 << n) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // A refusal means "not permitted or not inheritable"; the spec wants such a set to be cut down, not to fail.
        let _ = rustix::thread::configure_capability_in_ambient_set(one, true);
    }
    Ok(())
}

/// Keeps the permitted set over a change of user ids (`PR_SET_KEEPCAPS`); execve clears the flag.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    rustix::thread::set_keep_capabilities(keep).call(|| "prctl(PR_SET_KEEPCAPS)")
}

/// No execve grants privileges any more (`PR_SET_NO_NEW_PRIVS`); for good.
pub fn set_no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true).call(|| "prctl(PR_SET_NO_NEW_PRIVS)")
}

/// Replaces the supplementary groups (setgroups(2)).
///
/// # Errors
/// `EPERM` without `CAP_SETGID` and in a user namespace whose `/proc/PID/setgroups` says `deny`, `EINVAL` for an unmapped id.
pub fn set_groups(gids: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = gids.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups).call(|| format!("setgroups({gids:?})"))
}

/// Sets the real, effective and saved group id (setresgid(2)).
pub fn set_gid(gid: u32) -> Result<()> {
    let id = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(id, id, id).call(|| format!("setresgid({gid})"))
}

/// Sets the real, effective and saved user id (setresuid(2)).
pub fn set_uid(uid: u32) -> Result<()> {
    let id = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(id, id, id).call(|| format!("setresuid({uid})"))
}

/// The serial number of a key or keyring (keyrings(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySerial(i32);

/// Leaves the caller's session keyring for the one of this name, which is made if there is none to be found
/// (`KEYCTL_JOIN_SESSION_KEYRING`).
///
/// # Errors
/// `ENOSYS` on kernels without keyrings, `EDQUOT` when the user has too many keys.
pub fn join_session_keyring(name: &str) -> Result<KeySerial> {
    let c_name = std::ffi::CString::new(name).map_err(|_| Error::message("keyring name with a NUL byte"))?;
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let r = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_keyctl,
            nix::libc::KEYCTL_JOIN_SESSION_KEYRING as u64,
            c_name.as_ptr(),
        )
    };
    serial(r, || format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})"))
}

/// The permission bits of a key (`KEYCTL_DESCRIBE`: `type;uid;gid;perm;description`).
pub fn key_permissions(key: KeySerial) -> Result<u32> {
    let mut text = [0u8; 512];
    // SAFETY: the kernel writes at most `text.len()` bytes into `text`.
    let r = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_keyctl,
            nix::libc::KEYCTL_DESCRIBE as u64,
            key.0,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    if r < 0 {
        return Err(Error::sys("keyctl(KEYCTL_DESCRIBE)", nix::errno::Errno::last()));
    }
    let end = (r as usize).min(text.len());
    permissions_of(&text[..end]).ok_or_else(|| Error::message("keyctl(KEYCTL_DESCRIBE): answer not understood"))
}

fn permissions_of(description: &[u8]) -> Option<u32> {
    let field = description.split(|b| *b == b';').nth(3)?;
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

/// Changes the permission bits of a key (`KEYCTL_SETPERM`).
pub fn set_key_permissions(key: KeySerial, permissions: u32) -> Result<()> {
    // SAFETY: the call takes numbers only.
    let r = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_keyctl,
            nix::libc::KEYCTL_SETPERM as u64,
            key.0,
            permissions,
        )
    };
    if r < 0 {
        Err(Error::sys("keyctl(KEYCTL_SETPERM)", nix::errno::Errno::last()))
    } else {
        Ok(())
    }
}

fn serial(r: i64, call: impl FnOnce() -> String) -> Result<KeySerial> {
    if r < 0 {
        Err(Error::sys(call(), nix::errno::Errno::last()))
    } else {
        Ok(KeySerial(r as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_permissions_out_of_a_key_description() {
        assert_eq!(permissions_of(b"keyring;0;0;3f130000;_ses.x\0"), Some(0x3f13_0000));
        assert_eq!(permissions_of(b"keyring;0;0"), None);
        assert_eq!(permissions_of(b"keyring;0;0;xyz;n"), None);
    }

    #[test]
    fn the_thread_has_no_effective_capability_that_is_not_permitted() {
        let sets = capabilities().unwrap();
        assert_eq!(sets.effective & !sets.permitted, 0);
    }
}
