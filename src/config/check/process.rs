//! `process`.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Box as ConsoleSize, PosixRlimit, PosixRlimitType, Process as SpecProcess};

use super::{capabilities, no_nul, scheduling, text};
use crate::config::{IdMapping, Process, Rlimit};
use crate::error::{Error, Result};

/// The id mappings of the user namespace that the process will be in; empty: every id is taken as mapped.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdMaps<'a> {
    /// User ids.
    pub uids: &'a [IdMapping],
    /// Group ids.
    pub gids: &'a [IdMapping],
}

/// Checks a process, found at the JSON path `at` (`process`), for create as well as for exec. `personality` and `memory_policy`
/// stay `None`: they are written in `linux`.
///
/// # Errors
/// The first broken rule, with its JSON path.
pub fn process(given: &SpecProcess, at: &str, ids: IdMaps<'_>, warnings: &mut Vec<String>) -> Result<Process> {
    let user = given.user();
    let additional_gids = user.additional_gids().clone().unwrap_or_default();
    mapped(user.uid(), ids.uids, "user", || format!("{at}.user.uid"))?;
    mapped(user.gid(), ids.gids, "group", || format!("{at}.user.gid"))?;
    for (i, gid) in additional_gids.iter().enumerate() {
        mapped(*gid, ids.gids, "group", || format!("{at}.user.additionalGids[{i}]"))?;
    }
    let capabilities = capabilities::sets(given.capabilities().as_ref());
    if capabilities.effective & !capabilities.permitted != 0 {
        warnings.push(format!(
            "{at}.capabilities.effective: holds capabilities that are not in permitted, the kernel leaves them out"
        ));
    }
    for name in capabilities::names(capabilities.ambient & !(capabilities.permitted & capabilities.inheritable)) {
        warnings.push(format!(
            "can't raise ambient capability {name}: {at}.capabilities.permitted and inheritable have to hold it, too"
        ));
    }
    let terminal = given.terminal().unwrap_or(false);
    let console_size = given.console_size().filter(|_| terminal);
    Ok(Process {
        args: args(given.args().as_deref(), at)?,
        env: env(given.env().as_deref().unwrap_or_default(), at)?,
        cwd: cwd(given.cwd(), at)?,
        terminal,
        console_size: console_size.map(|size| window(size, at)).transpose()?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids,
        keep_groups: false,
        umask: user.umask().map(|mask| umask(mask, at)).transpose()?,
        rlimits: rlimits(given.rlimits().as_deref().unwrap_or_default(), at)?,
        capabilities,
        no_new_privileges: given.no_new_privileges().unwrap_or(false),
        oom_score_adj: given
            .oom_score_adj()
            .map(|score| oom_score_adj(score, at))
            .transpose()?,
        apparmor_profile: text(given.apparmor_profile().as_ref()),
        selinux_label: text(given.selinux_label().as_ref()),
        scheduler: given
            .scheduler()
            .as_ref()
            .map(|s| scheduling::scheduler(s, at))
            .transpose()?,
        io_priority: given
            .io_priority()
            .map(|p| scheduling::io_priority(p, at))
            .transpose()?,
        exec_cpu_affinity: given
            .exec_cpu_affinity()
            .as_ref()
            .map(|a| scheduling::affinity(a, at))
            .transpose()?,
        personality: None,
        memory_policy: None,
    })
}

fn cwd(given: &Path, at: &str) -> Result<PathBuf> {
    no_nul(given.as_os_str().as_bytes(), || format!("{at}.cwd"))?;
    if given.is_absolute() {
        return Ok(given.to_owned());
    }
    Err(Error::config(
        format!("{at}.cwd"),
        format!("{given:?} is not absolute, it must begin with /"),
    ))
}

fn mapped(id: u32, mappings: &[IdMapping], what: &str, at: impl Fn() -> String) -> Result<()> {
    if id == u32::MAX {
        return Err(Error::config(
            at(),
            "4294967295 is no id: to the kernel it means \"no change\"",
        ));
    }
    let inside = |m: &IdMapping| id.checked_sub(m.container).is_some_and(|distance| distance < m.size);
    match mappings.is_empty() || mappings.iter().any(inside) {
        true => Ok(()),
        false => {
            let list = if what == "user" {
                "linux.uidMappings"
            } else {
                "linux.gidMappings"
            };
            Err(Error::config(
                at(),
                format!("the {what} id {id} is not mapped into the container's user namespace, extend {list}"),
            ))
        }
    }
}

fn args(args: Option<&[String]>, at: &str) -> Result<Vec<String>> {
    let args = args.unwrap_or_default();
    if args.is_empty() {
        return Err(Error::config(
            format!("{at}.args"),
            "must not be empty, name the program to run",
        ));
    }
    for (i, arg) in args.iter().enumerate() {
        no_nul(arg.as_bytes(), || format!("{at}.args[{i}]"))?;
    }
    Ok(args.to_vec())
}

/// Collapses duplicates: the last of a name stays, at its place. An empty HOME counts as none, as in runc.
fn env(given: &[String], at: &str) -> Result<Vec<String>> {
    let mut seen = HashSet::with_capacity(given.len());
    let mut kept = Vec::with_capacity(given.len());
    for (i, variable) in given.iter().enumerate().rev() {
        let at = || format!("{at}.env[{i}]");
        no_nul(variable.as_bytes(), at)?;
        let Some((name, value)) = variable.split_once('=') else {
            return Err(Error::config(
                at(),
                format!("{variable:?} has no '=', write NAME=VALUE"),
            ));
        };
        if name.is_empty() {
            return Err(Error::config(at(), format!("{variable:?} has no name before the '='")));
        }
        if seen.insert(name) && !(name == "HOME" && value.is_empty()) {
            kept.push(variable.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

fn window(size: ConsoleSize, at: &str) -> Result<(u16, u16)> {
    let fit = |number: u64, field: &str| {
        u16::try_from(number).map_err(|_| {
            Error::config(
                format!("{at}.consoleSize.{field}"),
                format!("{number} is more than 65535"),
            )
        })
    };
    Ok((fit(size.height(), "height")?, fit(size.width(), "width")?))
}

fn umask(mask: u32, at: &str) -> Result<u32> {
    match mask <= 0o777 {
        true => Ok(mask),
        false => Err(Error::config(
            format!("{at}.user.umask"),
            format!("{mask} is more than 511 (octal 777)"),
        )),
    }
}

fn oom_score_adj(score: i32, at: &str) -> Result<i32> {
    match (-1000..=1000).contains(&score) {
        true => Ok(score),
        false => Err(Error::config(
            format!("{at}.oomScoreAdj"),
            format!("{score} is not from -1000 to 1000"),
        )),
    }
}

fn rlimits(given: &[PosixRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(given.len());
    for (i, entry) in given.iter().enumerate() {
        let limit = Rlimit {
            resource: resource(entry.typ()),
            soft: entry.soft(),
            hard: entry.hard(),
        };
        if limits.iter().any(|other| other.resource == limit.resource) {
            let problem = format!("{} is listed twice, keep one entry of each type", entry.typ());
            return Err(Error::config(format!("{at}.rlimits[{i}].type"), problem));
        }
        if limit.soft > limit.hard {
            let problem = format!("the soft limit {} is above the hard limit {}", limit.soft, limit.hard);
            return Err(Error::config(format!("{at}.rlimits[{i}].soft"), problem));
        }
        limits.push(limit);
    }
    Ok(limits)
}

/// The kernel's number (getrlimit(2); these are of x86, arm, riscv, powerpc and s390).
fn resource(typ: PosixRlimitType) -> u32 {
    use PosixRlimitType as R;
    use nix::libc;
    match typ {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_last_of_a_name_wins_in_place() {
        let kept = env(&list(&["A=1", "B=2", "A=3", "C=", "HOME=", "D=x=y"]), "process").unwrap();
        assert_eq!(kept, ["B=2", "A=3", "C=", "D=x=y"]);
        for bad in ["A", "=x", "A=\0"] {
            assert!(env(&list(&[bad]), "process").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_must_be_mapped() {
        let maps = [
            IdMapping {
                container: 0,
                host: 1000,
                size: 10,
            },
            IdMapping {
                container: 100,
                host: 5000,
                size: 1,
            },
        ];
        let at = || "u".to_owned();
        for good in [0, 9, 100] {
            assert!(mapped(good, &maps, "user", at).is_ok(), "{good}");
        }
        for bad in [10, 99, 101, u32::MAX] {
            assert!(mapped(bad, &maps, "user", at).is_err(), "{bad}");
        }
        assert!(mapped(77, &[], "user", at).is_ok());
        assert!(mapped(u32::MAX, &[], "user", at).is_err());
    }
}
