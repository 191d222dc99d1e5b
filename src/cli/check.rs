//! `check`.

use std::ffi::OsString;

use serde_json::json;

use super::global::Global;
use super::{FAILED, Result, Verb, absolute, print, usage};
use crate::check::{self, Finding, Verdict};
use crate::container::{CreateOptions, Program};
use crate::error::Error;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Look at this bundle, too
    #[arg(value_name = "BUNDLE")]
    bundle: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Create the container of the bundle, in a state folder of its own, and delete it; its program is not started
    #[arg(long = "try")]
    attempt: bool,
}

impl Verb for Check {
    fn run(self, global: &Global) -> Result<u8> {
        let bundle = absolute(self.bundle)?;
        if self.attempt && bundle.is_none() {
            return Err(usage("--try needs a bundle"));
        }
        let mut findings = check::host(global.manager);
        if let Some(dir) = &bundle {
            let as_wasm = global.program == Program::RunwWasm;
            findings.extend(check::bundle(dir, global.manager, as_wasm));
        }
        if let (Some(bundle), true) = (bundle, self.attempt) {
            findings.push(check::attempt(CreateOptions {
                id: "runw-check".parse()?,
                root: global.root.clone(),
                program: global.program,
                manager: global.manager,
                rootless: global.rootless,
                bundle,
                config: None,
                console_socket: None,
                pidfd_socket: None,
                pid_file: None,
                no_pivot: false,
                no_new_keyring: false,
                preserve_fds: 0,
                aot: crate::aot::Wishes::default(),
            }));
        }
        let worst = check::worst(&findings);
        print(&text(&findings, worst, self.json)?)?;
        Ok(if worst == Verdict::Failure { FAILED } else { 0 })
    }
}

fn text(findings: &[Finding], worst: Verdict, as_json: bool) -> Result<String> {
    if as_json {
        let document = json!({ "verdict": worst, "findings": findings });
        let text = serde_json::to_string_pretty(&document).map_err(|e| Error::message(e.to_string()))?;
        return Ok(text + "\n");
    }
    let line = |finding: &Finding| {
        let Finding {
            about,
            verdict,
            found,
            advice,
        } = finding;
        let advice = if advice.is_empty() {
            String::new()
        } else {
            format!(": {advice}")
        };
        format!("{:<8} {about:<12} {found}{advice}\n", verdict.name())
    };
    Ok(findings.iter().map(line).collect())
}
