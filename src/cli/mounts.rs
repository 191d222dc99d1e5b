//! `mounts`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container;
use crate::error::{Error, Kind, ResultExt};

/// The arguments of `mounts`.
#[derive(Debug, clap::Args)]
pub struct Mounts {
    /// What to do with them
    #[arg(value_name = "add|remove", hide_possible_values = true)]
    action: Action,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// JSON: an object with the `mounts` of a config.json, bind mounts and tmpfs; remove looks at their destinations only
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    Add,
    Remove,
}

impl Verb for Mounts {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        let file = self.file.display();
        let document = std::fs::read(&self.file).call(|| format!("read {file}"))?;
        let done = match self.action {
            Action::Add => container::add_mounts(&store, &id, &document),
            Action::Remove => container::remove_mounts(&store, &id, &document),
        };
        // The document is not config.json.
        done.map_err(|error| match error.kind() {
            Kind::Config { at, problem } => Error::message(format!("{file}: {at}: {problem}")),
            _ => error,
        })?;
        Ok(0)
    }
}
