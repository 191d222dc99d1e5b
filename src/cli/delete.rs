//! `delete`.

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container;
use crate::error::Kind;

/// The arguments of `delete`.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Kill the container first if it still runs; that there is none is no failure
    #[arg(short, long)]
    force: bool,
    /// ID is a regular expression: delete all containers that match
    #[arg(short, long)]
    regex: bool,
}

impl Verb for Delete {
    fn run(self, global: &Global) -> Result<u8> {
        let result = pick::each(global, &self.id, self.regex, |store, id| {
            container::delete(store, id, self.force)
        });
        match result {
            Err(e) if self.force && matches!(e.kind(), Kind::NotFound { .. }) => Ok(0),
            other => other.map(|()| 0),
        }
    }
}
