//! `wasm list`.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::super::global::Global;
use super::super::{Result, Verb, print};
use super::CacheArgs;
use crate::aot::cache::Entry;
use crate::clock;
use crate::error::Error;

/// The arguments of `wasm list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Verb for List {
    fn run(self, _: &Global) -> Result<u8> {
        let (cache, _) = self.cache.open()?;
        let entries = cache.map_or_else(|| Ok(Vec::new()), |cache| cache.entries())?;
        match self.format {
            Format::Table => print(&table(&entries))?,
            Format::Json => {
                let all: Vec<Value> = entries.iter().map(document).collect();
                let text = serde_json::to_string_pretty(&all).map_err(|e| Error::message(e.to_string()))?;
                print(&(text + "\n"))?;
            }
        }
        Ok(0)
    }
}

fn document(entry: &Entry) -> Value {
    let artifacts = entry.artifacts.iter().map(|(notes, size)| {
        json!({
            "tier": notes.tier,
            "size": size,
            "created": notes.created,
            "milliseconds": notes.milliseconds,
        })
    });
    let failures = entry
        .failures
        .iter()
        .map(|(tier, failure)| json!({"tier": tier, "reason": failure.reason}));
    let notes = entry.artifacts.last().map(|(notes, _)| notes);
    json!({
        "key": entry.key,
        "name": notes.map(|n| &n.name),
        "module": notes.map(|n| format!("blake3:{}", n.module)),
        "moduleSize": notes.map(|n| n.module_size),
        "engine": notes.map(|n| &n.engine),
        "artifacts": artifacts.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
        "size": entry.size,
        "used": clock::rfc3339(used(entry)),
        "busy": entry.busy,
    })
}

fn used(entry: &Entry) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(entry.used.unsigned_abs())
}

/// One line for each module, columns aligned.
fn table(entries: &[Entry]) -> String {
    let mut rows = vec![["KEY", "STATE", "SIZE", "USED", "MODULE"].map(str::to_owned)];
    rows.extend(entries.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(entry: &Entry) -> [String; 5] {
    let best = entry
        .artifacts
        .iter()
        .map(|(notes, _)| notes)
        .max_by_key(|notes| notes.tier);
    let state = match best {
        _ if entry.busy => "compiling",
        Some(notes) => notes.tier.name(),
        None if entry.failures.is_empty() => "empty",
        None => "failed",
    };
    [
        entry.key.chars().take(12).collect(),
        state.to_owned(),
        entry.size.to_string(),
        clock::rfc3339(used(entry)).chars().take(19).collect::<String>() + "Z",
        best.map_or_else(|| "-".to_owned(), |notes| notes.name.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aot::Tier;
    use crate::aot::artifact::Notes;

    fn entry() -> Entry {
        let notes = Notes {
            key: "ab".into(),
            tier: Tier::Quick,
            module: "cd".into(),
            name: "/app.wasm".into(),
            module_size: 10,
            engine: "wasmedge 0.14.1".into(),
            created: "then".into(),
            milliseconds: 5,
        };
        Entry {
            key: "0123456789abcdef".into(),
            artifacts: vec![(notes, 1000)],
            failures: Vec::new(),
            size: 4096,
            used: 0,
            busy: false,
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_module() {
        let busy = Entry {
            busy: true,
            artifacts: Vec::new(),
            ..entry()
        };
        assert_eq!(
            table(&[entry(), busy]),
            "KEY            STATE       SIZE   USED                   MODULE\n\
             0123456789ab   quick       4096   1970-01-01T00:00:00Z   /app.wasm\n\
             0123456789ab   compiling   4096   1970-01-01T00:00:00Z   -\n"
        );
    }

    #[test]
    fn the_document_names_module_and_artifacts() {
        let document = document(&entry());
        assert_eq!(document["name"], "/app.wasm");
        assert_eq!(document["module"], "blake3:cd");
        assert_eq!(document["artifacts"][0]["tier"], "quick");
        assert_eq!(document["artifacts"][0]["size"], 1000);
    }
}
