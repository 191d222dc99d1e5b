//! The cgroup of a process that joins a running container.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::dir::{Dir, is_forbidden, is_gone, read_text};
use super::{Cgroup, Mode, Place};
use crate::error::{Error, Kind, Result, Wrap};

impl Cgroup {
    /// The cgroup below this one that `--cgroup` names: one path for all hierarchies, or `CONTROLLER[,CONTROLLER…]:PATH` for
    /// some of v1. Without any it is the cgroup itself.
    ///
    /// # Errors
    /// A path that leads out of the container's cgroup, an unknown controller, one controller twice.
    pub fn below(&self, wanted: &[String]) -> Result<Cgroup> {
        let mut cgroup = self.clone();
        if wanted.is_empty() {
            return Ok(cgroup);
        }
        let mut taken: Vec<String> = Vec::new();
        for word in wanted {
            let Some((controllers, path)) = word.split_once(':') else {
                if wanted.len() > 1 {
                    return Err(usage(format!(
                        "invalid --cgroup argument: {word} (missing <controller>: prefix)"
                    )));
                }
                cgroup.descend(self, |_| true, &inner(word)?);
                return cgroup.there();
            };
            let path = inner(path)?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(usage(format!(
                        "invalid --cgroup argument: {word} (empty <controller> prefix)"
                    )));
                }
                if taken.iter().any(|t| t == controller) {
                    let problem = format!("controller {controller} specified multiple times");
                    return Err(usage(format!("invalid --cgroup argument(s): {problem}")));
                }
                taken.push(controller.to_owned());
                let found = cgroup.descend(self, |place| place.carries(controller), &path);
                if !found {
                    return Err(usage(format!("--cgroup: unknown controller {controller}")));
                }
            }
        }
        cgroup.there()
    }

    /// All its folders are there: `exec` makes none.
    fn there(self) -> Result<Cgroup> {
        match self.places.iter().map(Place::dir).find(|dir| !dir.is_dir()) {
            Some(dir) if !self.is_lenient() => {
                // runc would find out when it opens this file.
                let file = dir.join("cgroup.procs");
                let call = format!("error adding pid of the process to cgroups: open {}", file.display());
                Err(Error::sys(call, rustix::io::Errno::NOENT))
            }
            _ => Ok(self),
        }
    }

    /// Moves some of the places from where they are in `base` to `inner` below that. Controllers that share a hierarchy share
    /// its path: the last one named counts.
    fn descend(&mut self, base: &Cgroup, which: impl Fn(&Place) -> bool, inner: &Path) -> bool {
        let hybrid = self.mode == Mode::Hybrid;
        let mut found = false;
        for (place, base) in self.places.iter_mut().zip(&base.places).filter(|(p, _)| which(p)) {
            found = true;
            let mut below = base.clone();
            if inner != Path::new("") {
                below.path = Path::new(&base.path).join(inner).to_string_lossy().into_owned();
            }
            // Nobody keeps the unified hierarchy of a hybrid host in step with the others.
            if !(hybrid && place.is_unified()) || below.dir().is_dir() {
                *place = below;
            }
        }
        found
    }

    /// The unified folder to be born into (`CLONE_INTO_CGROUP`), if there is one.
    ///
    /// A container that has a cgroup tree of its own may have left the folder it was given, or have made it an inner node that
    /// takes no processes: then, unless a cgroup was asked for (`exact`), it is the one that its `init` is in.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn door(&self, init: Pid, exact: bool) -> Result<Option<OwnedFd>> {
        let Some(dir) = self.unified_dir() else {
            return Ok(None);
        };
        match Dir::open(&dir) {
            Ok(dir) => Ok(Some(dir.into_fd())),
            Err(e) if self.is_lenient() && is_forbidden(&e) => Ok(None),
            Err(e) if is_gone(&e) && !exact => self.door_of(init),
            Err(e) => Err(e.wrap("open the container's cgroup")),
        }
    }

    /// The unified folder that `init` is in now.
    ///
    /// # Errors
    /// It cannot be found or opened.
    pub fn door_of(&self, init: Pid) -> Result<Option<OwnedFd>> {
        let Some(place) = self.places.iter().find(|p| p.is_unified()) else {
            return Ok(None);
        };
        let text = read_text(&format!("/proc/{}/cgroup", init.as_raw_nonzero()))?;
        let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
            return Ok(None);
        };
        let dir = Dir::open(&place.mountpoint.join(path)).wrap(|| "open the cgroup of the container's init")?;
        Ok(Some(dir.into_fd()))
    }
}

/// A path below the container's cgroup, without its leading slash.
fn inner(path: &str) -> Result<PathBuf> {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(usage(format!("bad sub cgroup path: {path} is not a sub cgroup path")));
            }
        }
    }
    match path.contains(['\0', '\n']) {
        true => Err(usage(format!("bad sub cgroup path: {path:?}"))),
        false => Ok(clean),
    }
}

fn usage(text: String) -> Error {
    Error::new(Kind::Usage(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1() -> Cgroup {
        let place = |controllers: &[&str]| Place {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            mountpoint: format!("/sys/fs/cgroup/{}", controllers.join(",")).into(),
            path: "/c".to_owned(),
        };
        Cgroup {
            mode: Mode::Legacy,
            places: vec![place(&["cpu", "cpuacct"]), place(&["memory"])],
            ..Cgroup::disabled()
        }
    }

    fn paths(words: &[&str]) -> Result<Vec<String>> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        // The folders of this machine are of no concern here.
        let lenient = v1().rootless(true);
        Ok(lenient.below(&words)?.places.into_iter().map(|p| p.path).collect())
    }

    #[test]
    fn one_path_for_all_or_one_for_each() {
        assert_eq!(paths(&[]).unwrap(), ["/c", "/c"]);
        assert_eq!(paths(&["/"]).unwrap(), ["/c", "/c"]);
        assert_eq!(paths(&["a/b"]).unwrap(), ["/c/a/b", "/c/a/b"]);
        assert_eq!(paths(&["memory:x"]).unwrap(), ["/c", "/c/x"]);
        assert_eq!(paths(&["cpu,cpuacct:/y", "memory:z"]).unwrap(), ["/c/y", "/c/z"]);
    }

    #[test]
    fn nothing_leads_out() {
        for bad in ["..", "../x", "a/../..", "memory:../c2", "/../d", "a\nb"] {
            let text = paths(&[bad]).unwrap_err().to_string();
            assert!(text.starts_with("bad sub cgroup path"), "{bad}: {text}");
        }
        for (bad, why) in [
            (&["a", "b"][..], "missing <controller>: prefix"),
            (&[":a"], "empty <controller> prefix"),
            (&["memory:a", "memory:b"], "specified multiple times"),
            (&["turbo:a"], "unknown controller turbo"),
        ] {
            let text = paths(bad).unwrap_err().to_string();
            assert!(text.contains(why), "{bad:?}: {text}");
        }
    }
}
