//! `features`.

use std::collections::BTreeMap;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpFilterContext, ScmpVersion};

use super::global::Global;
use super::{Result, Verb, print};
use crate::config::features::{Host, SECCOMP_ARCHS, SECCOMP_FLAGS, features};
use crate::error::Error;
use crate::payload::{twin, wasm};
use crate::sys::seccomp::{
    FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV, flags_supported,
};

/// The arguments of `features`.
#[derive(Debug, clap::Args)]
pub struct Features {}

impl Verb for Features {
    fn run(self, _: &Global) -> Result<u8> {
        let document = features(Host {
            seccomp_archs: SECCOMP_ARCHS.into_iter().filter(|name| can_filter(name)).collect(),
            seccomp_flags: SECCOMP_FLAGS
                .into_iter()
                .filter(|name| flags_supported(flag(name)))
                .collect(),
            annotations: annotations(),
        });
        let text = serde_json::to_string_pretty(&document).map_err(|e| Error::message(e.to_string()))?;
        print(&(text + "\n"))?;
        Ok(0)
    }
}

fn annotations() -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("org.opencontainers.runc.checkpoint.enabled", "true".to_owned()),
        ("run.oci.runw.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("run.oci.runw.wasm", runs_modules().to_string()),
    ]);
    if let Some(commit) = option_env!("RUNW_COMMIT") {
        annotations.insert("run.oci.runw.commit", commit.to_owned());
    }
    if let Ok(version) = ScmpVersion::current() {
        annotations.insert("io.github.seccomp.libseccomp.version", version.to_string());
    }
    annotations
}

/// Whether there is an engine for WebAssembly modules: here, or in the program that takes over for them.
fn runs_modules() -> bool {
    wasm::is_here() || twin::locate().is_ok()
}

/// Whether libseccomp knows the architecture. A filter is of one byte order, so the native one has to make room first.
fn can_filter(arch: &str) -> bool {
    let known = |arch: &str| -> std::result::Result<(), SeccompError> {
        let arch: ScmpArch = arch.parse()?;
        let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
        filter.remove_arch(ScmpArch::Native)?;
        filter.add_arch(arch)?;
        Ok(())
    };
    known(arch).is_ok()
}

fn flag(name: &str) -> u32 {
    match name {
        "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
        "SECCOMP_FILTER_FLAG_TSYNC" => FLAG_TSYNC,
        // To the kernel this one makes sense together with a listener only.
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => FLAG_WAIT_KILLABLE_RECV | FLAG_NEW_LISTENER,
        _ => u32::MAX,
    }
}
