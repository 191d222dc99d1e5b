//! Which cgroup hierarchies the host has, and where the runtime itself sits in them.
//!
//! On a host with cgroup v2 that is one `statfs`. On v1 each hierarchy named by `/proc/self/cgroup` is looked for at its usual
//! place below `/sys/fs/cgroup`; the mount table, which is long on hosts with many containers, is read only if one is not there
//! or if a relative path makes the root of the mounts matter.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

use super::dir::read_text;
use crate::error::{Result, Wrap};

/// Where every distribution mounts cgroups.
pub const MOUNTPOINT: &str = "/sys/fs/cgroup";

const CGROUP_MAGIC: u32 = 0x0027_e0eb;
const CGROUP2_MAGIC: u32 = 0x6367_7270;

/// How the host's cgroup hierarchies are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One cgroup v2 hierarchy at `/sys/fs/cgroup`.
    Unified,
    /// cgroup v1 hierarchies below `/sys/fs/cgroup`.
    Legacy,
    /// Like `Legacy`, and a cgroup v2 hierarchy without limits at `/sys/fs/cgroup/unified`.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers as `/proc/self/cgroup` names them (`cpu`, `cpuacct`; `name=systemd`); empty for cgroup v2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The cgroup that is the root of the mount, `/` but for containers that see a part of their host's hierarchy. `None`
    /// when the mount table was not read.
    pub root: Option<String>,
    /// The cgroup of the runtime itself, from the hierarchy's root.
    pub own: String,
}

impl Hierarchy {
    /// cgroup v2.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// The hierarchies of the host that containers take part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How they are set up.
    pub mode: Mode,
    /// In the order of `/proc/self/cgroup`; empty when no cgroup file system is mounted.
    pub hierarchies: Vec<Hierarchy>,
}

/// Looks at the host.
///
/// # Errors
/// `/proc/self/cgroup` or `/proc/self/mountinfo` cannot be read. A host without cgroups is not an error here.
pub fn layout() -> Result<Layout> {
    let memberships = parse_memberships(&read_text("/proc/self/cgroup")?);
    if magic(Path::new(MOUNTPOINT)) == Some(CGROUP2_MAGIC) {
        return Ok(unified(memberships));
    }
    let mut layout = Layout {
        mode: Mode::Legacy,
        hierarchies: memberships.into_iter().filter_map(usual_place).collect(),
    };
    if layout.hierarchies.iter().any(|h| h.mountpoint.as_os_str().is_empty()) {
        layout.read_mounts()?;
        layout.hierarchies.retain(|h| !h.mountpoint.as_os_str().is_empty());
    }
    if layout.hierarchies.iter().any(Hierarchy::is_unified) {
        layout.mode = Mode::Hybrid;
    }
    Ok(layout)
}

impl Layout {
    /// The roots of the mounts are known, or need not be: the runtime is in the root cgroup everywhere.
    pub(super) fn roots_known(&self) -> bool {
        self.hierarchies
            .iter()
            .all(|h| h.root.is_some() || h.own == "/" || h.is_unified())
    }

    /// Fills in mountpoints that are missing and the roots of all mounts.
    pub(super) fn read_mounts(&mut self) -> Result<()> {
        let text = read_text("/proc/self/mountinfo").wrap(|| "find the cgroup mounts")?;
        for hierarchy in &mut self.hierarchies {
            fill_in(hierarchy, &text);
        }
        Ok(())
    }
}

fn unified(memberships: Vec<Membership>) -> Layout {
    let own = memberships
        .into_iter()
        .find(|m| m.controllers.is_empty())
        .map_or_else(|| "/".to_owned(), |m| m.path);
    Layout {
        mode: Mode::Unified,
        hierarchies: vec![Hierarchy {
            controllers: Vec::new(),
            mountpoint: MOUNTPOINT.into(),
            root: None,
            own,
        }],
    }
}

/// One line of `/proc/self/cgroup`.
#[derive(Debug, PartialEq, Eq)]
struct Membership {
    controllers: Vec<String>,
    path: String,
}

fn parse_memberships(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?.split(',').filter(|c| !c.is_empty());
            Some(Membership {
                controllers: controllers.map(str::to_owned).collect(),
                path: fields.next()?.to_owned(),
            })
        })
        .collect()
}

/// A hierarchy on a v1 host, with an empty mountpoint if it is not where it usually is. `None` for one that containers do not
/// join: named ones (but systemd's) and a cgroup v2 that is not mounted.
fn usual_place(membership: Membership) -> Option<Hierarchy> {
    let Membership { controllers, path } = membership;
    let (name, expected) = match controllers.as_slice() {
        [] => ("unified".to_owned(), CGROUP2_MAGIC),
        [name] if name.starts_with("name=") && name != "name=systemd" => return None,
        [name] => (name.trim_start_matches("name=").to_owned(), CGROUP_MAGIC),
        _ => (controllers.join(","), CGROUP_MAGIC),
    };
    let mut mountpoint = Path::new(MOUNTPOINT).join(name);
    if magic(&mountpoint) != Some(expected) {
        if controllers.is_empty() {
            return None;
        }
        mountpoint = PathBuf::new();
    }
    Some(Hierarchy {
        controllers,
        mountpoint,
        root: None,
        own: path,
    })
}

fn magic(path: &Path) -> Option<u32> {
    statfs(path).ok().map(|s| s.f_type as u32)
}

/// Takes the root, and the mountpoint if it is missing, from mountinfo (proc_pid_mountinfo(5)). Of several mounts of one
/// hierarchy the one at the known mountpoint counts, otherwise the first.
fn fill_in(hierarchy: &mut Hierarchy, mountinfo: &str) {
    let found = mountinfo.lines().find_map(|line| {
        let mount = Mount::parse(line)?;
        let known = hierarchy.mountpoint.as_os_str().is_empty() || hierarchy.mountpoint == mount.mountpoint;
        (known && mount.carries(hierarchy)).then_some(mount)
    });
    if let Some(mount) = found {
        hierarchy.root = Some(mount.root);
        hierarchy.mountpoint = mount.mountpoint;
    }
}

struct Mount<'a> {
    root: String,
    mountpoint: PathBuf,
    fstype: &'a str,
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        let root = unescape(front.next()?);
        let mountpoint = unescape(front.next()?).into();
        let fstype = back.next()?;
        let super_options = back.nth(1)?;
        Some(Mount {
            root,
            mountpoint,
            fstype,
            super_options,
        })
    }

    fn carries(&self, hierarchy: &Hierarchy) -> bool {
        if hierarchy.is_unified() {
            return self.fstype == "cgroup2";
        }
        self.fstype == "cgroup"
            && hierarchy
                .controllers
                .iter()
                .all(|c| self.super_options.split(',').any(|o| o == c))
    }
}

/// Undoes the octal escapes of mountinfo (blank, tab, newline and backslash).
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |s, (code, text)| s.replace(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_of_v1_named_and_v2() {
        let text = "12:name=systemd:/\n3:cpu,cpuacct:/a:b\n0::/user.slice\n";
        let parsed = parse_memberships(text);
        assert_eq!(parsed.len(), 3);
        assert_eq!(parsed[0].controllers, ["name=systemd"]);
        assert_eq!(parsed[1].controllers, ["cpu", "cpuacct"]);
        assert_eq!(parsed[1].path, "/a:b");
        assert!(parsed[2].controllers.is_empty());
        assert_eq!(parsed[2].path, "/user.slice");
    }

    #[test]
    fn other_named_hierarchies_are_left_alone() {
        let named = Membership {
            controllers: vec!["name=elogind".into()],
            path: "/".into(),
        };
        assert_eq!(usual_place(named), None);
    }

    fn hierarchy(controllers: &[&str], mountpoint: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            mountpoint: mountpoint.into(),
            root: None,
            own: "/docker/x".into(),
        }
    }

    const MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:7 - cgroup cgroup rw,cpuacct,cpu
33 31 0:31 / /mnt/a\\040b rw - cgroup cgroup rw,xattr,name=systemd
34 31 0:38 /.. /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn roots_and_odd_mountpoints_come_from_mountinfo() {
        let mut cpu = hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct");
        fill_in(&mut cpu, MOUNTINFO);
        assert_eq!(cpu.root.as_deref(), Some("/docker/x"));

        let mut systemd = hierarchy(&["name=systemd"], "");
        fill_in(&mut systemd, MOUNTINFO);
        assert_eq!(systemd.mountpoint, Path::new("/mnt/a b"));

        let mut v2 = hierarchy(&[], "/sys/fs/cgroup/unified");
        fill_in(&mut v2, MOUNTINFO);
        assert_eq!(v2.root.as_deref(), Some("/.."));

        let mut absent = hierarchy(&["perf_event"], "");
        fill_in(&mut absent, MOUNTINFO);
        assert!(absent.mountpoint.as_os_str().is_empty());
    }
}
