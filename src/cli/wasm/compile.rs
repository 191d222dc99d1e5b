//! `wasm compile`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use super::super::global::Global;
use super::super::{Result, Verb, print};
use super::CacheArgs;
use crate::aot::{Ahead, Compiler, Mode, Wishes};
use crate::error::{Error, ResultExt};

/// The arguments of `wasm compile`.
#[derive(Debug, clap::Args)]
pub struct Compile {
    /// The modules, as files of the host
    #[arg(value_name = "MODULE", required = true)]
    modules: Vec<PathBuf>,
    /// Compile even what is there already, or could not be compiled before
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

impl Verb for Compile {
    fn run(self, _: &Global) -> Result<u8> {
        let engine = Compiler::find()?.engine()?;
        let wishes = Wishes {
            mode: Some(Mode::Wait),
            ..self.cache.wishes()?
        };
        for path in &self.modules {
            let file = File::open(path).call(|| format!("open {}", path.display()))?;
            let path = std::path::absolute(path).call(|| format!("resolve {}", path.display()))?;
            let ahead = Ahead::new(&wishes, &BTreeMap::new(), engine.clone(), file.into(), &path)?
                .ok_or_else(|| Error::message("there is no home for a cache: name it with --wasm-cache"))?;
            let entry = ahead
                .compile_all(self.force)
                .map_err(|e| e.wrap(format!("compile {}", path.display())))?;
            for (notes, size) in &entry.artifacts {
                print(&format!(
                    "{}: {}, {size} bytes, {} ms\n",
                    path.display(),
                    notes.tier.name(),
                    notes.milliseconds
                ))?;
            }
            for (tier, failure) in &entry.failures {
                print(&format!(
                    "{}: not {}: {}\n",
                    path.display(),
                    tier.name(),
                    failure.reason
                ))?;
            }
            if entry.artifacts.is_empty() {
                return Err(Error::message(format!("{} could not be compiled", path.display())));
            }
        }
        Ok(0)
    }
}
