//! All containers of a root, as `list` shows them.

use super::state::{State, owner};
use super::{Id, Record, Status, Store};
use crate::error::{Kind, Result};

/// One container of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its record.
    pub record: Record,
    /// What it is now.
    pub status: Status,
    /// The name of its owner, or `#UID`.
    pub owner: String,
}

impl Entry {
    /// The container's state document.
    pub fn state(&self) -> State<'_> {
        State::new(&self.record, self.status, &self.owner)
    }
}

/// A container's entry, or why it cannot be shown.
pub type Found = (Id, Result<Entry>);

/// Looks at every container of the store. Folders that vanish meanwhile, or have no record yet, are left out.
pub fn list(store: &Store) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for id in store.ids()? {
        let entry = match store.folder(&id).and_then(|folder| folder.status()) {
            Err(e) if matches!(e.kind(), Kind::NotFound { .. }) => continue,
            other => other.map(|(record, status)| Entry {
                owner: owner(record.owner),
                record,
                status,
            }),
        };
        found.push((id, entry));
    }
    Ok(found)
}

/// The table of runc: columns at least 12 wide, three blanks apart, the last one as wide as it is.
pub fn table(entries: &[Entry]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(entries.iter().map(|e| {
        [
            e.record.id.to_string(),
            e.state().pid().to_string(),
            e.status.to_string(),
            e.record.bundle.display().to_string(),
            e.record.created.clone(),
            e.owner.clone(),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count() + 3);
        cells.max().unwrap_or(0).max(12)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths).take(5) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    #[test]
    fn table_is_aligned_as_by_runc() {
        let mut record = sample("a-rather-long-name");
        record.init.pid = 77;
        let entry = |status| Entry {
            record: record.clone(),
            status,
            owner: "root".into(),
        };
        assert_eq!(
            table(&[entry(Status::Running), entry(Status::Stopped)]),
            "ID                   PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             a-rather-long-name   77          running     /b          2026-08-30T12:00:00.000000001Z   root\n\
             a-rather-long-name   0           stopped     /b          2026-08-30T12:00:00.000000001Z   root\n"
        );
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
    }
}
