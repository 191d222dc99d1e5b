//! Becoming the container's user, and what has to belong to that user.

use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::process_error;
use crate::error::{Error, Kind, Result, Wrap};
use crate::sys::cred;

/// Permission bits to add to the session keyring: search by its owner, or by anybody where a user namespace hides the owner
/// from the kernel's check.
pub(super) fn keyring_grant(user_namespace: bool) -> u32 {
    const OTHERS_MAY_SEARCH: u32 = 0x8;
    const USER_MAY_SEARCH: u32 = 0x8_0000;
    if user_namespace {
        OTHERS_MAY_SEARCH
    } else {
        USER_MAY_SEARCH
    }
}

/// Leaves the caller's session keyring. A kernel without keyrings is no obstacle.
pub(super) fn join_keyring(name: &str, grant: Option<u32>) -> Result<()> {
    let key = match cred::join_session_keyring(name) {
        Ok(key) => key,
        Err(e) if e.errno() == Some(nix::libc::ENOSYS) => return Ok(()),
        Err(e) => return Err(e).wrap(|| "join the session keyring (--no-new-keyring does without)"),
    };
    let Some(grant) = grant else { return Ok(()) };
    cred::key_permissions(key)
        .and_then(|now| cred::set_key_permissions(key, now | grant))
        .wrap(|| "let the session keyring be found (--no-new-keyring does without)")
}

/// Groups, group and user, in the order that keeps the right to do the next; the permitted capabilities survive.
pub(super) fn become_user(uid: u32, gid: u32, groups: Option<&[u32]>, user_namespace: bool) -> Result<()> {
    cred::keep_capabilities(true)?;
    if let Some(groups) = groups {
        become_member(groups, user_namespace)?;
    }
    cred::set_gid(gid).map_err(|e| unmapped(e, "gid", || gid.to_string()))?;
    cred::set_uid(uid).map_err(|e| unmapped(e, "uid", || uid.to_string()))?;
    cred::keep_capabilities(false)
}

fn become_member(groups: &[u32], user_namespace: bool) -> Result<()> {
    match cred::set_groups(groups) {
        // In a user namespace made without privilege setgroups is denied for good.
        Err(e) if user_namespace && e.errno() == Some(nix::libc::EPERM) => match groups {
            [] => Ok(()),
            _ => Err(process_error(
                "user.additionalGids",
                "a rootless container without newgidmap can have none",
            )),
        },
        other => other.map_err(|e| unmapped(e, "additionalGids", || format!("{groups:?}"))),
    }
}

fn unmapped(e: Error, field: &str, value: impl FnOnce() -> String) -> Error {
    match e.kind() {
        Kind::Sys {
            errno: nix::libc::EINVAL,
            ..
        } => process_error(
            &format!("user.{field}"),
            format!("{} is not mapped in the container's user namespace", value()),
        ),
        _ => e.wrap(format!("set process.user.{field}")),
    }
}

/// Gives stdin, stdout and stderr to `uid`, so that the payload can open `/dev/stdout` anew. The group stays.
///
/// Only what was made for the container is given away: pipes, sockets, terminals, and files that are open for writing. Other
/// files and devices (the host's `/dev/null`, a password file on stdin) keep their owner. What the user namespace does not
/// map, or a read-only mount protects, stays as it is.
pub(super) fn own_stdio(uid: u32) -> Result<()> {
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = match rustix::fs::fstat(fd) {
            Ok(stat) => stat,
            Err(Errno::BADF) => continue,
            Err(e) => return Err(Error::sys("fstat(stdio)", e)),
        };
        if stat.st_uid == uid || !ours_to_give(fd, FileType::from_raw_mode(stat.st_mode)) {
            continue;
        }
        match rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(Error::sys(format!("fchown(stdio, {uid})"), e)),
        }
    }
    Ok(())
}

fn ours_to_give(fd: BorrowedFd<'_>, kind: FileType) -> bool {
    match kind {
        FileType::Fifo | FileType::Socket => true,
        FileType::CharacterDevice => rustix::termios::isatty(fd),
        FileType::RegularFile => rustix::fs::fcntl_getfl(fd).is_ok_and(|f| f.intersects(WRITABLE)),
        _ => false,
    }
}

const WRITABLE: rustix::fs::OFlags = rustix::fs::OFlags::WRONLY.union(rustix::fs::OFlags::RDWR);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn ours(file: &impl AsFd) -> bool {
        let mode = rustix::fs::fstat(file).unwrap().st_mode;
        ours_to_give(file.as_fd(), FileType::from_raw_mode(mode))
    }

    #[test]
    fn devices_and_files_of_the_host_keep_their_owner() {
        use std::fs::OpenOptions;
        assert!(!ours(
            &OpenOptions::new().read(true).write(true).open("/dev/null").unwrap()
        ));
        assert!(!ours(&OpenOptions::new().read(true).open("/dev/zero").unwrap()));
        assert!(!ours(&OpenOptions::new().read(true).open("/etc/passwd").unwrap()));
        let (read_end, write_end) = rustix::pipe::pipe().unwrap();
        assert!(ours(&read_end) && ours(&write_end));
        let log = std::env::temp_dir().join(format!("runw-log-{}", std::process::id()));
        assert!(ours(&std::fs::File::create(&log).unwrap()));
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn an_unmapped_id_is_an_error_of_the_config() {
        let e = unmapped(Error::sys("setresuid(9)", nix::errno::Errno::EINVAL), "uid", || {
            "9".to_owned()
        });
        assert!(
            e.to_string()
                .starts_with("config.json: process.user.uid: 9 is not mapped"),
            "{e}"
        );
    }
}
