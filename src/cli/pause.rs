//! `pause` and `resume`.

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container;

/// The arguments of `pause`.
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Verb for Pause {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        container::pause(&store, &id)?;
        Ok(0)
    }
}

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

impl Verb for Resume {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        container::resume(&store, &id)?;
        Ok(0)
    }
}
