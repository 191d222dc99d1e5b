//! What of a container comes from outside, so that CRIU neither saves nor makes it: bind mounts, cgroups, joined namespaces,
//! the standard streams.
//!
//! At a checkpoint each gets a name, at the restore the same name is given to what stands in its place. The names are runc's,
//! so either runtime restores what the other has saved.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Cgroup};
use crate::config::{Config, MountSource, NamespaceKind, NamespaceSource};
use crate::error::{Error, Result, ResultExt};
use crate::root;

/// The file beside the images that holds the targets of the standard streams as a JSON array of strings.
const DESCRIPTORS: &str = "descriptors.json";

/// How the names of pipes and of files begin.
const PIPE: &str = "pipe:";
const FILE: &str = "file[";

/// The name that all masked files share, and what covers them.
const MASK: &str = "/dev/null";

/// What `checkpoint` has to know of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct External {
    /// Where something of the host is mounted: bind mounts, cgroups of v1, device nodes.
    pub mounts: Vec<PathBuf>,
    /// `linux.maskedPaths`.
    pub masked: Vec<PathBuf>,
    /// Joined namespaces of the kinds that CRIU can leave alone.
    pub namespaces: Vec<NamespaceKind>,
    /// What the standard streams were when init was made, as the links in `/proc/self/fd` tell it.
    pub streams: Vec<String>,
}

impl External {
    /// What of a container with this config and cgroup comes from outside.
    pub fn of(config: &Config, cgroup: &Cgroup) -> External {
        External {
            mounts: mounts(config, cgroup).into_iter().map(|(name, _)| name).collect(),
            masked: config.masked_paths.clone(),
            namespaces: joined(config).map(|(kind, _)| kind).collect(),
            streams: own_streams(),
        }
    }

    /// Names for the mounts of a running container, with the paths that they have in its mount table.
    ///
    /// # Errors
    /// A path cannot be looked up in the container.
    pub fn mounts_of(&self, pid: i32) -> Result<Vec<(PathBuf, PathBuf)>> {
        let path = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        let root = std::os::fd::AsFd::as_fd(&root);
        let mut all = Vec::new();
        for mount in &self.mounts {
            let place = root::locate(root, mount)?.map_or_else(|| mount.clone(), |(place, _)| place);
            all.push((place.clone(), place));
        }
        for path in &self.masked {
            if let Some((place, false)) = root::locate(root, path)? {
                all.push((place, PathBuf::from(MASK)));
            }
        }
        Ok(all)
    }

    /// Names for the joined namespaces of a running container.
    ///
    /// # Errors
    /// The container is gone.
    pub fn namespaces_of(&self, pid: i32) -> Result<Vec<String>> {
        let name = |kind: &NamespaceKind| {
            let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
            let stat = rustix::fs::stat(&path).call(|| format!("stat({path:?})"))?;
            Ok(format!(
                "{}[{}]:{}",
                kind.proc_name(),
                stat.st_ino,
                namespace_name(*kind)
            ))
        };
        self.namespaces.iter().map(name).collect()
    }

    /// The standard streams of a running container: pipes as they were, files that lie outside of the container by the names
    /// that CRIU has for them (criu(8), `--external file[MNT:INODE]`; both hexadecimal).
    pub fn streams_of(&self, pid: i32) -> Vec<String> {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let stream = |(number, was): (usize, &String)| match outside_file(pid, number, &mounts) {
            Some(file) if !was.starts_with(PIPE) => file,
            _ => was.clone(),
        };
        self.streams.iter().enumerate().map(stream).collect()
    }
}

/// The name of the regular file behind a descriptor, if it lies on none of the `mounts` (proc_pid_mountinfo(5)).
fn outside_file(pid: i32, number: usize, mounts: &str) -> Option<String> {
    let stat = rustix::fs::stat(format!("/proc/{pid}/fd/{number}")).ok()?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return None;
    }
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let inside = mounts.lines().any(|line| line.split(' ').next() == Some(mount));
    let mount: u32 = mount.parse().ok()?;
    (!inside).then(|| format!("{FILE}{mount:x}:{:x}]", stat.st_ino))
}

/// The files among the streams, each once: what a dump has to be told.
pub fn files(streams: &[String]) -> Vec<String> {
    let mut files: Vec<String> = streams
        .iter()
        .filter(|stream| stream.starts_with(FILE))
        .cloned()
        .collect();
    files.dedup();
    files
}

/// Writes what the streams are beside the images in `folder`.
///
/// # Errors
/// The file cannot be written.
pub fn save_streams(streams: &[String], folder: &Path) -> Result<()> {
    let path = folder.join(DESCRIPTORS);
    let text = serde_json::to_vec(streams).map_err(|e| Error::message(e.to_string()))?;
    std::fs::write(&path, text).call(|| format!("write {path:?}"))
}

/// The pipes and files that were the standard streams of the saved container, with the numbers of our own that take their
/// places.
///
/// # Errors
/// The images in `folder` are not those of a container, or the file is broken.
pub fn saved_streams(folder: &Path) -> Result<Vec<(String, i32)>> {
    let path = folder.join(DESCRIPTORS);
    let text = std::fs::read(&path).call(|| format!("read {path:?}"))?;
    let streams: Vec<String> =
        serde_json::from_slice(&text).map_err(|e| Error::message(format!("{path:?} is not a list of streams: {e}")))?;
    let mut inherited: Vec<(String, i32)> = Vec::new();
    for (number, stream) in (0..).zip(streams) {
        let known = inherited.iter().any(|(name, _)| *name == stream);
        if (stream.starts_with(PIPE) || stream.starts_with(FILE)) && !known {
            inherited.push((stream, number));
        }
    }
    Ok(inherited)
}

/// What is mounted from outside: its name, which is where, and the path of the host.
pub fn mounts(config: &Config, cgroup: &Cgroup) -> Vec<(PathBuf, PathBuf)> {
    let mut all = Vec::new();
    for mount in config.mounts.iter().filter(|mount| !mount.remount) {
        let destination = root::resolve::clean(&mount.destination);
        match &mount.source {
            MountSource::Bind { path, .. } => all.push((destination, path.clone())),
            MountSource::Cgroup => all.extend(cgroup_mounts(config, cgroup, &destination)),
            MountSource::Filesystem { .. } => {}
        }
    }
    all.extend(root::bound_devices(config).into_iter().map(|path| (path.clone(), path)));
    all
}

/// What covers the masked files of a restored container.
pub fn mask(config: &Config) -> Option<(PathBuf, PathBuf)> {
    (!config.masked_paths.is_empty()).then(|| (PathBuf::from(MASK), PathBuf::from(MASK)))
}

/// On v1 the container's cgroups are bound from the host, unless it has a cgroup namespace.
fn cgroup_mounts(config: &Config, cgroup: &Cgroup, destination: &Path) -> Vec<(PathBuf, PathBuf)> {
    if cgroup.mode() == cgroup::Mode::Unified || config.namespaces.is_own(NamespaceKind::Cgroup) {
        return Vec::new();
    }
    let places = cgroup.places().iter().filter(|place| !place.is_unified());
    places
        .map(|place| (destination.join(place.name()), place.dir()))
        .collect()
}

/// The joined namespaces of the kinds that CRIU knows as external ones, with their files.
fn joined(config: &Config) -> impl Iterator<Item = (NamespaceKind, &Path)> {
    let kinds = [NamespaceKind::Network, NamespaceKind::Pid].into_iter();
    kinds.filter_map(|kind| match config.namespaces.source(kind) {
        NamespaceSource::Path(path) => Some((kind, path.as_path())),
        _ => None,
    })
}

/// Opens the namespaces that a restored container joins from outside: name and descriptor.
///
/// # Errors
/// One is not there.
pub fn open_namespaces(config: &Config) -> Result<Vec<(String, OwnedFd)>> {
    let open = |(kind, path): (NamespaceKind, &Path)| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = file.call(|| format!("open the {} namespace {path:?}", kind.config_name()))?;
        Ok((namespace_name(kind), file))
    };
    joined(config).map(open).collect()
}

/// The other namespaces that a restored container joins: name for CRIU and file.
///
/// # Errors
/// One is of a kind that CRIU cannot join.
pub fn other_namespaces(config: &Config) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut all = Vec::new();
    for kind in NamespaceKind::ALL {
        match (kind, config.namespaces.source(kind)) {
            (NamespaceKind::Network | NamespaceKind::Pid, _) => {}
            (NamespaceKind::Cgroup, NamespaceSource::Path(_)) => {
                return Err(Error::unsupported(
                    "restore: criu cannot join a cgroup namespace; leave the path of that namespace out of config.json",
                ));
            }
            (_, NamespaceSource::Path(path)) => all.push((kind.proc_name(), path.clone())),
            _ => {}
        }
    }
    Ok(all)
}

/// `extRootNetNS`, `extRootPidNS`
fn namespace_name(kind: NamespaceKind) -> String {
    let name = kind.proc_name();
    let (first, rest) = name.split_at(1);
    format!("extRoot{}{rest}NS", first.to_uppercase())
}

/// What the standard streams of this process are, which are those of init, too.
fn own_streams() -> Vec<String> {
    let target = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let shown = |number| target(number).map_or_else(|_| String::new(), |link| link.display().to_string());
    (0..3).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_runc() {
        assert_eq!(namespace_name(NamespaceKind::Network), "extRootNetNS");
        assert_eq!(namespace_name(NamespaceKind::Pid), "extRootPidNS");
    }

    #[test]
    fn a_file_is_outside_unless_its_mount_is_known() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file) as usize;
        let own = std::process::id() as i32;
        let name = outside_file(own, number, "").unwrap();
        assert!(name.starts_with("file[") && name.ends_with(']'), "{name}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(outside_file(own, number, &mounts), None);
    }

    #[test]
    fn pipes_and_files_are_inherited_once() {
        let dir = std::env::temp_dir().join(format!("runw-streams-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (streams, inherited) in [
            (["/dev/null", "pipe:[7]", "/a/file"], vec![("pipe:[7]", 1)]),
            (
                ["pipe:[1]", "file[1b:2c]", "file[1b:2c]"],
                vec![("pipe:[1]", 0), ("file[1b:2c]", 1)],
            ),
        ] {
            save_streams(&streams.map(str::to_owned), &dir).unwrap();
            let found = saved_streams(&dir).unwrap();
            let found: Vec<(&str, i32)> = found.iter().map(|(name, number)| (name.as_str(), *number)).collect();
            assert_eq!(found, inherited);
        }
        std::fs::write(dir.join(DESCRIPTORS), "{").unwrap();
        assert!(
            saved_streams(&dir)
                .unwrap_err()
                .to_string()
                .contains("not a list of streams")
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
