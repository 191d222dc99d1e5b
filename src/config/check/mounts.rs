//! `mounts`: options to attributes, flags and file system data.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount as SpecMount;

use super::idmap::Wish;
use super::mount_options::{AccessTime, Meaning, attr, meaning};
use super::{IdMaps, flattened, no_nul, tidy};
use crate::config::{Mount, MountSource, Namespaces, Propagation, SymlinkRule};
use crate::error::{Error, Result};

/// What a mount is judged by.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub bundle: &'a Path,
    /// `root.path`; `None` for a container that has its root already.
    pub rootfs: Option<&'a Path>,
    pub namespaces: &'a Namespaces,
    /// The container's id mappings.
    pub ids: IdMaps<'a>,
}

pub(super) fn mounts(list: Option<&[SpecMount]>, around: Around<'_>, warnings: &mut Vec<String>) -> Result<Vec<Mount>> {
    let list = list.unwrap_or_default().iter().enumerate();
    list.map(|(index, entry)| mount(entry, index, around, warnings))
        .collect()
}

/// Checks one mount; `index` is its place in `mounts`.
fn mount(entry: &SpecMount, index: usize, around: Around<'_>, warnings: &mut Vec<String>) -> Result<Mount> {
    let at = format!("mounts[{index}]");
    let mut options = Options::default();
    for (i, option) in entry.options().iter().flatten().enumerate() {
        let at = || format!("{at}.options[{i}]");
        no_nul(option.as_bytes(), at)?;
        if !options
            .idmap
            .take(option, around.ids)
            .map_err(|problem| Error::config(at(), problem))?
        {
            options.take(option, at)?;
        }
    }
    let destination = destination(entry, around.rootfs, &at, warnings)?;
    let source = source(entry, &options, around.bundle, &at)?;
    options.agree_with(&source, &at)?;
    if matches!(source, MountSource::Bind { .. })
        && let Some(option) = options.data.first()
    {
        warnings.push(format!(
            "{at}.options: {option:?} is for a file system, a bind mount takes no notice of it"
        ));
        options.data.clear();
    }
    let idmap = options.idmap.decide(entry, &at, around.namespaces)?;
    let (attr_set, attr_clear) = options.here.of_mount();
    let (rec_attr_set, rec_attr_clear) = options.below.bits();
    Ok(Mount {
        index,
        destination,
        source,
        attr_set,
        attr_clear,
        rec_attr_set,
        rec_attr_clear,
        sb_flags: options.sb_set,
        sb_clear: options.sb_clear,
        propagation: options.propagation,
        data: options.data,
        copy_up: options.copy_up,
        idmap,
        symlink: options.symlink,
        remount: options.remount,
    })
}

/// What the options of one mount add up to.
#[derive(Default)]
struct Options {
    here: Attributes,
    below: Attributes,
    sb_set: u64,
    sb_clear: u64,
    propagation: Vec<Propagation>,
    data: Vec<String>,
    copy_up: bool,
    idmap: Wish,
    bind: Option<bool>,
    symlink: SymlinkRule,
    remount: bool,
}

/// Mount attributes as mount(2) would add them up: the last word on each counts.
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    time_named: bool,
    no_time: bool,
    strict_time: bool,
    relative_time: bool,
}

impl Attributes {
    fn change(&mut self, bits: u64, clear: bool) {
        let (into, from) = if clear {
            (&mut self.clear, &mut self.set)
        } else {
            (&mut self.set, &mut self.clear)
        };
        *into |= bits;
        *from &= !bits;
    }

    fn access_time(&mut self, way: AccessTime, clear: bool) {
        self.time_named = true;
        match way {
            AccessTime::No => self.no_time = !clear,
            AccessTime::Strict => self.strict_time = !clear,
            AccessTime::Relative => self.relative_time = !clear,
        }
    }

    /// To set and to clear for the mount itself, by mount(2): access times change all at once, when an option sets one of
    /// their flags. To take one away changes nothing.
    fn of_mount(&self) -> (u64, u64) {
        let sets = self.no_time || self.strict_time || self.relative_time || self.set & attr::NODIRATIME != 0;
        if !sets {
            return (self.set, self.clear & !attr::NODIRATIME);
        }
        let (set, clear) = self.bits();
        let rest = attr::NODIRATIME & !set;
        (set, clear | attr::ATIME_MASK | rest)
    }

    /// To set and to clear by mount_setattr(2). A way to keep access times is set only together with clearing the whole field.
    fn bits(&self) -> (u64, u64) {
        if !self.time_named {
            return (self.set, self.clear);
        }
        let time = match (self.strict_time, self.no_time) {
            (true, _) => attr::STRICTATIME,
            (false, true) => attr::NOATIME,
            (false, false) => 0,
        };
        (self.set | time, self.clear | attr::ATIME_MASK)
    }
}

impl Options {
    fn take(&mut self, option: &str, at: impl Fn() -> String) -> Result<()> {
        match meaning(option) {
            None => self.data.extend((!option.is_empty()).then(|| option.to_owned())),
            Some(Meaning::Nothing) => {}
            Some(Meaning::Attribute {
                bits,
                clear,
                recursive: false,
            }) => self.here.change(bits, clear),
            Some(Meaning::Attribute {
                bits,
                clear,
                recursive: true,
            }) => self.below.change(bits, clear),
            Some(Meaning::AccessTime {
                way,
                clear,
                recursive: false,
            }) => self.here.access_time(way, clear),
            Some(Meaning::AccessTime {
                way,
                clear,
                recursive: true,
            }) => self.below.access_time(way, clear),
            Some(Meaning::SuperBlock { flag, clear }) => {
                let (into, from) = if clear {
                    (&mut self.sb_clear, &mut self.sb_set)
                } else {
                    (&mut self.sb_set, &mut self.sb_clear)
                };
                *into |= flag;
                *from &= !flag;
            }
            Some(Meaning::Propagation(propagation)) => self.propagation.push(propagation),
            // rbind stays recursive when bind comes later.
            Some(Meaning::Bind { recursive }) => self.bind = Some(recursive || self.bind == Some(true)),
            Some(Meaning::IdMap { recursive }) => {
                self.idmap.option = Some(recursive || self.idmap.option == Some(true));
            }
            Some(Meaning::CopyUp) => self.copy_up = true,
            Some(Meaning::Remount) => self.remount = true,
            Some(Meaning::Symlink(rule)) => {
                self.symlink = joined(self.symlink, rule).ok_or_else(|| {
                    Error::config(
                        at(),
                        "copy-symlink excludes src-nofollow and dest-nofollow, drop one of them",
                    )
                })?;
            }
        }
        Ok(())
    }

    fn agree_with(&self, source: &MountSource, at: &str) -> Result<()> {
        let bad = |problem: String| Err(Error::config(format!("{at}.options"), problem));
        match source {
            MountSource::Filesystem { fstype, .. } if self.copy_up && fstype != "tmpfs" => {
                bad(format!("tmpcopyup works on tmpfs only, not on {fstype}"))
            }
            MountSource::Bind { .. } | MountSource::Cgroup if self.copy_up => {
                bad("tmpcopyup works on tmpfs only".to_owned())
            }
            MountSource::Filesystem { .. } | MountSource::Cgroup if self.symlink != SymlinkRule::Follow => {
                bad("copy-symlink, src-nofollow and dest-nofollow are for bind mounts only".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn joined(before: SymlinkRule, rule: SymlinkRule) -> Option<SymlinkRule> {
    use SymlinkRule as S;
    match (before, rule) {
        (S::Follow, rule) => Some(rule),
        (before, rule) if before == rule => Some(rule),
        (S::SourceNoFollow | S::DestinationNoFollow | S::NoFollow, S::SourceNoFollow | S::DestinationNoFollow) => {
            Some(S::NoFollow)
        }
        _ => None,
    }
}

/// Where to mount, seen from the container's root. As in runc a path on the host that leads into the root file system is taken
/// for what it means inside.
fn destination(entry: &SpecMount, rootfs: Option<&Path>, at: &str, warnings: &mut Vec<String>) -> Result<PathBuf> {
    let given = entry.destination();
    let at = || format!("{at}.destination");
    no_nul(given.as_os_str().as_bytes(), at)?;
    if given.as_os_str().is_empty() {
        return Err(Error::config(
            at(),
            "is empty, name the mount point inside the container",
        ));
    }
    if !given.is_absolute() {
        warnings.push(format!(
            "{}: {given:?} is relative, it is taken from /; this is deprecated",
            at()
        ));
    }
    let destination = tidy(&Path::new("/").join(given));
    let is_plain = !destination.components().any(|part| part == Component::ParentDir);
    let inside = rootfs
        .filter(|_| is_plain)
        .and_then(|rootfs| destination.strip_prefix(rootfs).ok());
    let destination = inside.map_or_else(|| destination.clone(), |inside| Path::new("/").join(inside));
    if flattened(&destination) == Path::new("/") {
        return Err(Error::config(
            at(),
            "cannot mount over the root of the container, use root.path for another root",
        ));
    }
    Ok(destination)
}

fn source(entry: &SpecMount, options: &Options, bundle: &Path, at: &str) -> Result<MountSource> {
    let fstype = entry.typ().as_deref().unwrap_or_default();
    let given = entry.source().as_deref().unwrap_or(Path::new(""));
    no_nul(fstype.as_bytes(), || format!("{at}.type"))?;
    no_nul(given.as_os_str().as_bytes(), || format!("{at}.source"))?;
    let bind = options.bind.or_else(|| (fstype == "bind").then_some(false));
    if let Some(recursive) = bind {
        if given.as_os_str().is_empty() {
            return Err(Error::config(
                format!("{at}.source"),
                "is missing, a bind mount needs the path on the host",
            ));
        }
        let path = tidy(&bundle.join(given));
        return Ok(MountSource::Bind { path, recursive });
    }
    match fstype {
        "" => {
            let problem = "is missing, name a file system, or add bind or rbind to the options";
            Err(Error::config(format!("{at}.type"), problem))
        }
        "cgroup" | "cgroup2" => Ok(MountSource::Cgroup),
        _ => {
            let Some(device) = given.to_str() else {
                return Err(Error::config(format!("{at}.source"), "is not valid UTF-8"));
            };
            let device = if device.is_empty() { "none" } else { device }.to_owned();
            Ok(MountSource::Filesystem {
                fstype: fstype.to_owned(),
                device,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::PropagationKind;

    fn parse(value: serde_json::Value) -> Result<Mount> {
        let entry = serde_json::from_value(value).unwrap();
        let around = Around {
            bundle: Path::new("/bundle"),
            rootfs: Some(Path::new("/bundle/rootfs")),
            namespaces: &Namespaces::default(),
            ids: IdMaps::default(),
        };
        mount(&entry, 0, around, &mut Vec::new())
    }

    fn with(options: &[&str]) -> Mount {
        parse(json!({"destination": "/d", "type": "tmpfs", "source": "tmpfs", "options": options})).unwrap()
    }

    #[test]
    fn the_last_word_counts() {
        let m = with(&["ro", "nosuid", "rw", "suid", "noexec"]);
        assert_eq!((m.attr_set, m.attr_clear), (attr::NOEXEC, attr::RDONLY | attr::NOSUID));
        let m = with(&["sync", "async", "lazytime"]);
        assert_eq!((m.sb_flags, m.sb_clear), (1 << 25, 1 << 4));
    }

    #[test]
    fn access_times_follow_mount_2() {
        let time = |options: &[&str]| {
            let m = with(options);
            (m.attr_set, m.attr_clear)
        };
        assert_eq!(time(&[]), (0, 0));
        assert_eq!(time(&["noatime"]), (0x10, 0xf0));
        assert_eq!(time(&["noatime", "strictatime"]), (0x20, 0xf0));
        assert_eq!(time(&["relatime", "nodiratime"]), (0x80, 0x70));
        assert_eq!(time(&["nodiratime"]), (0x80, 0x70));
        for nothing in [
            ["noatime", "atime"],
            ["strictatime", "nostrictatime"],
            ["diratime", "norelatime"],
        ] {
            assert_eq!(time(&nothing), (0, 0), "{nothing:?}");
        }
        let m = with(&["rnoatime", "rro", "rnodiratime"]);
        assert_eq!((m.rec_attr_set, m.rec_attr_clear), (0x10 | 0x1 | 0x80, 0x70));
        assert_eq!((m.attr_set, m.attr_clear), (0, 0));
    }

    #[test]
    fn what_is_unknown_is_data() {
        let m = with(&["mode=755", "size=64k", "", "tmpcopyup", "rshared"]);
        assert_eq!(m.data, ["mode=755", "size=64k"]);
        assert!(m.copy_up);
        assert_eq!(m.propagation[0].kind, PropagationKind::Shared);
    }

    #[test]
    fn binds() {
        let m =
            parse(json!({"destination": "d/e/", "type": "none", "source": "x", "options": ["rbind", "bind"]})).unwrap();
        assert_eq!(m.destination, Path::new("/d/e"));
        let path = PathBuf::from("/bundle/x");
        assert_eq!(m.source, MountSource::Bind { path, recursive: true });
        assert!(parse(json!({"destination": "/d", "options": ["bind"]})).is_err());
        let m = parse(json!({"destination": "/d", "source": "/x", "options": ["bind", "size=1", "ro"]})).unwrap();
        assert_eq!((m.data.len(), m.attr_set), (0, attr::RDONLY));
    }

    #[test]
    fn mappings_make_an_idmapped_mount() {
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let m = parse(
            json!({"destination": "/d", "source": "/x", "options": ["bind"], "uidMappings": map, "gidMappings": map}),
        )
        .unwrap();
        assert!(m.idmap.is_some_and(|i| !i.recursive && i.mappings.is_some()));
        assert!(parse(json!({"destination": "/d", "source": "/x", "options": ["bind"], "uidMappings": map})).is_err());
        assert!(parse(json!({"destination": "/d", "source": "/x", "options": ["bind", "idmap"]})).is_err());
    }

    #[test]
    fn the_root_is_no_mount_point() {
        let m = parse(json!({"destination": "/bundle/rootfs/d", "type": "tmpfs"})).unwrap();
        assert_eq!(m.destination, Path::new("/d"));
        for destination in ["/", "//", "/a/..", ".", "/..", "/bundle/rootfs/"] {
            assert!(
                parse(json!({"destination": destination, "type": "tmpfs"})).is_err(),
                "{destination}"
            );
        }
    }

    #[test]
    fn symlink_rules_combine() {
        let rule = |options: &[&str]| {
            parse(json!({"destination": "/d", "source": "/x", "type": "bind", "options": options})).map(|m| m.symlink)
        };
        assert_eq!(rule(&["src-nofollow", "dest-nofollow"]).unwrap(), SymlinkRule::NoFollow);
        assert_eq!(rule(&["copy-symlink"]).unwrap(), SymlinkRule::Copy);
        assert!(rule(&["copy-symlink", "src-nofollow"]).is_err());
    }
}
