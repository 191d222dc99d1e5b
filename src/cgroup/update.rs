//! Changing the limits of a cgroup in use, and what it tells about its past.

use std::path::Path;

use super::apply::apply;
use super::devices::{self, Filter};
use super::dir::{Dir, is_gone};
use super::write::Write;
use super::{Cgroup, Mode, missing_controller, v1, v2};
use crate::config::{DeviceRule, Memory, Resources};
use crate::error::{Error, Result};

impl Cgroup {
    /// Sets the limits that `resources` gives; those it does not give stay as they are. Device rules are not touched:
    /// [`Cgroup::set_devices`] does that. A paused container stays paused.
    ///
    /// # Errors
    /// The container has no cgroup, or the kernel refuses a value. Those before it have been set.
    pub fn set(&self, resources: &Resources) -> Result<()> {
        match self.mode {
            Mode::Unified => self.set_v2(resources),
            Mode::Legacy | Mode::Hybrid => self.set_v1(resources),
        }
    }

    fn set_v1(&self, resources: &Resources) -> Result<()> {
        let mut writes = v1::writes(resources)?;
        self.refuse_missing(&writes)?;
        self.update_unit(&mut writes)?;
        for place in &self.places {
            let mine: Vec<&Write> = writes.iter().filter(|w| place.carries(&w.controller)).collect();
            if !mine.is_empty() {
                apply(&Dir::open(&place.dir())?, mine)?;
            }
        }
        Ok(())
    }

    /// Every write must have a hierarchy that carries its controller.
    pub(super) fn refuse_missing(&self, writes: &[Write]) -> Result<()> {
        match writes
            .iter()
            .find(|w| !self.places.iter().any(|p| p.carries(&w.controller)))
        {
            Some(write) => Err(missing_controller(
                &write.at,
                &write.controller,
                Path::new(super::MOUNTPOINT),
            )),
            None => Ok(()),
        }
    }

    fn set_v2(&self, resources: &Resources) -> Result<()> {
        let path = self.unified_dir().ok_or_else(no_cgroup)?;
        let dir = Dir::open(&path)?;
        let memory = &resources.memory;
        let cpu = &resources.cpu;
        let mut present = v2::Present::default();
        if cpu.quota.is_some() != cpu.period.is_some() {
            present.cpu_max = dir.read("cpu.max").ok();
        }
        if memory.swap.is_some() && memory.limit.is_none() {
            present.memory_max = dir.read("memory.max").ok().and_then(|text| bytes(&text));
        }
        let mut writes = v2::writes(resources, &present)?;
        check_usage(&dir, memory)?;
        self.update_unit(&mut writes)?;
        apply(&dir, &writes)
    }

    /// Replaces the device rules; the default devices are added to them. No device that both the old and the new rules allow
    /// is out of reach in between.
    ///
    /// # Errors
    /// The container has no cgroup, the rules contradict each other, or the kernel refuses them.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let filter = Filter::of(rules)?;
        let dir = Dir::open(&self.controller_dir("devices").ok_or_else(no_cgroup)?)?;
        match self.mode {
            Mode::Unified => devices::replace_v2(&dir, &filter),
            Mode::Legacy | Mode::Hybrid => devices::set_v1(&dir, &filter, false),
        }
    }

    /// What `resources` asks for and this host's kind of cgroups does not have, as JSON paths, for the log.
    pub fn unheeded(&self, resources: &Resources) -> Vec<&'static str> {
        match self.mode {
            Mode::Unified => v2::unheeded(resources),
            Mode::Legacy | Mode::Hybrid => Vec::new(),
        }
    }

    /// How many processes of the cgroup the kernel has killed for want of memory; 0 if it does not say.
    pub fn oom_kills(&self) -> u64 {
        let file = match self.mode {
            Mode::Unified => "memory.events",
            Mode::Legacy | Mode::Hybrid => "memory.oom_control",
        };
        let text = self
            .controller_dir("memory")
            .and_then(|path| Dir::open(&path).ok()?.read(file).ok());
        text.and_then(|text| count(&text, "oom_kill")).unwrap_or(0)
    }
}

/// The number behind `key` in a file such as `memory.events`.
pub(super) fn count(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// `memory.max` and its like; -1 is no limit.
fn bytes(text: &str) -> Option<i64> {
    match text.trim_end() {
        "max" => Some(-1),
        number => number.parse().ok(),
    }
}

/// `memory.checkBeforeUpdate`: v2 takes a limit below the usage and kills; v1 refuses by itself.
fn check_usage(dir: &Dir, memory: &Memory) -> Result<()> {
    if !memory.check_before_update {
        return Ok(());
    }
    let usage = match dir.read("memory.current") {
        Err(e) if is_gone(&e) => return Ok(()),
        other => other?,
    };
    let Some(usage) = bytes(&usage) else {
        return Ok(());
    };
    for (limit, name, at) in [
        (memory.swap, "memory+swap", "linux.resources.memory.swap"),
        (memory.limit, "memory", "linux.resources.memory.limit"),
    ] {
        if let Some(limit) = limit.filter(|l| *l > 0 && *l <= usage) {
            return Err(Error::config(
                at,
                format!("rejecting {name} limit {limit} <= usage {usage}"),
            ));
        }
    }
    Ok(())
}

fn no_cgroup() -> Error {
    Error::unsupported("the container has no cgroup of its own, so it can have no limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(count(events, "oom_kill"), Some(2));
        assert_eq!(count(events, "oom"), Some(3));
        assert_eq!(count(events, "high"), None);
    }

    #[test]
    fn byte_values() {
        assert_eq!(bytes("max\n"), Some(-1));
        assert_eq!(bytes("4096\n"), Some(4096));
        assert_eq!(bytes("x"), None);
    }
}
