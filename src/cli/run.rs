//! `run`: create, start, and unless detached wait and delete.

use super::create::Common;
use super::global::Global;
use super::{Result, Verb};
use crate::container::{self, RunOptions};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    common: Common,
    /// Return when the container has started
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container at its end
    #[arg(long)]
    keep: bool,
    /// Do not adopt orphans of the container
    #[arg(long)]
    no_subreaper: bool,
}

impl Verb for Run {
    fn run(self, global: &Global) -> Result<u8> {
        let run = RunOptions {
            detach: self.detach,
            keep: self.keep,
            no_subreaper: self.no_subreaper,
        };
        container::run(&self.common.options(global)?, run)
    }
}
