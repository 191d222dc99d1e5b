//! `wasm prune`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::global::Global;
use super::super::{Result, Verb, print};
use super::CacheArgs;
use crate::aot::cache::Entry;
use crate::aot::most;

/// The arguments of `wasm prune`.
#[derive(Debug, clap::Args)]
pub struct Prune {
    /// Remove everything
    #[arg(long, conflicts_with_all = ["unused_days", "keep_mib"])]
    all: bool,
    /// Remove what was not used for so many days
    #[arg(long, value_name = "DAYS")]
    unused_days: Option<u64>,
    /// Then remove what was not used for longest, until the rest takes so many MiB [default: as config.toml says, else 4096]
    #[arg(long, value_name = "MIB")]
    keep_mib: Option<u64>,
    #[command(flatten)]
    cache: CacheArgs,
}

impl Verb for Prune {
    fn run(self, _: &Global) -> Result<u8> {
        let (cache, settings) = self.cache.open()?;
        let Some(cache) = cache else {
            return Ok(0);
        };
        let mut removed = Vec::new();
        for entry in cache.entries()? {
            if self.unused_days.is_some_and(|days| is_older(&entry, days)) && cache.remove(&entry.key)? {
                removed.push(entry);
            }
        }
        removed.extend(match (self.all, self.keep_mib) {
            (true, _) => cache.clear()?,
            (false, Some(mib)) => cache.shrink_to(mib.saturating_mul(1 << 20))?,
            (false, None) => cache.shrink_to(most(&settings))?,
        });
        let size: u64 = removed.iter().map(|entry| entry.size).sum();
        print(&format!("removed {} modules, {size} bytes\n", removed.len()))?;
        Ok(0)
    }
}

fn is_older(entry: &Entry, days: u64) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    now.saturating_sub(entry.used.unsigned_abs()) > days.saturating_mul(24 * 60 * 60)
}
