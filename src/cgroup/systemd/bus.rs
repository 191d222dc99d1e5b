//! A blocking connection to systemd: to its own socket, or to the bus it is on.
//!
//! A runtime makes one to three calls and leaves, so this is all of D-Bus that it needs: no thread, no event loop.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use super::message::{self, Kind, Message, Method};
use super::session::Address;
use super::value::Value;
use crate::error::{Error, Kind as ErrorKind, Result, ResultExt, Wrap};

/// How long systemd may take for an answer or a job.
const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";

/// A connection that is ready for calls.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    /// There is a message bus in between.
    on_bus: bool,
    serial: u32,
    /// The jobs that ended while an answer was waited for.
    ended: Vec<Job>,
}

/// How systemd answered.
pub(super) enum Answer {
    /// It did it.
    Done(Vec<Value>),
    /// It did not.
    Refused {
        /// The name of the error, such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// What it says about it.
        text: String,
    },
}

impl Answer {
    /// The values, with a refusal made an error.
    pub(super) fn values(self) -> Result<Vec<Value>> {
        match self {
            Answer::Done(values) => Ok(values),
            Answer::Refused { name, text } => Err(Error::message(format!("systemd: {text} ({name})"))),
        }
    }
}

/// A job of systemd's that has ended.
struct Job {
    path: String,
    result: String,
}

impl Connection {
    /// Connects to the first of `addresses` that answers.
    ///
    /// # Errors
    /// None does; the error is that of the first that is there.
    pub(super) fn open(addresses: &[Address]) -> Result<Connection> {
        let mut first = None;
        for address in addresses {
            match Connection::to(address) {
                Ok(connection) => return Ok(connection),
                Err(e) => {
                    let absent = e.errno() == Some(nix::libc::ENOENT);
                    if first.as_ref().is_none_or(|(_, was_absent)| *was_absent && !absent) {
                        first = Some((e, absent));
                    }
                }
            }
        }
        Err(first.map_or_else(|| Error::message("no address of systemd is known"), |(e, _)| e))
    }

    fn to(address: &Address) -> Result<Connection> {
        let name = if address.is_abstract {
            SocketAddr::from_abstract_name(address.path.as_bytes())
        } else {
            SocketAddr::from_pathname(&address.path)
        };
        let stream = name
            .and_then(|name| UnixStream::connect_addr(&name))
            .call(|| format!("connect({:?})", address.path))?;
        let limited = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        limited.call(|| "setsockopt(SO_RCVTIMEO)")?;
        let mut connection = Connection {
            stream: BufReader::new(stream),
            on_bus: address.is_bus,
            serial: 0,
            ended: Vec::new(),
        };
        connection
            .authenticate()
            .wrap(|| format!("D-Bus handshake on {:?}", address.path))?;
        if address.is_bus {
            connection.join_bus()?;
        }
        Ok(connection)
    }

    /// SASL EXTERNAL with an empty identity: the kernel has told the other side who we are, and unlike a number that holds
    /// across user namespaces.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).call(|| "read")?;
            match line.split_whitespace().next() {
                Some("OK") => return Ok(()),
                Some("DATA") => {}
                _ if read == 0 => return Err(Error::message("the connection was closed")),
                _ => return Err(Error::message(format!("refused: {}", line.trim_end()))),
            }
        }
    }

    /// A bus wants a greeting, and passes on the signals that were asked for only.
    fn join_bus(&mut self) -> Result<()> {
        let bus = |name| Method {
            destination: Some(BUS),
            path: "/org/freedesktop/DBus",
            interface: BUS,
            name,
        };
        self.call(bus("Hello"), &[])?.values()?;
        let rule = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
        self.post(bus("AddMatch"), &[Value::str(rule)], false)?;
        self.post(self.manager("Subscribe"), &[], false)?;
        Ok(())
    }

    fn manager(&self, name: &'static str) -> Method<'static> {
        Method {
            destination: self.on_bus.then_some(SYSTEMD),
            path: SYSTEMD_PATH,
            interface: MANAGER,
            name,
        }
    }

    /// Calls a method of systemd's manager object.
    ///
    /// # Errors
    /// The connection broke. A refusal is an [`Answer`].
    pub(super) fn ask(&mut self, method: &'static str, arguments: &[Value]) -> Result<Answer> {
        self.call(self.manager(method), arguments)
    }

    /// Calls a method that begins a job, and waits for its end. `None` if the call was refused with the error `tolerated`.
    ///
    /// # Errors
    /// systemd refuses, the job fails or takes longer than 30 s.
    pub(super) fn run_job(&mut self, method: &'static str, arguments: &[Value], tolerated: &str) -> Result<Option<()>> {
        let values = match self.ask(method, arguments)? {
            Answer::Refused { name, .. } if name == tolerated => return Ok(None),
            other => other.values()?,
        };
        let Some(Value::Path(job)) = values.first() else {
            return Err(super::value::malformed());
        };
        match self.await_job(job)?.as_str() {
            "done" => Ok(Some(())),
            other => Err(Error::message(format!("systemd's job ended with {other:?}"))),
        }
    }

    fn await_job(&mut self, path: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.ended.iter().position(|j| j.path == path) {
                return Ok(self.ended.swap_remove(at).result);
            }
            let message = self.next(end)?;
            self.note(&message);
        }
    }

    /// A property of the manager.
    ///
    /// # Errors
    /// The connection broke or there is no such property.
    pub(super) fn manager_property(&mut self, name: &str) -> Result<Value> {
        let get = Method {
            interface: "org.freedesktop.DBus.Properties",
            ..self.manager("Get")
        };
        let values = self.call(get, &[Value::str(MANAGER), Value::str(name)])?.values()?;
        match values.into_iter().next() {
            Some(Value::Variant(value)) => Ok(*value),
            _ => Err(super::value::malformed()),
        }
    }

    fn call(&mut self, method: Method<'_>, arguments: &[Value]) -> Result<Answer> {
        let serial = self.post(method, arguments, true)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.next(end)?;
            if message.answers != Some(serial) {
                self.note(&message);
                continue;
            }
            if message.kind == Kind::Error {
                let text = match message.values.into_iter().next() {
                    Some(Value::Str(text)) => text,
                    _ => "it gives no reason".to_owned(),
                };
                let name = message.error.unwrap_or_default();
                return Ok(Answer::Refused { name, text });
            }
            return Ok(Answer::Done(message.values));
        }
    }

    fn post(&mut self, method: Method<'_>, arguments: &[Value], answered: bool) -> Result<u32> {
        self.serial += 1;
        self.send(&message::call(self.serial, method, arguments, answered))?;
        Ok(self.serial)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).call(|| "write to systemd")
    }

    fn next(&mut self, end: Instant) -> Result<Message> {
        let late = || Error::message(format!("systemd did not answer within {} s", PATIENCE.as_secs()));
        if Instant::now() > end {
            return Err(late());
        }
        Message::read(&mut self.stream).map_err(|e| match e.kind() {
            ErrorKind::Sys {
                errno: nix::libc::EAGAIN,
                ..
            } => late(),
            _ => e,
        })
    }

    /// Keeps the end of a job in mind.
    fn note(&mut self, message: &Message) {
        if message.kind != Kind::Signal || message.member.as_deref() != Some("JobRemoved") {
            return;
        }
        if let [_, Value::Path(path), _, Value::Str(result)] = message.values.as_slice() {
            self.ended.push(Job {
                path: path.clone(),
                result: result.clone(),
            });
        }
    }
}
