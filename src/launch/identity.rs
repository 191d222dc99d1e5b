//! Who a container is, for the state document that its hooks read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};

/// The status that hooks before the program read. They belong to lifecycle steps 3 to 7, and a container is "created" after
/// step 2 (runtime-spec, runtime.md, "State" and "Lifecycle").
pub const CREATED: &str = "created";

/// The parts of the state that never change (runtime-spec, runtime.md, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `ociVersion` of the bundle.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Identity {
    /// The state document as a hook reads it on stdin; `pid` as the runtime sees it, `None` once the process is gone.
    pub fn state(&self, status: &str, pid: Option<i32>) -> Result<Vec<u8>> {
        let state = State {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        };
        serde_json::to_vec(&state).map_err(|e| Error::message(format!("encode the state: {e}")))
    }
}
