//! New mounts of file systems: options become parameters (pure), parameters become a detached mount.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::tree::{Classic, Tree};
use super::{MountLabel, attributes};
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

/// `iversion`, for which only mount(2) has a flag.
const WITHOUT_OPTION: u64 = 1 << 23;

/// File systems for which `ro` is a matter of the mount only: they have no medium, or share it with other mounts.
const WITHOUT_MEDIUM: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// A file system to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Its type.
    pub fstype: String,
    /// Its source.
    pub device: String,
    /// Its options, without the source.
    pub parameters: Vec<Parameter>,
    /// Attributes of the mount.
    pub attributes: u64,
    /// Super block flags.
    pub flags: u64,
}

impl Recipe {
    /// A file system without options.
    pub(super) fn new(fstype: &str, device: &str, attributes: u64) -> Self {
        Recipe {
            fstype: fstype.into(),
            device: device.into(),
            parameters: Vec::new(),
            attributes,
            flags: 0,
        }
    }

    /// What an entry of `mounts` asks for. An entry of its options may hold several, with commas between them; a comma that
    /// belongs to a value is written `\,`.
    pub(super) fn of(mount: &Mount, fstype: &str, device: &str, attributes: u64) -> Self {
        let mut out = Recipe::new(fstype, device, attributes);
        out.flags = mount.sb_flags;
        let options = mount.data.iter().flat_map(|entry| split_options(entry));
        out.parameters.extend(options.map(parameter));
        for (flag, on, off) in SUPER_BLOCK_OPTIONS {
            if mount.sb_flags & flag != 0 {
                out.parameters.push(Parameter::Flag(on.into()));
            } else if mount.sb_clear & flag != 0 && !off.is_empty() {
                out.parameters.push(Parameter::Flag(off.into()));
            }
        }
        if mount.attr_set & attr::RDONLY != 0 && !WITHOUT_MEDIUM.contains(&fstype) {
            out.parameters.push(Parameter::Flag("ro".into()));
        }
        out
    }

    /// Adds an option with a value.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.parameters.push(Parameter::Text(key.into(), value.into()));
        self
    }

    /// Adds the SELinux label of the files.
    #[must_use]
    pub(super) fn labelled(self, label: Option<&MountLabel>) -> Self {
        match label {
            Some(label) => self.with(label.context.option(), &label.text),
            None => self,
        }
    }

    /// A tmpfs without `mode=` takes the mode of the directory that it covers.
    pub(super) fn take_over_mode(self, covered: BorrowedFd<'_>) -> Result<Self> {
        let has_mode = |p: &Parameter| matches!(p, Parameter::Text(key, _) if key == "mode");
        if self.parameters.iter().any(has_mode) {
            return Ok(self);
        }
        let mode = rustix::fs::fstat(covered).call(|| "fstat(mountpoint)")?.st_mode & 0o7777;
        Ok(self.with("mode", &format!("{mode:o}")))
    }

    /// The flags for mount(2).
    pub(super) fn mount_flags(&self) -> u64 {
        attributes::to_mount_flags(self.attributes) | self.flags
    }

    /// The options for mount(2).
    pub(super) fn data(&self) -> String {
        let is_flag =
            |key: &str| key == "ro" || SUPER_BLOCK_OPTIONS.iter().any(|(_, on, off)| key == *on || key == *off);
        let options = self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Flag(key) if is_flag(key) => None,
            Parameter::Flag(key) => Some(key.clone()),
            // A label holds commas.
            Parameter::Text(key, value) if key.ends_with("context") => Some(format!("{key}={value:?}")),
            Parameter::Text(key, value) => Some(format!("{key}={value}")),
        });
        options.collect::<Vec<_>>().join(",")
    }

    /// Makes a detached mount of it. Where the newer calls refuse, mount(2) is the second try: it may know better.
    pub(super) fn make(self) -> Result<Tree> {
        if self.flags & WITHOUT_OPTION != 0 {
            let why = Error::sys("fsopen()", Errno::NOSYS);
            return Ok(Tree::Classic(Classic::New(self), why));
        }
        match self.detached() {
            Ok(fd) => Ok(Tree::Detached(fd)),
            Err(why) if matches!(why.errno(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)) => {
                Ok(Tree::Classic(Classic::New(self), why))
            }
            Err(e) => Err(e),
        }
    }

    fn detached(&self) -> Result<OwnedFd> {
        let fstype = self.fstype.as_str();
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
        if self.device != "none" {
            let device = self.device.as_str();
            fs.text("source", device)
                .map_err(|e| failed(format!("fsconfig({fstype}, \"source\", {device:?})"), e))?;
        }
        for parameter in &self.parameters {
            match parameter {
                Parameter::Flag(key) => fs
                    .flag(key)
                    .map_err(|e| failed(format!("fsconfig({fstype}, {key:?})"), e))?,
                Parameter::Text(key, value) => fs
                    .text(key, value)
                    .map_err(|e| failed(format!("fsconfig({fstype}, {key:?}, {value:?})"), e))?,
            }
        }
        fs.mount(self.attributes)
            .map_err(|e| failed(format!("fsmount({fstype})"), e))
    }

    /// Gives the file system that is mounted at `mount` these options.
    pub(super) fn reconfigure(&self, mount: BorrowedFd<'_>) -> Result<()> {
        let fs = FsContext::pick(mount).call(|| "fspick()")?;
        for parameter in &self.parameters {
            match parameter {
                Parameter::Flag(key) => fs.flag(key),
                Parameter::Text(key, value) => fs.text(key, value),
            }
            .call(|| format!("fsconfig({parameter:?})"))?;
        }
        fs.reconfigure()
            .call(|| format!("fsconfig({}, reconfigure)", self.fstype))
    }
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

/// An empty, read-only directory to hide others with.
pub(super) fn make_mask(label: Option<&MountLabel>) -> Result<Tree> {
    let with_inodes = |count: &str| {
        let recipe = Recipe::new("tmpfs", "tmpfs", attr::RDONLY)
            .with("nr_blocks", "1")
            .with("nr_inodes", count);
        let mut recipe = recipe.labelled(label);
        recipe.parameters.push(Parameter::Flag("ro".into()));
        recipe.make()
    };
    // Some distribution kernels refuse a tmpfs of one inode.
    match with_inodes("1") {
        Ok(Tree::Classic(..)) | Err(_) => with_inodes("2"),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::super::mount::tests::filesystem;
    use super::*;
    use crate::config::MountContext;

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
        let recipe = Recipe::of(&mount, "devpts", "devpts", attr::NOSUID);
        assert_eq!(recipe.data(), "newinstance,ptmxmode=0666,mode=0620,gid=5");
        assert_eq!(
            recipe.parameters,
            [
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
        let label = |context| MountLabel {
            context,
            text: "a,b".into(),
        };
        let recipe = |context| Recipe::of(&mount, "ext4", "/dev/sdb", attr::RDONLY).labelled(Some(&label(context)));
        assert_eq!(recipe(MountContext::Root).data(), "rootcontext=\"a,b\"");
        let recipe = recipe(MountContext::Context);
        assert_eq!(recipe.data(), "context=\"a,b\"");
        assert_eq!(recipe.mount_flags(), 1 | 1 << 4 | 1 << 7 | 1 << 21);
        assert_eq!(
            recipe.parameters,
            [
                flag("sync"),
                flag("dirsync"),
                flag("nolazytime"),
                flag("ro"),
                text("context", "a,b"),
            ]
        );
        assert!(!Recipe::of(&mount, "sysfs", "none", 0).parameters.contains(&flag("ro")));
    }

    #[test]
    fn escaped_commas_stay() {
        assert_eq!(
            split_options(r"lowerdir=/a\,b:/c,upperdir=/u,,x\\,y"),
            [r"lowerdir=/a\,b:/c", "upperdir=/u", r"x\\", "y"]
        );
    }
}
