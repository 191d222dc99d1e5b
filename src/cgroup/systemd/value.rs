//! Values of D-Bus and their form on the wire (D-Bus specification, "Type system" and "Marshaling"), in the machine's byte order.

use crate::error::{Error, Result};

/// A value of the types that systemd's properties and the messages about them are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `aTYPE`: the type of the elements, and those.
    Array(String, Vec<Value>),
    /// `(TYPES)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    pub(super) fn str(text: impl Into<String>) -> Value {
        Value::Str(text.into())
    }

    /// A value of any type, with its type.
    pub(super) fn variant(value: Value) -> Value {
        Value::Variant(Box::new(value))
    }

    /// The type.
    pub(super) fn signature(&self) -> String {
        let simple = match self {
            Value::Byte(_) => "y",
            Value::Bool(_) => "b",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Str(_) => "s",
            Value::Path(_) => "o",
            Value::Signature(_) => "g",
            Value::Variant(_) => "v",
            Value::Array(element, _) => return format!("a{element}"),
            Value::Struct(fields) => return format!("({})", fields.iter().map(Value::signature).collect::<String>()),
        };
        simple.to_owned()
    }

    /// Appends the value; `out` begins where alignment is counted from.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        pad(out, alignment(&self.signature()));
        match self {
            Value::Byte(v) => out.push(*v),
            Value::Bool(v) => out.extend(u32::from(*v).to_ne_bytes()),
            Value::I16(v) => out.extend(v.to_ne_bytes()),
            Value::U16(v) => out.extend(v.to_ne_bytes()),
            Value::I32(v) => out.extend(v.to_ne_bytes()),
            Value::U32(v) => out.extend(v.to_ne_bytes()),
            Value::I64(v) => out.extend(v.to_ne_bytes()),
            Value::U64(v) => out.extend(v.to_ne_bytes()),
            Value::Str(text) | Value::Path(text) => {
                out.extend((text.len() as u32).to_ne_bytes());
                out.extend(text.as_bytes());
                out.push(0);
            }
            Value::Signature(text) => write_signature(text, out),
            Value::Array(element, values) => {
                let length_at = out.len();
                out.extend([0; 4]);
                pad(out, alignment(element));
                let start = out.len();
                values.iter().for_each(|v| v.write(out));
                let length = (out.len() - start) as u32;
                out[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
            }
            Value::Struct(fields) => fields.iter().for_each(|f| f.write(out)),
            Value::Variant(value) => {
                write_signature(&value.signature(), out);
                value.write(out);
            }
        }
    }
}

fn write_signature(text: &str, out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
    out.push(0);
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Reads values from a message.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`, where alignment is counted from.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// All values of a signature.
    ///
    /// # Errors
    /// The bytes are too few, or of a type that no message of systemd's holds.
    pub(super) fn all(&mut self, signature: &str) -> Result<Vec<Value>> {
        let mut rest = signature;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (one, further) = split(rest)?;
            values.push(self.one(one)?);
            rest = further;
        }
        Ok(values)
    }

    fn one(&mut self, signature: &str) -> Result<Value> {
        self.at = self.at.next_multiple_of(alignment(signature));
        let first = signature.as_bytes().first().copied().unwrap_or_default();
        Ok(match first {
            b'y' => Value::Byte(self.array::<1>()?[0]),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::I16(i16::from_ne_bytes(self.array()?)),
            b'q' => Value::U16(u16::from_ne_bytes(self.array()?)),
            b'i' => Value::I32(i32::from_ne_bytes(self.array()?)),
            b'u' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_ne_bytes(self.array()?)),
            b't' => Value::U64(u64::from_ne_bytes(self.array()?)),
            b's' => Value::Str(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let signature = self.signature()?;
                let (one, _) = split(&signature)?;
                Value::variant(self.one(one)?)
            }
            b'(' => Value::Struct(self.all(&signature[1..signature.len() - 1])?),
            b'a' => {
                let element = &signature[1..];
                let length = self.u32()? as usize;
                self.at = self.at.next_multiple_of(alignment(element));
                let end = self.at + length;
                let mut values = Vec::new();
                while self.at < end {
                    let before = self.at;
                    values.push(self.one(element)?);
                    if self.at == before {
                        return Err(malformed());
                    }
                }
                Value::Array(element.to_owned(), values)
            }
            _ => return Err(malformed()),
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_ne_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.array::<1>()?[0];
        self.terminated(length.into())
    }

    fn terminated(&mut self, length: usize) -> Result<String> {
        let bytes = self.take(length + 1)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

/// The first complete type of a signature, and the rest.
fn split(signature: &str) -> Result<(&str, &str)> {
    let mut depth = 0usize;
    for (at, c) in signature.bytes().enumerate() {
        match c {
            b'a' => continue,
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1).ok_or_else(malformed)?,
            _ => {}
        }
        if depth == 0 {
            return Ok(signature.split_at(at + 1));
        }
    }
    Err(malformed())
}

/// What the other side sent is not D-Bus as we know it.
pub(super) fn malformed() -> Error {
    Error::message("systemd sent a D-Bus message that cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn alignment_and_lengths() {
        let value = Value::Struct(vec![Value::Byte(7), Value::U64(1), Value::str("ab")]);
        let mut expected = vec![7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
        expected.extend(b"ab\0");
        assert_eq!(bytes(&value), expected);
        // The padding before the first element does not count.
        let array = Value::Array("t".into(), vec![Value::U64(5)]);
        assert_eq!(bytes(&array), [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let variant = Value::variant(Value::Bool(true));
        assert_eq!(bytes(&variant), [1, b'b', 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let property = |name: &str, value| Value::Struct(vec![Value::str(name), Value::variant(value)]);
        let pids = Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]);
        let values = vec![
            Value::str("x.scope"),
            Value::Array(
                "(sv)".into(),
                vec![
                    property("PIDs", pids),
                    property("MemoryMax", Value::U64(u64::MAX)),
                    property("Nice", Value::I32(-5)),
                    property("AllowedCPUs", Value::Array("y".into(), vec![Value::Byte(3)])),
                ],
            ),
            Value::Array("(sa(sv))".into(), Vec::new()),
            Value::Path("/a".into()),
            Value::Signature("a{sv}".into()),
        ];
        let signature: String = values.iter().map(Value::signature).collect();
        assert_eq!(signature, "sa(sv)a(sa(sv))og");
        let mut out = Vec::new();
        values.iter().for_each(|v| v.write(&mut out));
        assert_eq!(Reader::new(&out).all(&signature).unwrap(), values);
        for cut in 0..out.len() {
            assert!(Reader::new(&out[..cut]).all(&signature).is_err(), "{cut}");
        }
    }

    #[test]
    fn broken_signatures() {
        for signature in ["(", "(s", ")", "a", "aa", "z"] {
            assert!(Reader::new(&[0; 64]).all(signature).is_err(), "{signature}");
        }
    }
}
