//! Which systemd is asked: the system's, or the one of the user's session; and where it listens.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::Access;
use serde::{Deserialize, Serialize};

use super::bus::Connection;
use super::value::Value;
use crate::error::{Error, Result, Wrap};
use crate::ns::in_user_namespace;

/// Where the system's systemd listens itself, for root alone (systemd(1), "Sockets and FIFOs").
const PRIVATE: &str = "/run/systemd/private";

/// Where the system's bus listens (D-Bus specification, "System message bus").
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// One of the systemds of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Session {
    /// pid 1.
    System,
    /// The user's own, `user@UID.service`.
    User,
}

/// A socket to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The path, or the name in the abstract namespace (unix(7)).
    pub(super) path: OsString,
    /// It is a name in the abstract namespace.
    pub(super) is_abstract: bool,
    /// A message bus listens there, not systemd itself.
    pub(super) is_bus: bool,
}

impl Address {
    fn file(path: impl AsRef<Path>, is_bus: bool) -> Address {
        Address {
            path: path.as_ref().as_os_str().to_owned(),
            is_abstract: false,
            is_bus,
        }
    }
}

impl Session {
    /// The one that this process may ask for units: root's is the system's, also root's in a user namespace that systemd runs
    /// in, but not that of a rootless engine.
    pub(super) fn own() -> Session {
        let system = rustix::process::geteuid().is_root()
            && (!in_user_namespace() || rustix::fs::access(PRIVATE, Access::WRITE_OK).is_ok());
        if system { Session::System } else { Session::User }
    }

    /// Connects to it.
    ///
    /// # Errors
    /// There is no systemd, or none that listens to this process.
    pub(super) fn connect(self) -> Result<Connection> {
        booted()?;
        match self {
            Session::System => Connection::open(&[Address::file(PRIVATE, false), Address::file(SYSTEM_BUS, true)])
                .wrap(|| "ask systemd for the container's cgroup"),
            Session::User => Connection::open(&user_addresses(
                std::env::var_os("DBUS_SESSION_BUS_ADDRESS"),
                std::env::var_os("XDG_RUNTIME_DIR"),
                rustix::process::geteuid().as_raw(),
            ))
            .wrap(|| {
                "ask the user's systemd for the container's cgroup (it needs a login session or `loginctl enable-linger`, \
                 and XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS set)"
            }),
        }
    }

    /// The cgroup below which its units lie, `/` for the system.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub(super) fn root(self) -> Result<String> {
        match self {
            Session::System => booted().map(|()| "/".to_owned()),
            Session::User => match self.connect()?.manager_property("ControlGroup")? {
                Value::Str(path) => Ok(path),
                _ => Err(super::value::malformed()),
            },
        }
    }
}

/// The host runs systemd; as sd_booted(3) finds out.
fn booted() -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    Err(Error::unsupported(
        "systemd not running on this host, cannot use systemd cgroups manager: leave --systemd-cgroup out \
         (--cgroup-manager=cgroupfs)",
    ))
}

/// Where a user's systemd may listen. Engines clear the environment of some commands but for XDG_RUNTIME_DIR.
fn user_addresses(bus: Option<OsString>, runtime: Option<OsString>, uid: u32) -> Vec<Address> {
    let mut addresses = Vec::new();
    let runtime = runtime
        .filter(|dir| !dir.is_empty())
        .unwrap_or_else(|| format!("/run/user/{uid}").into());
    addresses.push(Address::file(Path::new(&runtime).join("systemd/private"), false));
    addresses.extend(bus.iter().flat_map(|list| parse(list.as_bytes())));
    addresses.push(Address::file(Path::new(&runtime).join("bus"), true));
    addresses
}

/// The unix sockets of a D-Bus address list (D-Bus specification, "Server addresses").
fn parse(list: &[u8]) -> Vec<Address> {
    list.split(|b| *b == b';')
        .filter_map(|one| one.strip_prefix(b"unix:"))
        .filter_map(|keys| {
            keys.split(|b| *b == b',').find_map(|key| {
                let (is_abstract, value) = match (key.strip_prefix(b"path="), key.strip_prefix(b"abstract=")) {
                    (Some(value), _) => (false, value),
                    (_, value) => (true, value?),
                };
                Some(Address {
                    path: OsString::from_vec(unescape(value)),
                    is_abstract,
                    is_bus: true,
                })
            })
        })
        .collect()
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(addresses: &[Address]) -> Vec<String> {
        addresses
            .iter()
            .map(|a| {
                let at = if a.is_abstract { "@" } else { "" };
                let bus = if a.is_bus { " (bus)" } else { "" };
                format!("{at}{}{bus}", a.path.to_string_lossy())
            })
            .collect()
    }

    #[test]
    fn address_lists() {
        let list = b"tcp:host=h;unix:path=/run/a%20b,guid=12;unix:guid=1,abstract=/tmp/x%;unix:runtime=yes";
        assert_eq!(paths(&parse(list)), ["/run/a b (bus)", "@/tmp/x% (bus)"]);
        assert!(parse(b"").is_empty());
    }

    #[test]
    fn of_a_user() {
        assert_eq!(
            paths(&user_addresses(
                Some("unix:path=/tmp/bus".into()),
                Some("/run/x".into()),
                7
            )),
            ["/run/x/systemd/private", "/tmp/bus (bus)", "/run/x/bus (bus)"]
        );
        assert_eq!(
            paths(&user_addresses(None, Some("".into()), 7)),
            ["/run/user/7/systemd/private", "/run/user/7/bus (bus)"]
        );
    }
}
