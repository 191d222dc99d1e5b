//! The systemd manager: a container's cgroup is that of a transient scope unit, asked for over D-Bus
//! (org.freedesktop.systemd1(5)).
//!
//! systemd takes a scope only with a process in it, so init is born elsewhere and moved by systemd. What limits it knows become
//! properties of the unit, so that they last when it writes them again; then all of them go to the cgroup's files, as without
//! systemd. Devices are left to the program that is attached to the cgroup: systemd removes none but its own.

mod annotation;
mod bus;
mod message;
mod name;
mod property;
mod session;
mod value;

use std::collections::BTreeMap;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use self::bus::{Answer, Connection};
use self::name::Name;
use self::property::{Present, Property};
use self::session::Session;
use self::value::Value;
use super::dir::{self, Dir};
use super::layout::{Layout, Mode};
use super::write::Write;
use super::{Cgroup, Manager, Place, v1, v2};
use crate::config::Resources;
use crate::error::{Result, Wrap};
use crate::log;

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The unit of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// Such as `runw-c1.scope`.
    name: String,
    /// Whose unit it is.
    session: Session,
    /// The slice that it lies in.
    slice: String,
    /// The cgroup below the unit's that is the container's, if the unit's is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subgroup: Option<String>,
    /// The cgroup below that, without limits of its own, that init ends up in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delegate: Option<String>,
    /// What the annotations ask for; they have their effect when the unit is made.
    #[serde(skip)]
    properties: Vec<Property>,
}

impl Cgroup {
    /// The cgroup of a unit of systemd's for container `id`. Nothing is made yet.
    ///
    /// # Errors
    /// There is no systemd that this process may ask, or the path or an annotation is not as it must be.
    pub fn of_unit(
        cgroups_path: Option<&str>,
        id: &str,
        annotations: &BTreeMap<String, String>,
        layout: &Layout,
    ) -> Result<Cgroup> {
        let session = Session::own();
        let name = Name::of(cgroups_path, id, session)?;
        let path = name.path()?;
        let asked = annotation::read(annotations)?;
        let root = session.root()?;
        let mut path = format!("{}{path}", root.trim_end_matches('/'));
        if let Some(subgroup) = &asked.subgroup {
            path = format!("{path}/{subgroup}");
        }
        let places = layout.hierarchies.iter().map(|h| Place {
            controllers: h.controllers.clone(),
            mountpoint: h.mountpoint.clone(),
            path: path.clone(),
        });
        Ok(Cgroup {
            manager: Manager::Systemd,
            mode: layout.mode,
            places: places.collect(),
            explicit: cgroups_path.is_some_and(|p| !p.is_empty()),
            rootless: false,
            taken: false,
            unit: Some(Unit {
                name: name.unit,
                session,
                slice: name.slice,
                subgroup: asked.subgroup,
                delegate: asked.delegate,
                properties: asked.properties,
            }),
        })
    }

    /// Has systemd make the container's unit with `pid` as its first process. `false` if the cgroup is not systemd's: then
    /// the process is where it was.
    ///
    /// # Errors
    /// systemd refuses, or the cgroup below the unit's cannot be made.
    pub fn adopt(&self, pid: Pid, resources: &Resources) -> Result<bool> {
        let Some(unit) = &self.unit else {
            return Ok(false);
        };
        let mut writes = self.unit_writes(resources)?;
        let mut properties = unit.base(pid, self.mode);
        property::set(&mut properties, self.unit_properties(&mut writes, Present::default()));
        property::set(&mut properties, property::oom_policy(&writes).into_iter().collect());
        property::set(&mut properties, unit.properties.clone());
        let failed = || format!("create the systemd unit {:?}", unit.name);
        unit.start(&properties).wrap(failed)?;
        if unit.subgroup.is_some() {
            for place in self.places.iter().filter(|p| p.is_unified()) {
                dir::make(&place.mountpoint, &place.dir()).wrap(failed)?;
                super::procs::attach(&place.dir(), pid).wrap(failed)?;
            }
        }
        Ok(true)
    }

    /// Moves init on into the cgroup that `run.oci.delegate-cgroup` asks for, if it does. To be called once init has its
    /// cgroup namespace, whose root is then the cgroup with the limits.
    ///
    /// # Errors
    /// The cgroup cannot be made or joined.
    pub fn enter_delegated(&self, pid: Pid, owner: Option<u32>) -> Result<()> {
        let Some(name) = self.unit.as_ref().and_then(|u| u.delegate.as_deref()) else {
            return Ok(());
        };
        let Some(place) = self
            .places
            .iter()
            .find(|p| self.mode == Mode::Unified && p.is_unified())
        else {
            return Ok(());
        };
        let path = place.dir().join(name);
        let failed = || "run.oci.delegate-cgroup";
        dir::make(&place.mountpoint, &path).wrap(failed)?;
        if let Some(owner) = owner {
            super::delegate::hand_over(&Dir::open(&path)?, owner).wrap(failed)?;
        }
        super::procs::attach(&path, pid).wrap(failed)
    }

    /// The limits as systemd will hold them: those that it rounds are rounded here, too.
    pub(super) fn rounded(&self, mut writes: Vec<Write>) -> Vec<Write> {
        if self.unit.is_some() {
            self.unit_properties(&mut writes, Present::default());
        }
        writes
    }

    /// Tells systemd of an update, before it goes to the cgroup's files.
    ///
    /// # Errors
    /// systemd refuses.
    pub(super) fn update_unit(&self, writes: &mut [Write]) -> Result<()> {
        let Some(unit) = &self.unit else {
            return Ok(());
        };
        let properties = self.unit_properties(writes, self.present());
        if properties.is_empty() {
            return Ok(());
        }
        unit.set(&properties)
            .wrap(|| format!("set properties of the systemd unit {:?}", unit.name))
    }

    /// Has systemd stop the unit and forget about its failures. Without a systemd that answers the cgroup can be removed,
    /// too: the unit vanishes with it.
    pub(super) fn stop_unit(&self) -> Result<()> {
        let Some(unit) = &self.unit else {
            return Ok(());
        };
        match unit.session.connect() {
            Ok(mut systemd) => unit
                .stop(&mut systemd)
                .wrap(|| format!("stop the systemd unit {:?}", unit.name)),
            Err(e) => {
                log::debug(|| format!("the unit is not stopped: {e}"));
                Ok(())
            }
        }
    }

    /// Has systemd move a process into the cgroup; the way for a user who may not write to the cgroup that it comes from.
    pub(super) fn attach_by_systemd(&self, pid: Pid) -> Option<Result<()>> {
        let unit = self.unit.as_ref()?;
        let subgroup = unit.subgroup.as_deref().unwrap_or_default();
        let arguments = [
            Value::str(&unit.name),
            Value::str(format!("/{subgroup}")),
            Value::Array("u".into(), vec![Value::U32(pid.as_raw_nonzero().get().unsigned_abs())]),
        ];
        let asked = unit
            .session
            .connect()
            .and_then(|mut systemd| systemd.ask("AttachProcessesToUnit", &arguments)?.values());
        Some(asked.map(drop))
    }

    fn unit_writes(&self, resources: &Resources) -> Result<Vec<Write>> {
        match self.mode {
            Mode::Unified => v2::writes(resources, &v2::Present::default()),
            Mode::Legacy | Mode::Hybrid => v1::writes(resources),
        }
    }

    fn unit_properties(&self, writes: &mut [Write], mut present: Present) -> Vec<Property> {
        if writes.iter().any(|w| w.file == "io.bfq.weight" && w.instead.is_some()) {
            // The unit's own folder may not be there yet.
            let beside = self
                .unified_dir()
                .and_then(|dir| dir.parent().map(|d| d.join("io.bfq.weight")));
            present.bfq = beside.is_some_and(|file| file.exists());
        }
        property::of_writes(writes, present)
    }

    fn present(&self) -> Present {
        let dir = self.controller_dir("cpu").and_then(|path| Dir::open(&path).ok());
        let read = |file: &str| dir.as_ref().and_then(|d| d.read(file).ok()).unwrap_or_default();
        let mut present = Present {
            idle: read("cpu.idle").trim_end() == "1",
            ..Present::default()
        };
        let period = match self.mode {
            Mode::Unified => read("cpu.max").split_whitespace().nth(1).and_then(|p| p.parse().ok()),
            Mode::Legacy | Mode::Hybrid => read("cpu.cfs_period_us").trim_end().parse().ok(),
        };
        present.period = period.unwrap_or(present.period);
        present
    }
}

impl Unit {
    /// What every container's unit has. Its whole subtree belongs to the container (Delegate), accounting is on as it is
    /// without systemd, and a unit that failed (for want of memory, say) goes away by itself.
    fn base(&self, pid: Pid, mode: Mode) -> Vec<Property> {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let io = match mode {
            Mode::Unified => "IOAccounting",
            Mode::Legacy | Mode::Hybrid => "BlockIOAccounting",
        };
        let label = self.name.trim_end_matches(".scope");
        let mut properties = vec![
            Property::new("Description", Value::str(format!("runw container {label}"))),
            Property::new("Slice", Value::str(&self.slice)),
            Property::new("Delegate", Value::Bool(true)),
            Property::new("PIDs", Value::Array("u".into(), vec![Value::U32(pid)])),
        ];
        let accounting = ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"];
        properties.extend(accounting.map(|name| Property::new(name, Value::Bool(true))));
        properties.push(Property::new("DefaultDependencies", Value::Bool(false)));
        properties.push(Property::new("CollectMode", Value::str("inactive-or-failed")));
        properties
    }

    /// A unit of the same name that failed is forgotten, one that runs is not.
    fn start(&self, properties: &[Property]) -> Result<()> {
        let mut systemd = self.session.connect()?;
        let arguments = [
            Value::str(&self.name),
            Value::str("replace"),
            known(&mut systemd, properties)?,
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        if systemd
            .run_job("StartTransientUnit", &arguments, UNIT_EXISTS)?
            .is_some()
        {
            return Ok(());
        }
        systemd.ask("ResetFailedUnit", &[Value::str(&self.name)])?;
        systemd.run_job("StartTransientUnit", &arguments, "").map(drop)
    }

    fn set(&self, properties: &[Property]) -> Result<()> {
        let mut systemd = self.session.connect()?;
        let arguments = [
            Value::str(&self.name),
            // Until the next boot, as the unit itself.
            Value::Bool(true),
            known(&mut systemd, properties)?,
        ];
        systemd.ask("SetUnitProperties", &arguments)?.values().map(drop)
    }

    fn stop(&self, systemd: &mut Connection) -> Result<()> {
        let arguments = [Value::str(&self.name), Value::str("replace")];
        if systemd.run_job("StopUnit", &arguments, NO_SUCH_UNIT)?.is_some()
            && let Answer::Refused { text, .. } = systemd.ask("ResetFailedUnit", &[Value::str(&self.name)])?
        {
            log::debug(|| format!("systemd has nothing to reset: {text}"));
        }
        Ok(())
    }
}

/// The properties that this systemd knows, for a message. Its version is asked for only if that matters.
fn known(systemd: &mut Connection, properties: &[Property]) -> Result<Value> {
    let newest = properties.iter().map(|p| p.since).max().unwrap_or(0);
    let version = if newest > 0 { version(systemd)? } else { 0 };
    let known = properties.iter().filter(|p| p.since <= version);
    Ok(Value::Array("(sv)".into(), known.map(Property::to_value).collect()))
}

/// Such as 257 for `257.4-1~deb13u1`; one that cannot be read is taken for an old one.
fn version(systemd: &mut Connection) -> Result<u32> {
    let text = match systemd.manager_property("Version")? {
        Value::Str(text) => text,
        _ => return Err(value::malformed()),
    };
    let digits = text.trim_start_matches('v');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Ok(digits[..end].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        Unit {
            name: "runw-c1.scope".into(),
            session: Session::System,
            slice: "system.slice".into(),
            subgroup: None,
            delegate: None,
            properties: vec![Property::new("Description", Value::str("mine"))],
        }
    }

    #[test]
    fn annotations_win_over_what_every_unit_has() {
        let unit = unit();
        let mut properties = unit.base(Pid::INIT, Mode::Unified);
        property::set(&mut properties, unit.properties.clone());
        let descriptions: Vec<&Property> = properties.iter().filter(|p| p.name == "Description").collect();
        assert_eq!(descriptions, [&Property::new("Description", Value::str("mine"))]);
        assert!(properties.iter().any(|p| p.name == "IOAccounting"));
        let v1 = unit.base(Pid::INIT, Mode::Hybrid);
        assert!(v1.iter().any(|p| p.name == "BlockIOAccounting"));
    }

    #[test]
    fn survives_the_state_folder_without_what_only_create_needs() {
        let text = serde_json::to_string(&unit()).unwrap();
        assert_eq!(
            text,
            r#"{"name":"runw-c1.scope","session":"system","slice":"system.slice"}"#
        );
        let back: Unit = serde_json::from_str(&text).unwrap();
        assert_eq!(back.name, "runw-c1.scope");
    }
}
