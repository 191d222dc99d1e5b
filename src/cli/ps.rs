//! `ps`.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use super::global::Global;
use super::{Result, Verb, pick, print};
use crate::container::ps::{filter, pids};
use crate::error::{Error, ResultExt};

/// The arguments of `ps`.
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// Form of the answer
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Options for ps(1), whose output must have the column PID [default: -ef]
    #[arg(value_name = "PS_OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Verb for Ps {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        let pids = pids(&store, &id)?;
        let text = match self.format {
            Format::Table => filter(&ps(self.options)?, &pids)?,
            // As Go writes a list that was never made.
            Format::Json if pids.is_empty() => "null\n".to_owned(),
            Format::Json => serde_json::to_string(&pids).map_err(|e| Error::message(e.to_string()))? + "\n",
        };
        print(&text)?;
        Ok(0)
    }
}

/// What ps(1) of the host says.
fn ps(options: Vec<OsString>) -> Result<String> {
    let options = if options.is_empty() {
        vec!["-ef".into()]
    } else {
        options
    };
    let output = Command::new("ps")
        .args(options)
        .stdin(Stdio::null())
        .output()
        .call(|| "run ps, which --format table needs")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().next().unwrap_or_default();
        return Err(Error::message(format!("ps ended with {}: {reason}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
