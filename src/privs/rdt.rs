//! `linux.intelRdt`: the container's group in the resctrl file system (Linux, Documentation/filesystems/resctrl.rst).
//!
//! A class of service is a folder with the files `schemata` (what its tasks may use) and `tasks`; monitoring has a folder
//! below it. Only a folder that was made for this container, under its own id, is ever removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::IntelRdt;
use crate::error::{Error, Result, ResultExt};

/// Where the resctrl file system usually is.
const USUAL_PLACE: &str = "/sys/fs/resctrl";
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;

/// Names in the root folder that are no groups.
const RESERVED: [&str; 6] = ["info", "mon_groups", "mon_data", "schemata", "tasks", "cpus"];

/// A mounted resctrl file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resctrl {
    root: PathBuf,
}

/// What a container has in resctrl; kept with its state, so that `delete` knows what to remove.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// The folder of the class of service that the container is in.
    pub folder: PathBuf,
    /// Folders made for this container alone, in the order of their removal.
    pub made: Vec<PathBuf>,
}

impl Resctrl {
    /// Finds the mounted resctrl file system.
    ///
    /// # Errors
    /// `linux.intelRdt`: there is none.
    pub fn find() -> Result<Resctrl> {
        if rustix::fs::statfs(USUAL_PLACE).is_ok_and(|s| s.f_type == RDTGROUP_SUPER_MAGIC) {
            return Ok(Resctrl {
                root: PathBuf::from(USUAL_PLACE),
            });
        }
        let mounts = procfs::process::Process::myself().and_then(|p| p.mountinfo()).ok();
        let elsewhere = mounts
            .into_iter()
            .flatten()
            .find(|m| m.fs_type == "resctrl")
            .map(|m| m.mount_point);
        let problem =
            "no resctrl file system is mounted; mount -t resctrl resctrl /sys/fs/resctrl (needs a CPU with RDT)";
        elsewhere
            .map(|root| Resctrl { root })
            .ok_or_else(|| Error::config("linux.intelRdt", problem))
    }

    /// The folder it is mounted on.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    #[cfg(test)]
    pub(super) fn at(root: PathBuf) -> Resctrl {
        Resctrl { root }
    }

    /// The resources whose allocation this machine controls (`L3`, `MB`, …): folders of `info` with a number of classes.
    pub fn resources(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("info")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|e| e.path().join("num_closids").exists())
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    /// Whether groups can be monitored.
    pub fn monitors(&self) -> bool {
        self.root.join("mon_groups").is_dir()
    }

    /// Puts process `pid` into the class that `rdt` asks for, made and filled in if need be.
    ///
    /// # Errors
    /// `linux.intelRdt…`: a class that should be there and is not, or is there with other values; a resource that this
    /// machine does not control; what the kernel has to say about a schema (`last_cmd_status`). Nothing is left behind then.
    pub fn join(&self, rdt: &IntelRdt, id: &str, pid: i32) -> Result<Group> {
        let name = rdt.clos_id.as_deref().unwrap_or(id);
        if RESERVED.contains(&name) || name.is_empty() {
            return Err(Error::config(
                "linux.intelRdt.closID",
                format!("{name:?} is a name that resctrl itself uses"),
            ));
        }
        self.check_resources(&rdt.schemata)?;
        let mut group = Group {
            folder: self.root.join(name.trim_start_matches('/')),
            made: Vec::new(),
        };
        let joined = self.enter(rdt, id, pid, &mut group);
        if joined.is_err() {
            // The error that led here says more than one of the removal would.
            let _ = group.remove();
        }
        joined.map(|()| group)
    }

    /// Changes what the tasks of a container's group may use.
    ///
    /// # Errors
    /// A resource that this machine does not control; what the kernel has to say about a schema.
    pub fn set(&self, group: &Group, schemata: &[String]) -> Result<()> {
        self.check_resources(schemata)?;
        self.write(&group.folder.join("schemata"), &lines(schemata))
    }

    fn enter(&self, rdt: &IntelRdt, id: &str, pid: i32, group: &mut Group) -> Result<()> {
        let there = group.folder.is_dir();
        match (&rdt.clos_id, there) {
            (Some(clos), false) if rdt.schemata.is_empty() => {
                let problem = format!("class {clos:?} does not exist; make it, or give schemata for it");
                return Err(Error::config("linux.intelRdt.closID", problem));
            }
            (Some(_), true) => self.compare(&group.folder, &rdt.schemata)?,
            (None, true) => self.write(&group.folder.join("schemata"), &lines(&rdt.schemata))?,
            (clos, false) => {
                self.make(&group.folder)?;
                if clos.is_none() {
                    group.made.push(group.folder.clone());
                }
                if let Err(e) = self.write(&group.folder.join("schemata"), &lines(&rdt.schemata)) {
                    if clos.is_some() {
                        let _ = fs::remove_dir(&group.folder);
                    }
                    return Err(e);
                }
            }
        }
        self.write(&group.folder.join("tasks"), &pid.to_string())?;
        if rdt.enable_monitoring {
            let monitor = group.folder.join("mon_groups").join(id);
            self.make(&monitor)?;
            group.made.insert(0, monitor.clone());
            self.write(&monitor.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    fn check_resources(&self, schemata: &[String]) -> Result<()> {
        let known = self.resources();
        let missing = schemata
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(resource, _)| resource.trim());
        match missing.into_iter().find(|r| !known.iter().any(|k| k == r)) {
            None => Ok(()),
            Some(resource) => {
                let problem = format!("this machine does not control {resource}, only: {}", known.join(", "));
                Err(Error::config("linux.intelRdt", problem))
            }
        }
    }

    /// A class that is there already must have the values asked for (config-linux.md).
    fn compare(&self, folder: &Path, schemata: &[String]) -> Result<()> {
        if schemata.is_empty() {
            return Ok(());
        }
        let file = folder.join("schemata");
        let current = fs::read_to_string(&file).call(|| format!("read({})", file.display()))?;
        let step = fs::read_to_string(self.root.join("info/MB/bandwidth_gran")).ok();
        let step = step.and_then(|s| s.trim().parse().ok()).unwrap_or(1);
        match schemata.iter().find(|line| !is_in_force(line, &current, step)) {
            None => Ok(()),
            Some(line) => {
                let name = folder.file_name().unwrap_or_default().display();
                let problem = format!("class {name:?} exists with other values than {line:?}; use another closID");
                Err(Error::config("linux.intelRdt", problem))
            }
        }
    }

    fn make(&self, folder: &Path) -> Result<()> {
        match fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                let error = Error::sys(format!("mkdir({})", folder.display()), e);
                Err(self.explain(error))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        fs::write(file, text)
            .call(|| format!("write({}, {text:?})", file.display()))
            .map_err(|e| self.explain(e))
    }

    /// Adds what the kernel says about the last operation.
    fn explain(&self, error: Error) -> Error {
        let status = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        match status.trim() {
            "" | "ok" => error.wrap("apply linux.intelRdt"),
            status => error.wrap(format!("apply linux.intelRdt ({status})")),
        }
    }
}

impl Group {
    /// Puts one more process of the container, started by `exec`, into its groups.
    pub fn add(&self, pid: i32) -> Result<()> {
        let monitors = self.made.iter().filter(|f| **f != self.folder);
        for file in std::iter::once(&self.folder).chain(monitors).map(|f| f.join("tasks")) {
            fs::write(&file, pid.to_string()).call(|| format!("write({}, {pid})", file.display()))?;
        }
        Ok(())
    }

    /// Removes the folders made for the container; one that is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        for folder in &self.made {
            match fs::remove_dir(folder) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::sys(format!("rmdir({})", folder.display()), e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn lines(schemata: &[String]) -> String {
    schemata.iter().map(|line| format!("{line}\n")).collect()
}

/// Whether `wanted` (`L3:0=7f0;1=1f`) holds in the text of a `schemata` file. Domains that `wanted` does not name may have
/// any value. The kernel rounds bandwidth up to a multiple of `step`.
fn is_in_force(wanted: &str, current: &str, step: u64) -> bool {
    let Some((resource, wanted)) = wanted.split_once(':') else {
        return false;
    };
    let resource = resource.trim();
    let Some((_, current)) = current
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(r, _)| r.trim() == resource)
    else {
        return false;
    };
    let bandwidth = resource.ends_with("MB") || resource == "SMBA";
    let parse = |text: &str| -> Option<Vec<(u64, u64)>> {
        text.split(';')
            .map(|pair| {
                let (domain, value) = pair.split_once('=')?;
                let value = u64::from_str_radix(value.trim(), if bandwidth { 10 } else { 16 });
                Some((domain.trim().parse().ok()?, value.ok()?))
            })
            .collect()
    };
    let (Some(wanted), Some(current)) = (parse(wanted), parse(current)) else {
        return false;
    };
    wanted.iter().all(|(domain, value)| {
        let now = current.iter().find(|(d, _)| d == domain).map(|(_, v)| *v);
        now.is_some_and(|now| now == *value || bandwidth && (*value..*value + step).contains(&now))
    })
}

#[cfg(test)]
mod tests;
