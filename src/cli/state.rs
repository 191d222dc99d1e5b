//! `state`.

use super::global::Global;
use super::{Result, Verb, pick, print};
use crate::container::state::{State as Document, owner};
use crate::error::Error;

/// The arguments of `state`.
#[derive(Debug, clap::Args)]
pub struct State {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Verb for State {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        let (record, status) = store.folder(&id)?.status()?;
        let owner = owner(record.owner);
        let text = serde_json::to_string_pretty(&Document::new(&record, status, &owner))
            .map_err(|e| Error::message(e.to_string()))?;
        print(&(text + "\n"))?;
        Ok(0)
    }
}
