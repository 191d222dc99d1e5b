//! `list`.

use std::io::Write;

use clap::ValueEnum;

use super::global::Global;
use super::{Result, Verb, print};
use crate::container::Store;
use crate::container::list::{Entry, list, table};
use crate::error::Error;

/// The arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Print nothing but ids
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Verb for List {
    fn run(self, global: &Global) -> Result<u8> {
        let entries = entries(global)?;
        if self.quiet {
            let ids: String = entries.iter().map(|e| format!("{}\n", e.record.id)).collect();
            print(&ids)?;
            return Ok(0);
        }
        match self.format {
            Format::Table => print(&table(&entries))?,
            Format::Json => print(&json(&entries)?)?,
        }
        Ok(0)
    }
}

/// The containers that can be shown; the others are named on stderr.
fn entries(global: &Global) -> Result<Vec<Entry>> {
    let store = match Store::open(&global.root)? {
        Some(store) => store,
        None if global.root_is_default => return Ok(Vec::new()),
        None => return Err(Error::message(format!("--root {:?} does not exist", global.root))),
    };
    let mut entries = Vec::new();
    for (id, entry) in list(&store)? {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(e) => drop(writeln!(std::io::stderr(), "container {id}: {e}")),
        }
    }
    Ok(entries)
}

/// One line; `null` for no container, as Go writes a list that was never made.
fn json(entries: &[Entry]) -> Result<String> {
    let states: Vec<_> = entries.iter().map(Entry::state).collect();
    let value = (!states.is_empty()).then_some(states);
    let text = serde_json::to_string(&value).map_err(|e| Error::message(e.to_string()))?;
    Ok(text + "\n")
}
