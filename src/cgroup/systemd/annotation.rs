//! Annotations for systemd: `org.systemd.property.NAME`, as runc and crun read them, and crun's `run.oci.systemd.subgroup` and
//! `run.oci.delegate-cgroup`.

use std::collections::BTreeMap;

use super::property::Property;
use super::value::Value;
use crate::error::{Error, Result};

const PROPERTY: &str = "org.systemd.property.";
const SUBGROUP: &str = "run.oci.systemd.subgroup";
const DELEGATE: &str = "run.oci.delegate-cgroup";

/// What the annotations ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Properties of the unit.
    pub(super) properties: Vec<Property>,
    /// The cgroup below the unit's that is the container's.
    pub(super) subgroup: Option<String>,
    /// The cgroup below that which init is moved into once it has its cgroup namespace.
    pub(super) delegate: Option<String>,
}

/// Reads them.
///
/// # Errors
/// A name or value is not what it must be.
pub(super) fn read(annotations: &BTreeMap<String, String>) -> Result<Asked> {
    let folder = |key: &str| -> Result<Option<String>> {
        match annotations.get(key).filter(|name| !name.is_empty()) {
            Some(name) if name.contains(['/', '\n', '\0']) || name == "." || name == ".." => Err(Error::config(
                format!("annotations[{key:?}]"),
                format!("{name:?} must be the name of a folder (no slashes)"),
            )),
            name => Ok(name.cloned()),
        }
    };
    let mut asked = Asked {
        properties: Vec::new(),
        subgroup: folder(SUBGROUP)?,
        delegate: folder(DELEGATE)?,
    };
    if asked.delegate.is_some() && asked.subgroup.is_none() {
        return Err(Error::config(
            format!("annotations[{DELEGATE:?}]"),
            format!("needs {SUBGROUP:?}: the limits stay with that cgroup, out of the container's reach"),
        ));
    }
    for (key, text) in annotations {
        if let Some(name) = key.strip_prefix(PROPERTY) {
            let property = property(name, text).map_err(|problem| {
                Error::config(format!("annotations[{key:?}]"), format!("{problem} (value {text:?})"))
            })?;
            asked.properties.push(property);
        }
    }
    Ok(asked)
}

/// systemd.unit files know `TimeoutStopSec`, D-Bus knows `TimeoutStopUSec`: seconds become microseconds.
fn property(name: &str, text: &str) -> std::result::Result<Property, String> {
    if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(format!("{name:?} is no name of a systemd property"));
    }
    let value = parse(text)?;
    let seconds = name
        .strip_suffix("Sec")
        .filter(|rest| rest.ends_with(|c: char| c.is_ascii_lowercase()));
    Ok(match seconds {
        Some(rest) => Property::new(format!("{rest}USec"), microseconds(&value)?),
        None => Property::new(name.to_owned(), value),
    })
}

fn microseconds(value: &Value) -> std::result::Result<Value, String> {
    let seconds = match value {
        Value::Byte(v) => u64::from(*v),
        Value::U16(v) => u64::from(*v),
        Value::U32(v) => u64::from(*v),
        Value::U64(v) => *v,
        Value::I16(v) => u64::try_from(*v).unwrap_or(0),
        Value::I32(v) => u64::try_from(*v).unwrap_or(0),
        Value::I64(v) => u64::try_from(*v).unwrap_or(0),
        _ => return Err("not a number of seconds".to_owned()),
    };
    Ok(Value::U64(seconds.saturating_mul(1_000_000)))
}

/// A value in GVariant's text form (<https://docs.gtk.org/glib/gvariant-text-format.html>), as far as systemd's properties
/// need it: booleans, integers, strings, arrays and tuples. A bare number is an `int32`.
fn parse(text: &str) -> std::result::Result<Value, String> {
    let mut rest = text;
    let value = one(&mut rest)?;
    match rest.trim() {
        "" => Ok(value),
        more => Err(format!("unexpected {more:?}")),
    }
}

fn one(rest: &mut &str) -> std::result::Result<Value, String> {
    *rest = rest.trim_start();
    match rest.chars().next() {
        None => Err("a value is missing".to_owned()),
        Some(quote @ ('\'' | '"')) => string(rest, quote).map(Value::Str),
        Some('[') => {
            let values = list(rest, ']')?;
            let element = values.first().map_or_else(|| "s".to_owned(), Value::signature);
            match values.iter().find(|v| v.signature() != element) {
                Some(_) => Err("an array needs elements of one type".to_owned()),
                None => Ok(Value::Array(element, values)),
            }
        }
        Some('(') => list(rest, ')').map(Value::Struct),
        Some('@') => {
            let (signature, after) = rest[1..].split_once(' ').ok_or("a value is missing after the type")?;
            *rest = after;
            typed(signature, one(rest)?)
        }
        Some(_) => word(rest),
    }
}

/// Elements up to `end`, separated by commas.
fn list(rest: &mut &str, end: char) -> std::result::Result<Vec<Value>, String> {
    *rest = rest[1..].trim_start();
    let mut values = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(end) {
            *rest = after;
            return Ok(values);
        }
        values.push(one(rest)?);
        *rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => *rest = after.trim_start(),
            None if rest.starts_with(end) => {}
            None => return Err(format!("expected ',' or {end:?}")),
        }
    }
}

fn string(rest: &mut &str, quote: char) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, other)) => out.push(other),
                None => break,
            },
            c if c == quote => {
                *rest = &rest[at + 1..];
                return Ok(out);
            }
            c => out.push(c),
        }
    }
    Err("the string does not end".to_owned())
}

/// `true`, `5`, `uint64 5`.
fn word(rest: &mut &str) -> std::result::Result<Value, String> {
    let end = rest
        .find(|c: char| c.is_whitespace() || ",])(['\"".contains(c))
        .unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    let signature = match word {
        "true" | "false" => return Ok(Value::Bool(word == "true")),
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "string" => "s",
        "objectpath" => "o",
        number => return integer("i", number),
    };
    *rest = rest.trim_start();
    if matches!(signature, "b" | "s" | "o") {
        return typed(signature, one(rest)?);
    }
    let end = rest
        .find(|c: char| c.is_whitespace() || ",])".contains(c))
        .unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    integer(signature, number)
}

fn typed(signature: &str, value: Value) -> std::result::Result<Value, String> {
    match (signature, value) {
        ("o", Value::Str(text)) => Ok(Value::Path(text)),
        (_, Value::Array(_, values)) if values.is_empty() && signature.starts_with('a') && signature.len() > 1 => {
            Ok(Value::Array(signature[1..].to_owned(), values))
        }
        (_, value) if value.signature() == signature => Ok(value),
        (number, Value::I32(v)) => integer(number, &v.to_string()),
        (_, value) => Err(format!("is of type {:?}, not {signature:?}", value.signature())),
    }
}

fn integer(signature: &str, text: &str) -> std::result::Result<Value, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => digits.parse::<i128>(),
    };
    let bad = |_| format!("{text:?} is no {}", long_name(signature));
    let number = magnitude.map(|m| if negative { -m } else { m }).map_err(|_| {
        format!("{text:?} is no value: strings need quotes, other numbers than int32 their type (uint64 5)")
    })?;
    Ok(match signature {
        "y" => Value::Byte(number.try_into().map_err(bad)?),
        "n" => Value::I16(number.try_into().map_err(bad)?),
        "q" => Value::U16(number.try_into().map_err(bad)?),
        "u" => Value::U32(number.try_into().map_err(bad)?),
        "x" => Value::I64(number.try_into().map_err(bad)?),
        "t" => Value::U64(number.try_into().map_err(bad)?),
        "i" => Value::I32(number.try_into().map_err(bad)?),
        other => return Err(format!("a number is not of type {other:?}")),
    })
}

fn long_name(signature: &str) -> &'static str {
    match signature {
        "y" => "byte",
        "n" => "int16",
        "q" => "uint16",
        "u" => "uint32",
        "x" => "int64",
        "t" => "uint64",
        _ => "int32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked> {
        read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn values_in_text() {
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("uint32  0x10", Value::U32(16)),
            ("'it\\'s'", Value::str("it's")),
            ("\"a 'b'\"", Value::str("a 'b'")),
            (
                "['a', 'b']",
                Value::Array("s".into(), vec![Value::str("a"), Value::str("b")]),
            ),
            ("@as []", Value::Array("s".into(), Vec::new())),
            (
                "[('/dev/null', 'rw')]",
                Value::Array(
                    "(ss)".into(),
                    vec![Value::Struct(vec![Value::str("/dev/null"), Value::str("rw")])],
                ),
            ),
            ("(true, byte 3)", Value::Struct(vec![Value::Bool(true), Value::Byte(3)])),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
        for bad in [
            "",
            "abc",
            "'a",
            "['a' 'b']",
            "['a', 1]",
            "byte 256",
            "uint32 -1",
            "1 2",
            "[1",
            "uint64 'x'",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn properties() {
        let asked = asked(&[
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("org.systemd.property.TimeoutStopSec", "5"),
            ("org.systemd.property.TimeoutStopUSec", "uint64 7"),
            ("org.systemd.property.MemorySec", "'a'"),
        ]);
        assert!(asked.is_err());
        let asked = super::tests::asked(&[
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("org.systemd.property.TimeoutStopSec", "5"),
            ("other", "x"),
        ])
        .unwrap();
        assert_eq!(
            asked.properties,
            [
                Property::new("CollectMode", Value::str("inactive-or-failed")),
                Property::new("TimeoutStopUSec", Value::U64(5_000_000)),
            ]
        );
        for bad in [
            "org.systemd.property.A",
            "org.systemd.property.A.B",
            "org.systemd.property.Nice1",
        ] {
            assert!(super::tests::asked(&[(bad, "1")]).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_below() {
        let both = asked(&[(SUBGROUP, "container"), (DELEGATE, "payload")]).unwrap();
        assert_eq!(both.subgroup.as_deref(), Some("container"));
        assert_eq!(both.delegate.as_deref(), Some("payload"));
        assert_eq!(asked(&[(SUBGROUP, "")]).unwrap(), Asked::default());
        assert!(asked(&[(DELEGATE, "payload")]).is_err());
        assert!(asked(&[(SUBGROUP, "../x")]).is_err());
    }
}
