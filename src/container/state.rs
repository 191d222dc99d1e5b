//! The state document that `state` and `list` print (runtime.md, "State", with the additions of runc).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::record::PayloadKind;
use super::{Id, Record, Status};

/// The state of a container, in runc's order of keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a Id,
    /// 0 once init is gone.
    pid: i32,
    status: &'static str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
    /// What runs, if it is no native program: our own addition, absent where runc's document has to be matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadKind>,
}

impl<'a> State<'a> {
    /// The document for a container that is in `status` and belongs to the user named `owner`.
    pub fn new(record: &'a Record, status: Status, owner: &'a str) -> Self {
        State {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: match status {
                Status::Stopped => 0,
                _ => record.init.pid,
            },
            status: status.name(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
            payload: (record.payload != PayloadKind::Linux).then_some(record.payload),
        }
    }

    /// The pid of init, 0 once it is gone.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

/// The name of user `uid`, else `#uid`.
///
/// /etc/passwd is read directly: a static program has no name service to ask.
pub fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name(&passwd, uid).unwrap_or_else(|| format!("#{uid}"))
}

/// The name of a user in the text of a passwd(5) file.
fn name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_runc() {
        let mut record = sample("x");
        let document = |record: &Record, status| serde_json::to_string(&State::new(record, status, "ann")).unwrap();
        record.init.pid = 42;
        assert_eq!(
            document(&record, Status::Running),
            r#"{"ociVersion":"1.2.0","id":"x","pid":42,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"2026-08-30T12:00:00.000000001Z","owner":"ann"}"#
        );
        record.annotations.insert("k".into(), "v".into());
        let stopped = document(&record, Status::Stopped);
        assert!(stopped.contains(r#""pid":0,"status":"stopped""#), "{stopped}");
        assert!(stopped.contains(r#""annotations":{"k":"v"},"owner""#), "{stopped}");
    }

    #[test]
    fn owners_have_names() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name(passwd, 0).unwrap(), "root");
        assert_eq!(name(passwd, 1000).unwrap(), "ann");
        assert_eq!(name(passwd, 7), None);
    }
}
