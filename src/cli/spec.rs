//! `spec`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::global::Global;
use super::{Result, Verb};
use crate::cgroup::{self, Mode};
use crate::error::{Error, ResultExt};
use crate::oci::Starter;

/// The arguments of `spec`.
#[derive(Debug, clap::Args)]
pub struct Spec {
    /// Folder to write into [default: the working directory]
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<OsString>,
    /// For a container that is run without root's rights, by whoever calls this
    #[arg(long)]
    rootless: bool,
    /// Name of the file
    #[arg(short, long, value_name = "FILE", default_value = "config.json")]
    file: PathBuf,
}

impl Verb for Spec {
    fn run(self, _: &Global) -> Result<u8> {
        let path = self.bundle.map(PathBuf::from).unwrap_or_default().join(self.file);
        let user = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let starter = Starter {
            unified_cgroup: cgroup::layout().is_ok_and(|layout| layout.mode == Mode::Unified),
            rootless: self.rootless.then(user),
        };
        let text = starter.text()?;
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::message(format!("{} exists, remove it first", path.display())));
            }
            other => other.call(|| format!("create {}", path.display()))?,
        };
        file.write_all(text.as_bytes())
            .call(|| format!("write {}", path.display()))?;
        Ok(0)
    }
}
