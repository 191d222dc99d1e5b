//! All containers of a root, as `list` shows them.

use super::{Id, Record, Status, Store};
use crate::error::Result;

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
    /// The pid of init, 0 once it is gone.
    pub fn pid(&self) -> i32 {
        match self.status {
            Status::Stopped => 0,
            _ => self.record.init.pid,
        }
    }
}

/// A container's entry, or why it cannot be shown.
pub type Found = (Id, Result<Entry>);

/// Looks at every container of the store. Folders that vanish meanwhile, or have no record yet, are left out.
pub fn list(store: &Store) -> Result<Vec<Found>> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut found = Vec::new();
    for id in store.ids()? {
        let entry = store.folder(&id).and_then(|folder| folder.status());
        let entry = match entry {
            Err(e) if matches!(e.kind(), crate::error::Kind::NotFound { .. }) => continue,
            other => other.map(|(record, status)| Entry {
                owner: owner(&users, record.owner),
                record,
                status,
            }),
        };
        found.push((id, entry));
    }
    Ok(found)
}

/// The name of user `uid` in the text of a passwd(5) file, else `#uid`.
fn owner(passwd: &str, uid: u32) -> String {
    let uid = uid.to_string();
    let user = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    user.unwrap_or(format!("#{uid}"))
}

/// The table of runc: columns at least 12 wide, three blanks apart, the last one as wide as it is.
pub fn table(entries: &[Entry]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(entries.iter().map(|e| {
        [
            e.record.id.to_string(),
            e.pid().to_string(),
            e.status.to_string(),
            e.record.bundle.display().to_string(),
            e.record.created.clone(),
            e.owner.clone(),
        ]
    }));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(12)
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

    #[test]
    fn owners_have_names() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(owner(passwd, 0), "root");
        assert_eq!(owner(passwd, 1000), "ann");
        assert_eq!(owner(passwd, 7), "#7");
    }
}
