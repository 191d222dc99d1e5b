//! Reading `config.json` (and the smaller documents of `exec` and `update`) into the types of `oci_spec`.
//!
//! The common road is one pass of serde over the bytes. Only when that fails, or when it loses something, the document is read
//! again as a tree, repaired (see [`super::repair`]) and converted with the JSON path at hand for the error.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources, Mount, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{repair, shape};
use crate::error::{Error, Result};

/// A bundle: a folder and the configuration in it.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The folder, absolute and free of symbolic links.
    pub dir: PathBuf,
    /// The configuration, read but not checked.
    pub spec: Spec,
    /// The configuration as it was found, to be kept with the container's state.
    pub json: Vec<u8>,
    /// What had to be repaired while reading.
    pub warnings: Vec<String>,
}

impl Bundle {
    /// Reads the bundle in `dir`. `config_file` (crun's `--config`) replaces its `config.json`; a relative one is taken from the
    /// caller's working directory.
    ///
    /// # Errors
    /// The folder or the file cannot be read; bad JSON (with line and column); a value of the wrong type (with its JSON path).
    pub fn open(dir: &Path, config_file: Option<&Path>) -> Result<Bundle> {
        let dir = fs::canonicalize(dir)
            .map_err(|e| Error::message(format!("bundle {} cannot be opened: {}", dir.display(), reason(&e))))?;
        let file = config_file.map_or_else(|| dir.join("config.json"), Path::to_path_buf);
        let json = fs::read(&file).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::message(format!(
                "{} not found: a bundle is a folder with a config.json, `runw spec` makes one",
                file.display()
            )),
            _ => Error::message(format!("{} cannot be read: {}", file.display(), reason(&e))),
        })?;
        Bundle::parse(dir, json)
    }

    /// The pure half of [`Bundle::open`]: `json` found in the absolute folder `dir`.
    ///
    /// # Errors
    /// See [`Bundle::open`].
    pub fn parse(dir: PathBuf, json: Vec<u8>) -> Result<Bundle> {
        let (spec, warnings) = decode(
            &json,
            "",
            |spec: &Spec| {
                let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
                resources.is_some_and(is_doubtful)
            },
            repair::config,
        )?;
        Ok(Bundle {
            dir,
            spec,
            json,
            warnings,
        })
    }
}

/// Reads the document of `exec --process`: a `process` object alone. Also returns what had to be repaired.
///
/// # Errors
/// As [`Bundle::open`], with paths below `process`.
pub fn process_document(json: &[u8]) -> Result<(Process, Vec<String>)> {
    decode(
        json,
        "process",
        |_| false,
        |value, warnings| repair::process(value, "process", warnings),
    )
}

/// Reads the document of `update --resources`: a `linux.resources` object alone. Also returns what had to be repaired.
///
/// # Errors
/// As [`Bundle::open`], with paths below `linux.resources`.
pub fn resources_document(json: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    decode(json, "linux.resources", is_doubtful, |value, _| {
        repair::resources(value)
    })
}

/// Reads the document of `mounts add`: an object with the `mounts` of a config.json.
///
/// # Errors
/// As [`Bundle::open`].
pub fn mounts_document(json: &[u8]) -> Result<Vec<Mount>> {
    #[derive(serde::Deserialize)]
    struct Document {
        mounts: Vec<Mount>,
    }
    decode(json, "", |_: &Document| false, |_, _| {}).map(|(document, _)| document.mounts)
}

/// `oci_spec` reads an absent `pids.limit` as 0, which is a limit; only the tree tells them apart. A page size without name may
/// have been written `pagesize`, which Go takes for `pageSize`.
fn is_doubtful(resources: &LinuxResources) -> bool {
    let no_name = |limit: &LinuxHugepageLimit| limit.page_size().is_empty();
    resources.pids().is_some_and(|pids| pids.limit() == 0) || resources.hugepage_limits().iter().flatten().any(no_name)
}

fn decode<T: DeserializeOwned>(
    json: &[u8],
    root: &str,
    doubtful: impl Fn(&T) -> bool,
    mend: impl Fn(&mut Value, &mut Vec<String>),
) -> Result<(T, Vec<String>)> {
    if let Ok(value) = serde_json::from_slice(json)
        && !doubtful(&value)
        && !shape::is_doubtful(json)
    {
        return Ok((value, Vec::new()));
    }
    let mut tree: Value = serde_json::from_slice(json).map_err(|e| syntax_error(&e))?;
    if let Some(path) = shape::misplaced_array(&tree) {
        let at = if root.is_empty() || path.is_empty() {
            format!("{root}{path}")
        } else {
            format!("{root}.{path}")
        };
        let at = if at.is_empty() { "the document".to_owned() } else { at };
        return Err(Error::config(at, "is an array, it must be an object"));
    }
    let mut warnings = Vec::new();
    mend(&mut tree, &mut warnings);
    let value = serde_path_to_error::deserialize(tree).map_err(|e| type_error(root, &e))?;
    Ok((value, warnings))
}

fn syntax_error(e: &serde_json::Error) -> Error {
    let text = e.to_string();
    let problem = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(problem, _)| problem);
    Error::config(
        format!("line {}, column {}", e.line(), e.column()),
        format!("not valid JSON: {problem}"),
    )
}

fn type_error(root: &str, e: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = e.path().to_string();
    let at = match (root, path.as_str()) {
        (_, ".") => root.to_owned(),
        ("", _) => path,
        _ => format!("{root}.{path}"),
    };
    let text = e.inner().to_string();
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    let (at, problem) = match missing {
        Some(field) if at.is_empty() => (field.to_owned(), "is missing, the runtime spec requires it".to_owned()),
        Some(field) => (
            format!("{at}.{field}"),
            "is missing, the runtime spec requires it".to_owned(),
        ),
        None if at.is_empty() => ("the document".to_owned(), text),
        None => (at, text),
    };
    match peers_words(&at) {
        Some(words) => Error::config(at, format!("{words}: {problem}")),
        None => Error::config(at, problem),
    }
}

/// What runc says first of a value that the spec's types refuse, where its callers look for that.
fn peers_words(at: &str) -> Option<&'static str> {
    match at.strip_prefix("linux.memoryPolicy.")? {
        "mode" => Some("invalid memory policy mode"),
        flag if flag.starts_with("flags") => Some("invalid memory policy flag"),
        _ => None,
    }
}

/// The reason of a failed file operation in words of our own: engines take `no such file or directory` for a missing program.
pub fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::NotFound => "it does not exist".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::NotADirectory => "a part of the path is not a folder".to_owned(),
        _ => crate::error::errno_text(e.raw_os_error().unwrap_or(nix::libc::EIO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Bundle> {
        Bundle::parse(PathBuf::from("/b"), json.as_bytes().to_vec())
    }

    fn error(json: &str) -> String {
        parse(json).unwrap_err().to_string()
    }

    #[test]
    fn bad_json_is_reported_by_line_and_column() {
        assert_eq!(
            error("{\n  \"ociVersion\": \"1.0.0\"\n  \"root\": {}\n}"),
            "config.json: line 3, column 3: not valid JSON: expected `,` or `}`"
        );
        assert_eq!(
            error(""),
            "config.json: line 1, column 0: not valid JSON: EOF while parsing a value"
        );
    }

    #[test]
    fn a_wrong_type_is_reported_by_path() {
        assert_eq!(
            error(r#"{"process":{"cwd":"/","user":{"uid":"root"}}}"#),
            "config.json: process.user.uid: invalid type: string \"root\", expected u32"
        );
        assert_eq!(
            error(r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"net"}]}}"#),
            "config.json: linux.namespaces[1].type: unknown variant `net`, expected one of `mount`, `cgroup`, `uts`, `ipc`, \
             `user`, `pid`, `network`, `time`"
        );
        assert_eq!(
            error("[]"),
            "config.json: the document: is an array, it must be an object"
        );
    }

    #[test]
    fn a_missing_field_is_named() {
        assert_eq!(
            error(r#"{"process":{"args":["a"]}}"#),
            "config.json: process.cwd: is missing, the runtime spec requires it"
        );
        assert_eq!(
            process_document(b"{}").unwrap_err().to_string(),
            "config.json: process.cwd: is missing, the runtime spec requires it"
        );
    }

    #[test]
    fn an_absent_pids_limit_is_no_limit() {
        let pids = |json: &str| {
            let bundle = parse(json).unwrap();
            *bundle
                .spec
                .linux()
                .as_ref()
                .unwrap()
                .resources()
                .as_ref()
                .unwrap()
                .pids()
        };
        assert_eq!(pids(r#"{"linux":{"resources":{"pids":{}}}}"#), None);
        assert_eq!(
            pids(r#"{"linux":{"resources":{"pids":{"limit":0}}}}"#).unwrap().limit(),
            0
        );
    }

    #[test]
    fn the_documents_of_exec_and_update_are_read() {
        let (process, warnings) =
            process_document(br#"{"cwd":"/","args":["x"],"capabilities":{"bounding":["CAP_KILL","CAP_NEW"]}}"#)
                .unwrap();
        assert_eq!(process.cwd(), Path::new("/"));
        assert_eq!(
            warnings,
            ["process.capabilities: ignoring unknown or unavailable capabilities: [CAP_NEW]"]
        );
        let (resources, _) =
            resources_document(br#"{"pids":{},"devices":[{"allow":true,"type":"","access":"r"}]}"#).unwrap();
        assert_eq!(resources.pids(), &None);
        assert_eq!(resources.devices().as_ref().unwrap()[0].typ(), None);
    }

    #[test]
    fn a_missing_bundle_or_file_says_so_without_the_words_of_a_missing_program() {
        let e = Bundle::open(Path::new("/nowhere/at/all"), None)
            .unwrap_err()
            .to_string();
        assert_eq!(e, "bundle /nowhere/at/all cannot be opened: it does not exist");
        let e = Bundle::open(Path::new("/"), Some(Path::new("/nowhere.json")))
            .unwrap_err()
            .to_string();
        assert!(e.starts_with("/nowhere.json not found: "), "{e}");
    }
}
