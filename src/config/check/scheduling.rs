//! `process.scheduler`, `ioPriority`, `execCPUAffinity` and `linux.personality`.

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, Scheduler as SpecScheduler,
};

use super::cpu_list;
use crate::config::{ExecCpuAffinity, IoPriority, Scheduler};
use crate::error::{Error, Result};

/// The rules of sched_setattr(2) and sched(7).
pub(super) fn scheduler(given: &SpecScheduler, at: &str) -> Result<Scheduler> {
    use LinuxSchedulerPolicy as P;
    let bad = |field: &str, problem: String| Err(Error::config(format!("{at}.scheduler.{field}"), problem));
    let policy = *given.policy();
    let nice = given.nice().unwrap_or(0);
    let priority = given.priority().unwrap_or(0);
    let deadline = [
        ("runtime", given.runtime().unwrap_or(0)),
        ("deadline", given.deadline().unwrap_or(0)),
        ("period", given.period().unwrap_or(0)),
    ];
    if matches!(policy, P::SchedIso) {
        return bad(
            "policy",
            "SCHED_ISO is reserved, Linux does not implement it".to_owned(),
        );
    }
    if matches!(policy, P::SchedOther | P::SchedBatch) && !(-20..=19).contains(&nice) {
        return bad("nice", format!("{nice} is not from -20 to 19"));
    }
    if matches!(policy, P::SchedFifo | P::SchedRr) {
        if !(1..=99).contains(&priority) {
            return bad(
                "priority",
                format!("{priority} is not from 1 to 99, which {policy} needs"),
            );
        }
    } else if priority != 0 {
        return bad(
            "priority",
            format!("is for SCHED_FIFO and SCHED_RR only, not for {policy}"),
        );
    }
    if matches!(policy, P::SchedDeadline) {
        if let Err(problem) = deadline_order(deadline.map(|(_, n)| n)) {
            return bad("runtime", problem);
        }
    } else if let Some((field, _)) = deadline.iter().find(|(_, n)| *n != 0) {
        return bad(field, format!("is for SCHED_DEADLINE only, not for {policy}"));
    }
    let flags = given.flags().iter().flatten();
    Ok(Scheduler {
        policy: policy_number(policy),
        nice,
        priority: priority.unsigned_abs(),
        flags: flags.fold(0, |bits, flag| bits | flag_bit(*flag)),
        runtime: deadline[0].1,
        deadline: deadline[1].1,
        period: deadline[2].1,
    })
}

fn deadline_order([runtime, deadline, period]: [u64; 3]) -> Result<(), String> {
    let end = if period == 0 { deadline } else { period };
    match runtime >= 1024 && runtime <= deadline && deadline <= end {
        true => Ok(()),
        false => Err("SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period, in nanoseconds".to_owned()),
    }
}

fn policy_number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

pub(super) fn io_priority(given: LinuxIOPriority, at: &str) -> Result<IoPriority> {
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u8::try_from(given.priority()) {
        Ok(priority @ 0..=7) => Ok(IoPriority { class, priority }),
        _ => Err(Error::config(
            format!("{at}.ioPriority.priority"),
            format!("{} is not from 0 to 7", given.priority()),
        )),
    }
}

pub(super) fn affinity(given: &ExecCPUAffinity, at: &str) -> Result<ExecCpuAffinity> {
    let list = |list: &Option<String>, field: &str| match list {
        Some(list) => cpu_list::parse(list).map_err(|e| Error::config(format!("{at}.execCPUAffinity.{field}"), e)),
        None => Ok(Vec::new()),
    };
    Ok(ExecCpuAffinity {
        initial: list(given.initial(), "initial")?,
        last: list(given.cpu_affinity_final(), "final")?,
    })
}

/// personality(2): the numbers of `PER_LINUX` and `PER_LINUX32`.
pub(super) fn personality(given: Option<&LinuxPersonality>) -> Result<Option<u64>> {
    let Some(given) = given else { return Ok(None) };
    if given.flags().iter().flatten().next().is_some() {
        return Err(Error::config(
            "linux.personality.flags",
            "must be empty, the runtime spec defines no flag yet",
        ));
    }
    Ok(Some(match given.domain() {
        LinuxPersonalityDomain::PerLinux => 0x0000,
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<Scheduler> {
        scheduler(&serde_json::from_value(value).unwrap(), "process")
    }

    #[test]
    fn policies_and_their_fields() {
        let s = parse(
            json!({"policy": "SCHED_DEADLINE", "runtime": 10_000, "deadline": 20_000, "flags": ["SCHED_FLAG_RECLAIM"]}),
        );
        assert_eq!(s.map(|s| (s.policy, s.flags, s.period)), Ok((6, 2, 0)));
        assert_eq!(
            parse(json!({"policy": "SCHED_RR", "priority": 99})).map(|s| s.priority),
            Ok(99)
        );
        for bad in [
            json!({"policy": "SCHED_FIFO"}),
            json!({"policy": "SCHED_FIFO", "priority": 100}),
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            json!({"policy": "SCHED_BATCH", "period": 1}),
            json!({"policy": "SCHED_DEADLINE", "runtime": 30_000, "deadline": 20_000}),
            json!({"policy": "SCHED_DEADLINE"}),
            json!({"policy": "SCHED_ISO"}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
