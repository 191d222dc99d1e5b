//! `kill`.

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container::{self, Signal};

/// The arguments of `kill`.
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Number or name of the signal
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
    /// Signal all processes of the container; that it has stopped is no failure
    #[arg(short, long)]
    all: bool,
    /// ID is a regular expression: signal all containers that match
    #[arg(short, long)]
    regex: bool,
}

impl Verb for Kill {
    fn run(self, global: &Global) -> Result<u8> {
        let signal: Signal = self.signal.parse()?;
        pick::each(global, &self.id, self.regex, |store, id| {
            container::kill(store, id, signal, self.all)
        })?;
        Ok(0)
    }
}
