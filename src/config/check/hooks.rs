//! `hooks`.

use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{Hook as SpecHook, Hooks as SpecHooks};

use super::no_nul;
use crate::config::{Hook, Hooks};
use crate::error::{Error, Result};

#[allow(deprecated, reason = "prestart hooks are deprecated, yet must run")]
pub(super) fn hooks(section: Option<&SpecHooks>) -> Result<Hooks> {
    let Some(given) = section else {
        return Ok(Hooks::default());
    };
    Ok(Hooks {
        prestart: list(given.prestart(), "prestart")?,
        create_runtime: list(given.create_runtime(), "createRuntime")?,
        create_container: list(given.create_container(), "createContainer")?,
        start_container: list(given.start_container(), "startContainer")?,
        poststart: list(given.poststart(), "poststart")?,
        poststop: list(given.poststop(), "poststop")?,
    })
}

fn list(hooks: &Option<Vec<SpecHook>>, kind: &str) -> Result<Vec<Hook>> {
    let hooks = hooks.iter().flatten().enumerate();
    hooks
        .map(|(i, entry)| hook(entry, &format!("hooks.{kind}[{i}]")))
        .collect()
}

fn hook(entry: &SpecHook, at: &str) -> Result<Hook> {
    let path = entry.path();
    no_nul(path.as_os_str().as_bytes(), || format!("{at}.path"))?;
    if !path.is_absolute() {
        return Err(Error::config(
            format!("{at}.path"),
            format!("{path:?} is not absolute, it must begin with /"),
        ));
    }
    for (i, arg) in entry.args().iter().flatten().enumerate() {
        no_nul(arg.as_bytes(), || format!("{at}.args[{i}]"))?;
    }
    for (i, variable) in entry.env().iter().flatten().enumerate() {
        no_nul(variable.as_bytes(), || format!("{at}.env[{i}]"))?;
    }
    let timeout = match entry.timeout() {
        Some(seconds) if seconds <= 0 => {
            let problem = format!("{seconds} is not greater than zero; leave it out for no time limit");
            return Err(Error::config(format!("{at}.timeout"), problem));
        }
        Some(seconds) => Some(seconds.unsigned_abs()),
        None => None,
    };
    Ok(Hook {
        path: path.clone(),
        args: entry.args().clone().unwrap_or_default(),
        env: entry.env().clone(),
        timeout,
    })
}
