//! What commands that start WebAssembly modules take to have them compiled.

use std::ffi::OsString;

use super::{Result, absolute};
use crate::aot::{Mode, Wishes};

/// Flags for `create`, `run` and `exec`.
#[derive(Debug, clap::Args)]
pub struct AotArgs {
    /// When a WebAssembly module is compiled to native code for its next starts [default: as the annotation
    /// run.oci.runw.wasm-aot or config.toml says, else background]
    #[arg(long, value_name = "WHEN")]
    wasm_aot: Option<Mode>,
    /// Keep native code in this folder [default: as config.toml says, else /var/lib/runw/aot, or $XDG_CACHE_HOME/runw/aot if not root]
    #[arg(long, value_name = "DIR")]
    wasm_cache: Option<OsString>,
}

impl AotArgs {
    /// What the flags mean.
    pub fn wishes(self) -> Result<Wishes> {
        Ok(Wishes {
            mode: self.wasm_aot,
            cache: absolute(self.wasm_cache)?,
        })
    }
}
