//! `wasm`: looking after the native code of WebAssembly modules.

mod compile;
mod list;
mod prune;

use std::ffi::OsString;

use super::global::Global;
use super::{Result, Verb, absolute};
use crate::aot::{Cache, Wishes};
use crate::error::Error;
use crate::settings::{Settings, WasmSettings};

/// The arguments of `wasm`.
#[derive(Debug, clap::Args)]
pub struct Wasm {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Compile modules now and wait until it is done
    Compile(compile::Compile),
    /// List the modules that have been compiled
    List(list::List),
    /// Remove native code that is not used any more
    Prune(prune::Prune),
}

impl Verb for Wasm {
    fn run(self, global: &Global) -> Result<u8> {
        match self.what {
            What::Compile(compile) => compile.run(global),
            What::List(list) => list.run(global),
            What::Prune(prune) => prune.run(global),
        }
    }
}

/// Which cache.
#[derive(Debug, clap::Args)]
struct CacheArgs {
    /// Where native code is kept [default: as config.toml says, else /var/lib/runw/aot, or $XDG_CACHE_HOME/runw/aot if not root]
    #[arg(long, value_name = "DIR")]
    wasm_cache: Option<OsString>,
}

impl CacheArgs {
    fn wishes(self) -> Result<Wishes> {
        Ok(Wishes {
            mode: None,
            cache: absolute(self.wasm_cache)?,
        })
    }

    /// The cache, if there is one, and the settings.
    fn open(self) -> Result<(Option<Cache>, WasmSettings)> {
        let settings = Settings::read()?.wasm;
        let path = self.wishes()?.cache(&settings);
        let path = path.ok_or_else(|| Error::message("there is no home for a cache: name it with --wasm-cache"))?;
        Ok((Cache::open(&path)?, settings))
    }
}
