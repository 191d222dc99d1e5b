//! AppArmor profiles and SELinux labels, written through a procfs that is known to be one.
//!
//! The files lie in `/proc/thread-self/attr`. A path below the container's `/proc` could lead elsewhere (CVE-2019-16884,
//! CVE-2025-52881), so the walk starts at a descriptor for a real procfs root and crosses no mount.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::process_error;
use crate::config::Process;
use crate::error::{Result, ResultExt, Wrap};

/// A label to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// `process.apparmorProfile`, at the next execve or now.
    AppArmor {
        /// The profile's name.
        profile: String,
        /// Now instead of at execve.
        now: bool,
    },
    /// `process.selinuxLabel`, at the next execve or now.
    Selinux {
        /// The label.
        label: String,
        /// Now instead of at execve.
        now: bool,
    },
    /// The SELinux label of keys and keyrings made from now on; empty for the default.
    SelinuxKeys(String),
}

impl Label {
    /// The files to try, in this order, and what to write.
    fn writing(&self) -> (&'static [&'static str], String) {
        match self {
            Label::AppArmor { profile, now: false } => (
                &["thread-self/attr/apparmor/exec", "thread-self/attr/exec"],
                format!("exec {profile}"),
            ),
            Label::AppArmor { profile, now: true } => (
                &["thread-self/attr/apparmor/current", "thread-self/attr/current"],
                format!("changeprofile {profile}"),
            ),
            Label::Selinux { label, now: false } => (&["thread-self/attr/exec"], label.clone()),
            Label::Selinux { label, now: true } => (&["thread-self/attr/current"], label.clone()),
            Label::SelinuxKeys(label) => (&["thread-self/attr/keycreate"], label.clone()),
        }
    }

    fn field(&self) -> &'static str {
        match self {
            Label::AppArmor { .. } => "process.apparmorProfile",
            Label::Selinux { .. } | Label::SelinuxKeys(_) => "process.selinuxLabel",
        }
    }

    /// Writes the label, below `proc` or, without that, below `/proc` if it is the root of a procfs.
    pub(super) fn write(&self, proc: Option<BorrowedFd<'_>>) -> Result<()> {
        let (files, text) = self.writing();
        match proc {
            Some(proc) => write(proc, files, &text),
            None => write(std::os::fd::AsFd::as_fd(&procfs()?), files, &text),
        }
        .wrap(|| format!("apply {}", self.field()))
    }
}

/// Refuses labels that no security module of this kernel would understand.
pub(super) fn check(process: &Process) -> Result<()> {
    if process.apparmor_profile.is_some() && !apparmor_enabled() {
        return Err(process_error(
            "apparmorProfile",
            "AppArmor is not enabled on this host; leave the profile out",
        ));
    }
    if process.selinux_label.is_some() && !selinux_enabled() {
        return Err(process_error(
            "selinuxLabel",
            "SELinux is not enabled on this host; leave the label out",
        ));
    }
    Ok(())
}

fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether SELinux labels mean anything on this host.
pub fn selinux_enabled() -> bool {
    const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|s| s.f_type == SELINUX_MAGIC)
}

/// The procfs of the calling process at its usual place.
///
/// # Errors
/// `/proc` is something else.
pub fn procfs() -> Result<std::os::fd::OwnedFd> {
    open_proc(Path::new("/proc"))
}

/// Opens the root of a procfs, and nothing else, at `path`.
fn open_proc(path: &Path) -> Result<std::os::fd::OwnedFd> {
    const PROC_ROOT_INODE: u64 = 1;
    let call = || format!("open({path:?})");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open(path, flags, Mode::empty()).call(call)?;
    let kind = rustix::fs::fstatfs(&proc).call(call)?.f_type;
    let inode = rustix::fs::fstat(&proc).call(call)?.st_ino;
    if kind != nix::libc::PROC_SUPER_MAGIC || inode != PROC_ROOT_INODE {
        return Err(crate::Error::message(format!("{path:?} is not the root of a procfs")));
    }
    Ok(proc)
}

fn write(proc: BorrowedFd<'_>, files: &[&str], text: &str) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    for (i, file) in files.iter().enumerate() {
        match rustix::fs::openat2(proc, *file, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT) if i + 1 < files.len() => {}
            opened => {
                // Podman knows the failure by a path in backquotes that ends like this; no backquote may follow.
                let fd = opened.call(|| format!("open `/proc/{file}`"))?;
                rustix::io::write(&fd, text.as_bytes()).call(|| format!("write {text:?} to `/proc/{file}`"))?;
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_words_of_each_module() {
        let apparmor = |now| Label::AppArmor {
            profile: "p".to_owned(),
            now,
        };
        assert_eq!(apparmor(false).writing().1, "exec p");
        assert_eq!(apparmor(true).writing().1, "changeprofile p");
        let selinux = Label::Selinux {
            label: "l".to_owned(),
            now: true,
        };
        assert_eq!(selinux.writing(), (&["thread-self/attr/current"][..], "l".to_owned()));
    }

    #[test]
    fn a_failure_names_the_file_as_podman_looks_for_it() {
        // No module takes these, and none at all takes nothing.
        let label = "no such label".to_owned();
        for (now, ending) in [(false, "/exec`"), (true, "/current`")] {
            let selinux = Label::Selinux {
                label: label.clone(),
                now,
            };
            let apparmor = Label::AppArmor {
                profile: label.clone(),
                now,
            };
            for refused in [selinux, apparmor] {
                let text = refused.write(None).unwrap_err().to_string();
                let (first, last) = (text.find("`/proc/").unwrap(), text.rfind('`').unwrap());
                let path = &text[first..=last];
                assert!(path.contains("/attr/") && path.ends_with(ending), "{text}");
                assert!(text.starts_with("apply process."), "{text}");
            }
        }
    }

    #[test]
    fn only_a_procfs_root_counts_as_one() {
        open_proc(Path::new("/proc")).unwrap();
        assert!(open_proc(Path::new("/proc/self")).is_err());
        assert!(open_proc(Path::new("/proc/sys")).is_err());
        assert!(open_proc(Path::new("/tmp")).is_err());
    }
}
