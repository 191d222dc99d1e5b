//! `events`: what a container uses, and when it runs out of memory.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Serialize, Serializer};

use super::{Id, PayloadKind, Record, Status, Store};
use crate::cgroup::OomWatch;
use crate::cgroup::stats::Stats;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::log;
use crate::ns::traffic::{self, Interface};
use crate::payload::wasm::guest_pages;
use crate::privs::rdt::Resctrl;
use crate::privs::rdt_stats::RdtStats;
use crate::sys::process;

/// How often to look whether the last process of a container without init has ended.
const LINGER: Duration = Duration::from_millis(200);

/// One line of `events`, with runc's keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event<'a> {
    r#type: &'static str,
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<Data>>,
}

/// The `data` of a `stats` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Data {
    #[serde(flatten)]
    cgroup: Stats,
    intel_rdt: RdtStats,
    /// As Go writes a list, `null` if there is nothing in it.
    #[serde(serialize_with = "null_if_empty")]
    network_interfaces: Vec<Interface>,
    /// Our own addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    wasm: Option<Guest>,
}

/// The guest of a WebAssembly container.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// Pages of 64 KiB that its linear memories have now.
    memory_pages: u64,
}

fn null_if_empty<S: Serializer>(list: &[Interface], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let list = (!list.is_empty()).then_some(list);
    list.serialize(serializer)
}

impl<'a> Event<'a> {
    fn oom(id: &'a Id) -> Self {
        Event {
            r#type: "oom",
            id,
            data: None,
        }
    }

    fn stats(record: &'a Record) -> Result<Self> {
        let pid = record.init.pid;
        let rdt = record.intel_rdt.as_ref();
        let pages = || {
            (record.payload == PayloadKind::Wasm)
                .then(|| guest_pages(pid))
                .flatten()
        };
        let data = Data {
            cgroup: record.cgroup.stats()?,
            intel_rdt: rdt
                .and_then(|group| Some(Resctrl::find().ok()?.stats(group)))
                .unwrap_or_default(),
            network_interfaces: traffic::interfaces(pid)?,
            wasm: pages().map(|memory_pages| Guest { memory_pages }),
        };
        Ok(Event {
            r#type: "stats",
            id: &record.id,
            data: Some(Box::new(data)),
        })
    }
}

/// What one look at a container's counters gives.
///
/// # Errors
/// The container has stopped; it has no cgroup.
pub fn once(store: &Store, id: &Id, tell: impl FnOnce(&Event<'_>) -> Result<()>) -> Result<()> {
    let record = running(store, id)?;
    tell(&Event::stats(&record)?)
}

/// Tells of the container's counters every `interval`, and whenever it runs out of memory, until its last process has ended or
/// `tell` answers `false`.
///
/// # Errors
/// The container has stopped; it has no cgroup; `tell` fails.
pub fn follow(
    store: &Store,
    id: &Id,
    interval: Duration,
    mut tell: impl FnMut(&Event<'_>) -> Result<bool>,
) -> Result<()> {
    let record = running(store, id)?;
    let mut watch = Watch::new(&record)?;
    let mut next = Instant::now() + interval;
    loop {
        if watch.wait(next)? && !tell(&Event::oom(id))? {
            return Ok(());
        }
        if watch.ended && record.cgroup.pids()?.is_empty() {
            return Ok(());
        }
        if Instant::now() < next {
            continue;
        }
        next += interval;
        match Event::stats(&record) {
            Ok(event) if tell(&event)? => {}
            Ok(_) => return Ok(()),
            // The next look may succeed.
            Err(e) => log::aside(&e.to_string()),
        }
    }
}

fn running(store: &Store, id: &Id) -> Result<Record> {
    let (record, status) = store.folder(id)?.status()?;
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(Error::new(Kind::State("container not running".to_owned())));
    }
    if record.cgroup.is_none() {
        return Err(Error::unsupported(
            "no events: the container has no cgroup of its own that counts",
        ));
    }
    Ok(record)
}

/// What to wait for.
struct Watch {
    init: Option<OwnedFd>,
    oom: Option<OomWatch>,
    /// Init is gone.
    ended: bool,
}

impl Watch {
    fn new(record: &Record) -> Result<Watch> {
        let init = Pid::from_raw(record.init.pid).and_then(|pid| process::pidfd_open(pid).ok());
        let ended = !super::status::is_alive(record.init);
        Ok(Watch {
            init: init.filter(|_| !ended),
            oom: record.cgroup.watch_oom()?,
            ended,
        })
    }

    /// Waits until something happens, at most until `next`; answers whether memory ran out.
    fn wait(&mut self, next: Instant) -> Result<bool> {
        let mut left = next.saturating_duration_since(Instant::now());
        if self.ended {
            left = left.min(LINGER);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds: Vec<PollFd<'_>> = self.init.iter().map(|init| PollFd::new(init, PollFlags::IN)).collect();
        fds.extend(self.oom.iter().map(|oom| PollFd::new(oom, oom.flags())));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).call(|| "poll()"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if self.init.is_some() && ready.first() == Some(&true) {
            self.init = None;
            self.ended = true;
        }
        match &mut self.oom {
            Some(oom) if ready.last() == Some(&true) => oom.happened(),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_runc() {
        let id: Id = "x".parse().unwrap();
        let oom = serde_json::to_string(&Event::oom(&id)).unwrap();
        assert_eq!(oom, r#"{"type":"oom","id":"x"}"#);
        let record = super::super::record::sample("x");
        let stats = serde_json::to_value(Event::stats(&record).unwrap()).unwrap();
        assert_eq!((&stats["type"], &stats["id"]), (&"stats".into(), &"x".into()));
        let keys: Vec<&String> = stats["data"].as_object().unwrap().keys().collect();
        let expected = [
            "blkio",
            "cpu",
            "cpuset",
            "hugetlb",
            "intel_rdt",
            "memory",
            "network_interfaces",
            "pids",
        ];
        assert_eq!(keys, expected);
        assert!(stats["data"]["network_interfaces"].is_null());
    }
}
