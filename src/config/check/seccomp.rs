//! `linux.seccomp`: what can be said before libseccomp sees it.

use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSyscall};

use crate::error::{Error, Result};

/// The highest errno a filter can return (seccomp(2)).
const MAX_ERRNO: u32 = 4095;

/// `receiver` is the agent that an annotation names; the section's own goes before it.
pub(super) fn seccomp(given: Option<&LinuxSeccomp>, receiver: Option<&Path>) -> Result<Option<Box<LinuxSeccomp>>> {
    let Some(given) = given else { return Ok(None) };
    let mut given = given.clone();
    let unnamed = given
        .listener_path()
        .as_ref()
        .is_none_or(|path| path.as_os_str().is_empty());
    if let (true, Some(receiver)) = (unnamed, receiver) {
        given.set_listener_path(Some(receiver.to_owned()));
    }
    let at = |field: &str| format!("linux.seccomp.{field}");
    if given.default_action() == Action::ScmpActNotify {
        let problem = "SCMP_ACT_NOTIFY cannot be the default, the container could not even be set up: name the syscalls to notify";
        return Err(Error::config(at("defaultAction"), problem));
    }
    errno(given.default_action(), given.default_errno_ret(), || {
        at("defaultErrnoRet")
    })?;
    let has_listener = given
        .listener_path()
        .as_ref()
        .is_some_and(|path| !path.as_os_str().is_empty());
    for (i, rule) in given.syscalls().iter().flatten().enumerate() {
        syscall(rule, has_listener, || at(&format!("syscalls[{i}]")))?;
    }
    if let Some(path) = given.listener_path().as_ref().filter(|_| has_listener)
        && !path.is_absolute()
    {
        return Err(Error::config(
            at("listenerPath"),
            format!("{path:?} is not absolute, it must begin with /"),
        ));
    }
    if !has_listener && given.listener_metadata().as_ref().is_some_and(|text| !text.is_empty()) {
        return Err(Error::config(
            at("listenerMetadata"),
            "needs listenerPath, set that or drop this",
        ));
    }
    Ok(Some(Box::new(given)))
}

fn syscall(rule: &LinuxSyscall, has_listener: bool, at: impl Fn() -> String) -> Result<()> {
    if rule.names().is_empty() {
        return Err(Error::config(
            format!("{}.names", at()),
            "is empty, name at least one system call",
        ));
    }
    if rule.action() == Action::ScmpActNotify && !has_listener {
        let problem = "SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath, the socket of the agent to notify";
        return Err(Error::config(format!("{}.action", at()), problem));
    }
    // runc refuses this one because its own init could not go on; callers rely on hearing so.
    if rule.action() == Action::ScmpActNotify && rule.names().iter().any(|name| name == "write") {
        return Err(Error::config(
            format!("{}.names", at()),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ));
    }
    errno(rule.action(), rule.errno_ret(), || format!("{}.errnoRet", at()))?;
    let args = rule.args().as_deref().unwrap_or_default();
    args.iter()
        .enumerate()
        .try_for_each(|(i, arg)| argument(arg, || format!("{}.args[{i}]", at())))
}

/// A second value with an operator that takes one is left to libseccomp, which does not look at it.
fn argument(arg: &LinuxSeccompArg, at: impl Fn() -> String) -> Result<()> {
    if arg.index() > 5 {
        return Err(Error::config(
            format!("{}.index", at()),
            format!("{} is not from 0 to 5", arg.index()),
        ));
    }
    Ok(())
}

/// config-linux.md: an errno with an action that has none must be refused.
fn errno(action: Action, errno: Option<u32>, at: impl Fn() -> String) -> Result<()> {
    let Some(errno) = errno else { return Ok(()) };
    if !matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) {
        return Err(Error::config(
            at(),
            format!("{action} returns no errno, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"),
        ));
    }
    // The data of SCMP_ACT_TRACE is any 16 bit number.
    let highest = if action == Action::ScmpActTrace {
        0xffff
    } else {
        MAX_ERRNO
    };
    match errno <= highest {
        true => Ok(()),
        false => Err(Error::config(at(), format!("{errno} is more than {highest}"))),
    }
}
