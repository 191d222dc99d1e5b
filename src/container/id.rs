//! The name of a container.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A container's id: 1 to 255 of the characters `A-Z a-z 0-9 _ + - .`, but neither `.` nor `..`.
///
/// So an id is always a plain file name: it names the container's folder under `--root`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// The longest file name of Linux, bytes.
const LONGEST: usize = 255;

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"_+-.".contains(&c);
        let problem = match text {
            "" => "it is empty".to_owned(),
            "." | ".." => "it names a directory".to_owned(),
            _ if text.len() > LONGEST => format!("it is longer than {LONGEST} characters"),
            _ if !text.bytes().all(plain) => "only A-Z a-z 0-9 _ + - . may be used".to_owned(),
            _ => return Ok(Id(text.to_owned())),
        };
        Err(Error::new(Kind::Usage(format!(
            "invalid container ID format: {text:?}: {problem}"
        ))))
    }
}

impl TryFrom<String> for Id {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_engines_use() {
        for good in ["a", "0f3c", "web_1", "a+b-c.d", "...", ".hidden", &"x".repeat(255)] {
            assert_eq!(good.parse::<Id>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_what_is_no_plain_file_name() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", "a\0", "../x", &"x".repeat(256)] {
            let error = bad.parse::<Id>().unwrap_err().to_string();
            assert!(error.starts_with("invalid container ID format"), "{error}");
        }
    }

    #[test]
    fn is_checked_when_read_from_json() {
        assert!(serde_json::from_str::<Id>("\"../x\"").is_err());
        assert_eq!(serde_json::from_str::<Id>("\"x\"").unwrap().as_str(), "x");
    }
}
