//! Capabilities: what can be had, what is kept until execve, what is kept for good.

use super::{PrivStep, PrivsInput, Seal, process_error};
use crate::config::{Capabilities, Process};
use crate::error::Result;
use crate::sys::cred::{self, CAP_SYS_ADMIN, CapSets};

/// Refuses sets that capset(2) would refuse, with the names of the culprits.
pub(super) fn check(input: &PrivsInput) -> Result<()> {
    let asked = &input.process.capabilities;
    refuse(
        asked.effective & !asked.permitted,
        "effective",
        "operation not permitted: not in capabilities.permitted; list it there, too",
    )?;
    refuse(
        asked.inheritable & !asked.bounding,
        "inheritable",
        "operation not permitted: not in capabilities.bounding; list it there, too",
    )?;
    if input.user_namespace {
        return Ok(());
    }
    let own = cred::capabilities()?.permitted;
    refuse(
        asked.permitted & !own,
        "permitted",
        "operation not permitted: the runtime itself does not have it, so it cannot grant it",
    )
}

fn refuse(culprits: u64, set: &str, problem: &str) -> Result<()> {
    if culprits == 0 {
        return Ok(());
    }
    Err(process_error(
        &format!("capabilities.{set}"),
        format!("{}: {problem}", names(culprits)),
    ))
}

fn names(mask: u64) -> String {
    let name = |n: u8| {
        let known = caps::all().into_iter().find(|c| c.index() == n);
        known.map_or_else(|| format!("capability {n}"), |c| c.to_string())
    };
    (0..64)
        .filter(|n| mask & (1 << n) != 0)
        .map(name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The sets between "created" and execve.
///
/// The kernel computes the payload's sets from its inheritable, ambient and bounding sets alone as long as no_new_privs is
/// off: then loading seccomp needs `CAP_SYS_ADMIN`, and keeping that one until execve gives the payload nothing. With
/// no_new_privs the permitted set limits the payload's, and seccomp needs no capability.
pub(super) fn until_exec(input: &PrivsInput) -> PrivStep {
    let asked = &input.process.capabilities;
    let kept = match input.seal {
        Seal::AtExec if input.seccomp.is_some() && !input.process.no_new_privileges => CAP_SYS_ADMIN,
        _ => 0,
    };
    PrivStep::Capabilities {
        sets: CapSets {
            effective: asked.effective | kept,
            permitted: asked.permitted | kept,
            inheritable: asked.inheritable,
        },
        ambient: asked.ambient,
    }
}

/// The sets of a payload that runs without execve: as asked for root; for others what execve would have left them, which is
/// the ambient set.
pub(super) fn for_good(process: &Process) -> PrivStep {
    let asked = &process.capabilities;
    let ambient = possible_ambient(asked);
    let sets = if process.uid == 0 {
        CapSets {
            effective: asked.effective,
            permitted: asked.permitted,
            inheritable: asked.inheritable,
        }
    } else {
        CapSets {
            effective: ambient,
            permitted: ambient,
            inheritable: asked.inheritable,
        }
    };
    PrivStep::Capabilities { sets, ambient }
}

fn possible_ambient(asked: &Capabilities) -> u64 {
    asked.ambient & asked.permitted & asked.inheritable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn culprits_are_named() {
        let text = refuse(1 << 24 | 1, "permitted", "no").unwrap_err().to_string();
        assert_eq!(
            text,
            "config.json: process.capabilities.permitted: CAP_CHOWN, CAP_SYS_RESOURCE: no"
        );
        assert_eq!(names(1 << 62), "capability 62");
    }

    #[test]
    fn ambient_is_cut_to_what_is_permitted_and_inheritable() {
        let asked = Capabilities {
            ambient: 0b111,
            permitted: 0b110,
            inheritable: 0b011,
            ..Capabilities::default()
        };
        assert_eq!(possible_ambient(&asked), 0b010);
    }
}
