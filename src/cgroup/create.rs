//! Making a cgroup and setting its limits.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::apply::apply;
use super::devices::{self, Filter};
use super::dir::{self, Dir, is_forbidden};
use super::write::Write;
use super::{Cgroup, Mode, Place, cpuset, missing_controller, v1, v2};
use crate::config::Resources;
use crate::error::{Error, Result, Wrap};

/// Controllers of v2 that work in threaded cgroups (cgroups(7)); `cgroup` are the core's own files.
const THREADED: [&str; 5] = ["cgroup", "cpu", "cpuset", "perf_event", "pids"];

/// Cgroups made so far: removed again unless kept.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        dir::unmake(&self.0);
    }
}

impl Cgroup {
    /// The first half of making a cgroup: makes the folder of cgroup v2 (hybrid hosts, too) with the controllers enabled on the
    /// way to it, and returns it for `CLONE_INTO_CGROUP`. Whatever can be found wrong with `resources` is found here.
    ///
    /// A rootless runtime that was not given a path may find that it can make none, or not in all hierarchies: `self` then has
    /// fewer [`places`](Cgroup::places).
    ///
    /// # Errors
    /// The cgroup has processes or is frozen, a controller is missing. What was made is removed again.
    pub fn prepare(&mut self, resources: &Resources) -> Result<Option<OwnedFd>> {
        if self.is_none() {
            return if self.manager == super::Manager::Disabled {
                Ok(None)
            } else {
                Err(no_hierarchies())
            };
        }
        Filter::of(&resources.devices)?;
        let writes = self.writes(resources)?;
        let Some(place) = self.places.iter().find(|p| p.is_unified() && self.unit.is_none()) else {
            // systemd makes its units around a process that is there: `adopt`.
            return Ok(None);
        };
        let made = match dir::make(&place.mountpoint, &place.dir()) {
            Err(e) if self.is_lenient() && is_forbidden(&e) => {
                if self.mode == Mode::Unified && !writes.is_empty() {
                    let why = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
                    return Err(e.wrap(why));
                }
                self.places.retain(|p| !p.is_unified());
                return Ok(None);
            }
            other => Made(other.wrap(|| "create the container's cgroup")?),
        };
        let dir = Dir::open(&place.dir())?;
        if self.mode == Mode::Unified {
            self.taken = made.0.is_empty();
            if self.taken {
                self.refuse_in_use()?;
            }
            enable_controllers(place, &dir, &writes)?;
        }
        made.keep();
        Ok(Some(dir.into_fd()))
    }

    /// The second half: makes the v1 folders and writes all limits and device rules. It can go on beside a process that was
    /// born into the cgroup, but must be over before that process does anything on the user's behalf.
    ///
    /// # Errors
    /// The kernel refuses a limit, or as [`Cgroup::prepare`]. The v1 folders that were made are removed again.
    pub fn limit(&mut self, resources: &Resources) -> Result<()> {
        let filter = Filter::of(&resources.devices)?;
        let writes = self.writes(resources)?;
        match self.mode {
            Mode::Unified => self.limit_v2(&self.rounded(writes), &filter),
            Mode::Legacy | Mode::Hybrid => self.make_v1(&self.rounded(writes), resources, &filter),
        }
    }

    /// Looks for what is wrong with `resources` here, as [`Cgroup::prepare`] would find it.
    ///
    /// # Errors
    /// A controller is missing, or a value cannot be.
    pub fn refuse_unknown(&self, resources: &Resources) -> Result<()> {
        Filter::of(&resources.devices)?;
        self.writes(resources).map(drop)
    }

    /// The limits, none of which lacks its controller altogether.
    fn writes(&self, resources: &Resources) -> Result<Vec<Write>> {
        if self.is_none() {
            return Ok(Vec::new());
        }
        if self.mode == Mode::Unified {
            return v2::writes(resources, &v2::Present::default());
        }
        let writes = v1::writes(resources)?;
        self.refuse_missing(&writes)?;
        Ok(writes)
    }

    fn make_v1(&mut self, writes: &[Write], resources: &Resources, filter: &Filter) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        if self.controller_dir("devices").is_none() {
            return Err(missing_controller(
                "linux.resources.devices",
                "devices",
                Path::new(super::MOUNTPOINT),
            ));
        }
        let (made, new) = self.make_folders()?;
        self.refuse_missing(writes)?;
        if new.contains(&false) && self.unit.is_none() {
            self.refuse_in_use()?;
        }
        let v1_places = self.places.iter().filter(|p| !p.is_unified());
        for (place, new) in v1_places.zip(new) {
            let mine: Vec<&Write> = writes.iter().filter(|w| place.carries(&w.controller)).collect();
            self.limit_v1(place, new, &made, &mine, resources, filter)?;
        }
        made.keep();
        Ok(())
    }

    /// Makes the folders of all v1 hierarchies; tells for each whether it is new. Places that a lenient runtime may not make
    /// are dropped.
    fn make_folders(&mut self) -> Result<(Made, Vec<bool>)> {
        let lenient = self.is_lenient();
        let mut made = Made::default();
        let mut new = Vec::with_capacity(self.places.len());
        let mut kept = Vec::with_capacity(self.places.len());
        for place in std::mem::take(&mut self.places) {
            if place.is_unified() {
                kept.push(place);
                continue;
            }
            match dir::make(&place.mountpoint, &place.dir()) {
                Ok(paths) => {
                    new.push(!paths.is_empty());
                    made.0.extend(paths);
                    kept.push(place);
                }
                Err(e) if lenient && is_forbidden(&e) => {}
                Err(e) => {
                    self.places = kept;
                    return Err(e.wrap("create the container's cgroup"));
                }
            }
        }
        self.places = kept;
        Ok((made, new))
    }

    fn limit_v1(
        &self,
        place: &Place,
        new: bool,
        made: &Made,
        writes: &[&Write],
        resources: &Resources,
        filter: &Filter,
    ) -> Result<()> {
        let (has_cpuset, has_devices) = (place.carries("cpuset"), place.carries("devices"));
        if writes.is_empty() && !has_cpuset && !has_devices {
            return Ok(());
        }
        let dir = Dir::open(&place.dir())?;
        if has_cpuset {
            cpuset::populate(&dir, &place.mountpoint, new, &resources.cpu)?;
        }
        let realtime = || writes.iter().copied().filter(|w| v1::is_realtime(w));
        if realtime().next().is_some() {
            let above = made
                .0
                .iter()
                .filter(|p| dir.path() != p.as_path() && dir.path().starts_with(p));
            for path in above {
                apply(&Dir::open(path)?, realtime())?;
            }
        }
        apply(&dir, writes.iter().copied())?;
        if has_devices {
            devices::set_v1(&dir, filter, new)?;
        }
        Ok(())
    }

    fn limit_v2(&self, writes: &[Write], filter: &Filter) -> Result<()> {
        let Some(path) = self.unified_dir() else {
            return Ok(());
        };
        let dir = Dir::open(&path)?;
        if let Some(place) = self.places.iter().find(|p| p.is_unified() && self.unit.is_some()) {
            enable_controllers(place, &dir, writes)?;
        }
        apply(&dir, writes)?;
        let limited = if self.taken {
            devices::replace_v2(&dir, filter)
        } else {
            devices::load_v2(&dir, filter)
        };
        match limited {
            Err(_) if self.rootless => Ok(()),
            other => other,
        }
    }

    /// Somebody else's cgroup is not for the taking. Ask before anything of the container is recorded: whoever takes down a
    /// failed container removes its cgroup with all that is in it.
    ///
    /// # Errors
    /// The cgroup is there already, and has processes or is frozen.
    pub fn refuse_in_use(&self) -> Result<()> {
        let pids = self.pids()?;
        if !pids.is_empty() {
            let count = pids.len();
            return Err(Error::message(format!(
                "container's cgroup is not empty: {count} process(es) found"
            )));
        }
        if self.is_frozen()? {
            return Err(Error::message("container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }
}

/// Enables every controller of the root for each cgroup down to `leaf`. One that cannot be enabled is missed only by the write
/// that needs it. Normally the cgroups on the way have them enabled, and reading two files tells.
fn enable_controllers(place: &Place, leaf: &Dir, writes: &[Write]) -> Result<()> {
    let root = Dir::open(&place.mountpoint)?;
    let available = root.read("cgroup.controllers")?;
    let present = leaf.read("cgroup.controllers")?;
    let mut missing = available
        .split_whitespace()
        .filter(|c| !present.split_whitespace().any(|p| p == *c));
    if missing.next().is_none() {
        return Ok(());
    }
    let all: Vec<String> = available.split_whitespace().map(|c| format!("+{c}")).collect();
    let mut level = root;
    let mut path = place.mountpoint.clone();
    for name in place.path.split('/').filter(|n| !n.is_empty()) {
        if level.write("cgroup.subtree_control", &all.join(" ")).is_err() {
            for one in &all {
                let _ = level.write("cgroup.subtree_control", one);
            }
        }
        path.push(name);
        level = Dir::open(&path)?;
        check_type(&level, writes)?;
    }
    Ok(())
}

/// Below a cgroup with processes, or in a threaded subtree, a cgroup is good for the controllers that know threads only.
fn check_type(dir: &Dir, writes: &[Write]) -> Result<()> {
    let kind = dir.read("cgroup.type").unwrap_or_default();
    let kind = kind.trim_end();
    if !matches!(kind, "domain invalid" | "domain threaded" | "threaded") {
        return Ok(());
    }
    if let Some(write) = writes.iter().find(|w| !THREADED.contains(&&*w.controller)) {
        let problem = format!(
            "cannot use the {} controller in cgroup {}, which is of type {kind:?}: choose a linux.cgroupsPath outside of it",
            write.controller,
            dir.path().display()
        );
        return Err(Error::config(write.at.clone(), problem));
    }
    if kind == "domain invalid" {
        let _ = dir.write("cgroup.type", "threaded");
    }
    Ok(())
}

fn no_hierarchies() -> Error {
    Error::unsupported(
        "no cgroup mount found in mountinfo: mount cgroup2 at /sys/fs/cgroup, or use --cgroup-manager=disabled",
    )
}
