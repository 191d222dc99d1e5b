//! Protocol buffers as far as CRIU's messages need them: varints, strings and messages in messages.
//!
//! The encoding is described at <https://protobuf.dev/programming-guides/encoding/>.

use crate::error::{Error, Result};

/// The wire types (low three bits of a field's key).
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Message::default()
    }

    /// Adds a number; bool, the int and uint types and enums are all written so. Negative ones take ten bytes.
    #[must_use]
    pub fn number(mut self, field: u64, value: impl Into<i64>) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value.into().cast_unsigned());
        self
    }

    /// Adds a bool, if it is true: all of CRIU's are optional and false by default.
    #[must_use]
    pub fn flag(self, field: u64, value: bool) -> Self {
        match value {
            true => self.number(field, 1),
            false => self,
        }
    }

    /// Adds a string.
    #[must_use]
    pub fn text(mut self, field: u64, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.varint(field << 3 | BYTES);
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text);
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, field: u64, message: &Message) -> Self {
        self.text(field, &message.0)
    }

    /// The bytes to send.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value as it stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A string or a message.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// As an int32; 0 for what is no number.
    pub fn int(self) -> i32 {
        match self {
            Value::Number(n) => n as i32,
            Value::Bytes(_) => 0,
        }
    }

    /// As a bool; false for what is no number.
    pub fn is_true(self) -> bool {
        matches!(self, Value::Number(n) if n != 0)
    }

    /// As a string; empty for what is none.
    pub fn text(self) -> String {
        match self {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Number(_) => String::new(),
        }
    }
}

/// The fields of a message in their order: number and value. Fixed-width fields, of which CRIU has none, are passed over.
///
/// # Errors
/// The bytes are no message.
pub fn fields(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let field = key >> 3;
        match key & 7 {
            VARINT => found.push((field, Value::Number(take_varint(&mut rest)?))),
            BYTES => {
                let length = take_varint(&mut rest)?;
                let length = usize::try_from(length).map_err(|_| malformed())?;
                found.push((field, Value::Bytes(take(&mut rest, length)?)));
            }
            FIXED64 => drop(take(&mut rest, 8)?),
            FIXED32 => drop(take(&mut rest, 4)?),
            _ => return Err(malformed()),
        }
    }
    Ok(found)
}

/// The fields of the message in a field of a message.
///
/// # Errors
/// As [`fields`].
pub fn inner(value: Value<'_>) -> Result<Vec<(u64, Value<'_>)>> {
    match value {
        Value::Bytes(bytes) => fields(bytes),
        Value::Number(_) => Err(malformed()),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = left;
    Ok(taken)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?.first().copied().unwrap_or_default();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn malformed() -> Error {
    Error::message("CRIU sent a message that is not a protocol buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(Message::new().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().text(2, "testing").into_bytes(), b"\x12\x07testing");
        let inner = Message::new().number(1, 150);
        assert_eq!(Message::new().message(3, &inner).into_bytes(), b"\x1a\x03\x08\x96\x01");
        assert_eq!(
            Message::new().number(1, -2).into_bytes(),
            b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
        assert_eq!(Message::new().flag(1, false).into_bytes(), b"");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = Message::new()
            .number(68, i64::MAX)
            .number(2, -5)
            .flag(300, true)
            .text(4, "x")
            .into_bytes();
        let read = fields(&bytes).unwrap();
        assert_eq!(read[0], (68, Value::Number(i64::MAX as u64)));
        assert_eq!((read[1].0, read[1].1.int()), (2, -5));
        assert!(read[2].0 == 300 && read[2].1.is_true());
        assert_eq!(read[3].1.text(), "x");
        assert_eq!(fields(b"\x0d1234\x11123456781\x08\x01").unwrap_or_default().len(), 0);
        assert_eq!(
            fields(b"\x0d1234\x1112345678\x08\x01").unwrap(),
            [(1, Value::Number(1))]
        );
    }

    #[test]
    fn rubbish_is_an_error_not_a_panic() {
        for bytes in [
            &b"\x08"[..],
            b"\x12\x05ab",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
        assert!(inner(Value::Number(1)).is_err());
    }
}
