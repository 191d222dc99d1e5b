//! `restore`.

use super::checkpoint;
use super::create;
use super::global::Global;
use super::{Result, Verb};
use crate::container::{self, RestoreOptions, RunOptions};
use crate::criu::Choices;
use crate::log;

/// The arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Restore {
    #[command(flatten)]
    create: create::Common,
    #[command(flatten)]
    criu: checkpoint::CriuArgs,
    /// Return when the container has been restored
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container at its end
    #[arg(long)]
    keep: bool,
    /// Do not adopt orphans of the container
    #[arg(long)]
    no_subreaper: bool,
    /// Close the TCP connections that the container had
    #[arg(long)]
    tcp_close: bool,
    /// Restore the processes with this profile
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Restore mounts with this SELinux context
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
}

impl Verb for Restore {
    fn run(self, global: &Global) -> Result<u8> {
        let (image, work) = self.criu.folders()?;
        let create = self.create.options(global)?;
        if create.preserve_fds > 0 {
            log::warn("--preserve-fds is not used: a restored process has the descriptors that were saved");
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        container::restore(&RestoreOptions {
            choices: Choices {
                tcp_close: self.tcp_close,
                lsm_profile: given(self.lsm_profile),
                lsm_mount_context: given(self.lsm_mount_context),
                ..self.criu.choices()
            },
            create,
            run: RunOptions {
                detach: self.detach,
                keep: self.keep,
                no_subreaper: self.no_subreaper,
            },
            image,
            work,
        })
    }
}
