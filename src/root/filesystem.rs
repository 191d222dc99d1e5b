//! New mounts of file systems: options become parameters (pure), parameters become a detached mount.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::config::Mount;
use crate::error::{Error, Result, ResultExt};
use crate::sys::mount::{FsContext, attr};

/// One option of a file system as fsconfig(2) takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parameter {
    /// `newinstance`
    Flag(String),
    /// `size=64k`
    Text(String, String),
}

/// Super block flags (mount(2)) and the options that stand for them; the kernel has no option for the others.
const SUPER_BLOCK_OPTIONS: [(u64, &str, &str); 4] = [
    (1 << 4, "sync", "async"),
    (1 << 7, "dirsync", ""),
    (1 << 25, "lazytime", "nolazytime"),
    (1 << 6, "mand", "nomand"),
];

/// File systems for which `ro` is a matter of the mount only: they have no medium, or share it with other mounts.
const WITHOUT_MEDIUM: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// The parameters for a new file system of this type. An entry of `options` may hold several options with commas between them;
/// a comma that belongs to a value is written `\,`.
pub(super) fn parameters(mount: &Mount, fstype: &str, device: &str, label: Option<&str>) -> Vec<Parameter> {
    let mut out = Vec::with_capacity(mount.data.len() + 2);
    if device != "none" {
        out.push(Parameter::Text("source".into(), device.into()));
    }
    out.extend(mount.data.iter().flat_map(|entry| split_options(entry)).map(parameter));
    for (flag, on, off) in SUPER_BLOCK_OPTIONS {
        if mount.sb_flags & flag != 0 {
            out.push(Parameter::Flag(on.into()));
        } else if mount.sb_clear & flag != 0 && !off.is_empty() {
            out.push(Parameter::Flag(off.into()));
        }
    }
    if mount.attr_set & attr::RDONLY != 0 && !WITHOUT_MEDIUM.contains(&fstype) {
        out.push(Parameter::Flag("ro".into()));
    }
    if let Some(label) = label {
        out.push(Parameter::Text("context".into(), label.into()));
    }
    out
}

fn parameter(option: &str) -> Parameter {
    match option.split_once('=') {
        Some((key, value)) => Parameter::Text(key.into(), value.into()),
        None => Parameter::Flag(option.into()),
    }
}

/// Splits at commas that no backslash protects.
pub(super) fn split_options(entry: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut begin = 0;
    let mut escaped = false;
    for (at, c) in entry.char_indices() {
        if c == ',' && !escaped {
            out.push(&entry[begin..at]);
            begin = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    out.push(&entry[begin..]);
    out.retain(|option| !option.is_empty());
    out
}

/// A tmpfs without `mode=` takes the mode of the directory that it covers.
pub(super) fn take_over_mode(parameters: &mut Vec<Parameter>, covered: &OwnedFd) -> Result<()> {
    let has_mode = |p: &Parameter| matches!(p, Parameter::Text(key, _) if key == "mode");
    if !parameters.iter().any(has_mode) {
        let mode = rustix::fs::fstat(covered).call(|| "fstat(mountpoint)")?.st_mode & 0o7777;
        parameters.push(Parameter::Text("mode".into(), format!("{mode:o}")));
    }
    Ok(())
}

/// Makes a detached mount of a new file system.
pub(super) fn make(fstype: &str, parameters: &[Parameter], attributes: u64) -> Result<OwnedFd> {
    let fs = FsContext::open(fstype).map_err(|e| Error::sys(format!("fsopen({fstype:?})"), e))?;
    let failed = |what: String, e: Errno| {
        let complaint = fs.complaint();
        let hint = if complaint.is_empty() {
            String::new()
        } else {
            format!(" [{complaint}]")
        };
        Error::sys(format!("{what}{hint}"), e)
    };
    for parameter in parameters {
        match parameter {
            Parameter::Flag(key) => fs
                .flag(key)
                .map_err(|e| failed(format!("fsconfig({fstype}, {key:?})"), e))?,
            Parameter::Text(key, value) => fs
                .text(key, value)
                .map_err(|e| failed(format!("fsconfig({fstype}, {key:?}, {value:?})"), e))?,
        }
    }
    fs.mount(attributes)
        .map_err(|e| failed(format!("fsmount({fstype})"), e))
}

/// A detached, empty, read-only directory to hide others with.
pub(super) fn make_mask(label: Option<&str>) -> Result<OwnedFd> {
    let with_inodes = |count: &str| {
        let text = |key: &str, value: &str| Parameter::Text(key.into(), value.into());
        let mut parameters = vec![
            text("source", "tmpfs"),
            text("nr_blocks", "1"),
            text("nr_inodes", count),
            Parameter::Flag("ro".into()),
        ];
        parameters.extend(label.map(|label| text("context", label)));
        make("tmpfs", &parameters, attr::RDONLY)
    };
    // Some distribution kernels refuse a tmpfs of one inode.
    with_inodes("1").or_else(|_| with_inodes("2"))
}

#[cfg(test)]
mod tests {
    use super::super::mount::tests::filesystem;
    use super::*;

    fn flag(key: &str) -> Parameter {
        Parameter::Flag(key.into())
    }

    fn text(key: &str, value: &str) -> Parameter {
        Parameter::Text(key.into(), value.into())
    }

    #[test]
    fn options_become_parameters() {
        let mut mount = filesystem("devpts", "/dev/pts");
        mount.data = vec!["newinstance".into(), "ptmxmode=0666,mode=0620".into(), "gid=5".into()];
        assert_eq!(
            parameters(&mount, "devpts", "devpts", None),
            [
                text("source", "devpts"),
                flag("newinstance"),
                text("ptmxmode", "0666"),
                text("mode", "0620"),
                text("gid", "5"),
            ]
        );
    }

    #[test]
    fn super_block_flags_have_options_and_a_medium_is_read_only_itself() {
        let mut mount = filesystem("ext4", "/data");
        mount.sb_flags = 1 << 4 | 1 << 7;
        mount.sb_clear = 1 << 25;
        mount.attr_set = attr::RDONLY;
        assert_eq!(
            parameters(&mount, "ext4", "/dev/sdb", Some("label")),
            [
                text("source", "/dev/sdb"),
                flag("sync"),
                flag("dirsync"),
                flag("nolazytime"),
                flag("ro"),
                text("context", "label"),
            ]
        );
        assert!(!parameters(&mount, "sysfs", "none", None).contains(&flag("ro")));
    }

    #[test]
    fn escaped_commas_stay() {
        assert_eq!(
            split_options(r"lowerdir=/a\,b:/c,upperdir=/u,,x\\,y"),
            [r"lowerdir=/a\,b:/c", "upperdir=/u", r"x\\", "y"]
        );
    }
}
