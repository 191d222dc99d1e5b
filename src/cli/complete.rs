//! `completion`: what a shell needs to complete command lines.

use clap_complete::Shell;

use super::global::Global;
use super::{Result, Verb, command, print};
use crate::error::Error;

/// The arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct Complete {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Verb for Complete {
    fn run(self, global: &Global) -> Result<u8> {
        let name = global.program.name();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command::all(name), name, &mut script);
        print(&String::from_utf8(script).map_err(|e| Error::message(e.to_string()))?)?;
        Ok(0)
    }
}
