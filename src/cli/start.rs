//! `start`.

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container;

/// The arguments of `start`.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Verb for Start {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        container::start(&store, &id)?;
        Ok(0)
    }
}
