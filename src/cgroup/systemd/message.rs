//! Messages of D-Bus (D-Bus specification, "Message protocol").

use std::io::Read;

use super::value::{Reader, Value, malformed};
use crate::error::{Result, ResultExt};

const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
const PROTOCOL: u8 = 1;
const CALL: u8 = 1;
const NO_REPLY_EXPECTED: u8 = 1;

/// No message may be longer; systemd's are a few hundred bytes.
const MAX: usize = 128 << 20;

/// The method that is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    /// Who is asked; left out where there is no bus in between.
    pub(super) destination: Option<&'a str>,
    /// The object.
    pub(super) path: &'a str,
    /// Its interface.
    pub(super) interface: &'a str,
    /// The method.
    pub(super) name: &'a str,
}

/// The bytes of a call.
pub(super) fn call(serial: u32, method: Method<'_>, arguments: &[Value], answered: bool) -> Vec<u8> {
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut body = Vec::new();
    arguments.iter().for_each(|a| a.write(&mut body));
    let mut fields = vec![
        field(1, Value::Path(method.path.to_owned())),
        field(2, Value::str(method.interface)),
        field(3, Value::str(method.name)),
    ];
    fields.extend(method.destination.map(|d| field(6, Value::str(d))));
    if !signature.is_empty() {
        fields.push(field(8, Value::Signature(signature)));
    }
    let flags = if answered { 0 } else { NO_REPLY_EXPECTED };
    let mut out = vec![ENDIAN, CALL, flags, PROTOCOL];
    out.extend((body.len() as u32).to_ne_bytes());
    out.extend(serial.to_ne_bytes());
    Value::Array("(yv)".into(), fields).write(&mut out);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body);
    out
}

fn field(code: u8, value: Value) -> Value {
    Value::Struct(vec![Value::Byte(code), Value::variant(value)])
}

/// What a received message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to a call.
    Return,
    /// The refusal of a call.
    Error,
    /// A signal.
    Signal,
    /// Something else, of no concern.
    Other,
}

/// A received message.
#[derive(Debug)]
pub(super) struct Message {
    /// What it is.
    pub(super) kind: Kind,
    /// The serial of the call that it answers.
    pub(super) answers: Option<u32>,
    /// The name of the error.
    pub(super) error: Option<String>,
    /// The name of the signal.
    pub(super) member: Option<String>,
    /// Its values.
    pub(super) values: Vec<Value>,
}

impl Message {
    /// Reads the next one.
    ///
    /// # Errors
    /// The connection broke, or what comes is no message.
    pub(super) fn read(from: &mut impl Read) -> Result<Message> {
        let mut start = [0u8; 16];
        let mut receive = |buffer: &mut [u8]| from.read_exact(buffer).call(|| "read from systemd");
        receive(&mut start)?;
        let word = |at: usize| u32::from_ne_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]) as usize;
        let (body_length, fields_length) = (word(4), word(12));
        if start[0] != ENDIAN || start[3] != PROTOCOL || body_length + fields_length > MAX {
            return Err(malformed());
        }
        let header_length = fields_length.next_multiple_of(8);
        let mut rest = vec![0; header_length + body_length];
        receive(&mut rest)?;
        let (header, body) = rest.split_at(header_length);
        Message::parse(&[&start[..], header].concat(), body)
    }

    fn parse(header: &[u8], body: &[u8]) -> Result<Message> {
        let mut message = Message {
            kind: match header[1] {
                2 => Kind::Return,
                3 => Kind::Error,
                4 => Kind::Signal,
                _ => Kind::Other,
            },
            answers: None,
            error: None,
            member: None,
            values: Vec::new(),
        };
        let mut signature = String::new();
        let values = Reader::new(header).all("yyyyuua(yv)")?;
        let Some(Value::Array(_, fields)) = values.into_iter().next_back() else {
            return Err(malformed());
        };
        for field in fields {
            let Value::Struct(pair) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else {
                continue;
            };
            match (code, &**value) {
                (3, Value::Str(name)) => message.member = Some(name.clone()),
                (4, Value::Str(name)) => message.error = Some(name.clone()),
                (5, Value::U32(serial)) => message.answers = Some(*serial),
                (8, Value::Signature(text)) => signature.clone_from(text),
                _ => {}
            }
        }
        // Signals that are of no concern may hold types that are not known here.
        message.values = match message.kind {
            Kind::Signal | Kind::Other => Reader::new(body).all(&signature).unwrap_or_default(),
            Kind::Return | Kind::Error => Reader::new(body).all(&signature)?,
        };
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method<'static> = Method {
        destination: Some("org.freedesktop.systemd1"),
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        name: "StopUnit",
    };

    #[test]
    fn a_call_reads_back() {
        let arguments = [Value::str("x.scope"), Value::str("replace")];
        let bytes = call(7, METHOD, &arguments, true);
        let message = Message::read(&mut &bytes[..]).unwrap();
        assert_eq!(message.kind, Kind::Other);
        assert_eq!(message.member.as_deref(), Some("StopUnit"));
        assert_eq!(message.values, arguments);
        assert_eq!(bytes[2], 0);
        assert_eq!(call(7, METHOD, &arguments, false)[2], NO_REPLY_EXPECTED);
    }

    #[test]
    fn no_arguments_no_signature() {
        let bytes = call(1, METHOD, &[], true);
        assert_eq!(bytes.len() % 8, 0);
        assert!(Message::read(&mut &bytes[..]).unwrap().values.is_empty());
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Message::read(&mut &[0u8; 64][..]).is_err());
        let mut huge = call(1, METHOD, &[], true);
        huge[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Message::read(&mut &huge[..]).is_err());
    }
}
