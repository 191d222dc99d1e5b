//! `create`, and the arguments that it shares with `run`.

use std::ffi::OsString;

use super::aot::AotArgs;
use super::global::Global;
use super::{Result, Verb, absolute};
use crate::container::{self, CreateOptions, Id};
use crate::error::ResultExt;

/// The arguments of `create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    #[command(flatten)]
    common: Common,
    /// Accepted and ignored, as by crun
    #[arg(long, hide = true)]
    no_subreaper: bool,
}

/// What `create` and `run` both take.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Name of the new container
    #[arg(value_name = "ID")]
    id: String,
    /// The folder with config.json [default: the working directory]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<OsString>,
    /// The configuration, if it is not config.json in the bundle
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<OsString>,
    /// Unix socket that gets the terminal's pty
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<OsString>,
    /// Unix socket that gets a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<OsString>,
    /// File for the pid of the container's first process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<OsString>,
    /// Do not use pivot_root, for root file systems on an initramfs
    #[arg(long)]
    no_pivot: bool,
    /// Keep the session keyring of the caller
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass this many file descriptors above stderr to the container
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    #[command(flatten)]
    aot: AotArgs,
}

impl Common {
    /// The options that the arguments mean.
    pub fn options(self, global: &Global) -> Result<CreateOptions> {
        let id: Id = self.id.parse()?;
        let bundle = match absolute(self.bundle)? {
            Some(bundle) => bundle,
            None => std::env::current_dir().call(|| "getcwd()")?,
        };
        global.make_default_root()?;
        Ok(CreateOptions {
            id,
            root: global.root.clone(),
            program: global.program,
            manager: global.manager,
            rootless: global.rootless,
            bundle,
            config: absolute(self.config)?,
            console_socket: absolute(self.console_socket)?,
            pidfd_socket: absolute(self.pidfd_socket)?,
            pid_file: absolute(self.pid_file)?,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
            aot: self.aot.wishes()?,
        })
    }
}

impl Verb for Create {
    fn run(self, global: &Global) -> Result<u8> {
        let options = self.common.options(global)?;
        container::create(&options)?;
        Ok(0)
    }
}
