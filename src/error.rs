//! Errors as data: a [`Kind`] that says what went wrong, wrapped in the steps that were under way.
//!
//! An error prints as one line, outermost step first: `create container "x": mount /proc: fsopen("proc"): Operation not
//! permitted`. It is serialisable because a failure in the container's init crosses to the parent as structure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, and inside which steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: Kind,
    /// Innermost step first.
    steps: Vec<String>,
}

/// The leaf of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// config.json is wrong: `at` is the JSON path (`linux.namespaces[2].type`), `problem` says why and what to do.
    Config {
        /// JSON path inside config.json, without a leading dot.
        at: String,
        /// What is wrong there.
        problem: String,
    },
    /// A system call failed.
    Sys {
        /// The call with its arguments, as strace would print them.
        call: String,
        /// The errno value.
        errno: i32,
    },
    /// There is no container of that name.
    NotFound {
        /// The container's id.
        id: String,
    },
    /// A container of that name is there already.
    Exists {
        /// The container's id.
        id: String,
    },
    /// The container is not in a state that allows the operation; the text is what engines look for.
    State(String),
    /// The program to run was not found; prints as `exec: "NAME": executable file not found in $PATH`.
    ExecutableNotFound {
        /// `process.args[0]`.
        name: String,
    },
    /// A hook ended with a failure.
    Hook(String),
    /// Neither kernel nor build can do it.
    Unsupported(String),
    /// The command line is wrong.
    Usage(String),
    /// Anything else; the text stands for itself.
    Message(String),
}

impl Error {
    /// An error without surrounding steps.
    pub fn new(kind: Kind) -> Self {
        Error {
            kind,
            steps: Vec::new(),
        }
    }

    /// config.json is wrong at the JSON path `at`. Both texts may quote the document: control characters are escaped, so that
    /// the error stays one line.
    pub fn config(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::new(Kind::Config {
            at: one_line(at.into()),
            problem: one_line(problem.into()),
        })
    }

    /// The system call `call` failed with `errno`.
    pub fn sys(call: impl Into<String>, errno: impl Into<Errno>) -> Self {
        Error::new(Kind::Sys {
            call: call.into(),
            errno: errno.into().0,
        })
    }

    /// A message that stands for itself.
    pub fn message(text: impl Into<String>) -> Self {
        Error::new(Kind::Message(text.into()))
    }

    /// Neither kernel nor build can do it.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Error::new(Kind::Unsupported(text.into()))
    }

    /// The leaf.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The errno of the failed system call, if the leaf is one.
    pub fn errno(&self) -> Option<i32> {
        match self.kind {
            Kind::Sys { errno, .. } => Some(errno),
            _ => None,
        }
    }

    /// execve(2) has refused the program.
    pub fn is_refused_program(&self) -> bool {
        matches!(&self.kind, Kind::Sys { call, .. } if call.starts_with("exec "))
    }

    /// Adds the step that was under way.
    #[must_use]
    pub fn wrap(mut self, step: impl Into<String>) -> Self {
        self.steps.push(step.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps.iter().rev() {
            write!(f, "{step}: ")?;
        }
        write!(f, "{}", self.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Config { at, problem } => write!(f, "config.json: {at}: {problem}"),
            Kind::Sys { call, errno } => write!(f, "{call}: {}", errno_text(*errno)),
            Kind::NotFound { .. } => f.write_str("container does not exist"),
            Kind::Exists { .. } => f.write_str("container with given ID already exists"),
            Kind::ExecutableNotFound { name } => write!(f, "exec: {name:?}: executable file not found in $PATH"),
            Kind::State(text)
            | Kind::Hook(text)
            | Kind::Unsupported(text)
            | Kind::Usage(text)
            | Kind::Message(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

fn one_line(text: String) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    match text.contains(char::is_control) {
        true => text.chars().map(escape).collect(),
        false => text,
    }
}

/// The text of an errno in lower case, as Go prints it: engines search for `permission denied`, `no such file or directory`.
pub fn errno_text(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

/// An errno from any of the libraries in use.
pub struct Errno(pub i32);

impl From<nix::errno::Errno> for Errno {
    fn from(e: nix::errno::Errno) -> Self {
        Errno(e as i32)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Self {
        Errno(e.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(e: std::io::Error) -> Self {
        Errno(e.raw_os_error().unwrap_or(nix::libc::EIO))
    }
}

impl From<i32> for Errno {
    fn from(e: i32) -> Self {
        Errno(e)
    }
}

/// Adds the call or the step to a failed result.
pub trait ResultExt<T> {
    /// Turns a failed system call into an [`Error`]; `call` is built only on failure.
    fn call<C: Into<String>>(self, call: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Errno>> ResultExt<T> for std::result::Result<T, E> {
    fn call<C: Into<String>>(self, call: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| Error::sys(call(), e))
    }
}

/// Adds a step to a failed [`Result`].
pub trait Wrap<T> {
    /// Adds the step that was under way; built only on failure.
    fn wrap<C: Into<String>>(self, step: impl FnOnce() -> C) -> Result<T>;
}

impl<T> Wrap<T> for Result<T> {
    fn wrap<C: Into<String>>(self, step: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.wrap(step()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_line_outermost_step_first() {
        let e = Error::sys("fsopen(\"proc\")", nix::errno::Errno::EPERM)
            .wrap("mount /proc")
            .wrap("create container");
        assert_eq!(
            e.to_string(),
            "create container: mount /proc: fsopen(\"proc\"): operation not permitted"
        );
        assert_eq!(e.errno(), Some(1));
    }

    #[test]
    fn what_config_json_says_does_not_break_the_line() {
        let e = Error::config("linux.sysctl.a\nb", "no \u{7} bell");
        assert_eq!(e.to_string(), "config.json: linux.sysctl.a\\nb: no \\u{7} bell");
    }

    #[test]
    fn survives_a_crossing() {
        let e = Error::config("linux.namespaces[1].type", "unknown namespace").wrap("check");
        let text = serde_json::to_string(&e).unwrap();
        assert_eq!(serde_json::from_str::<Error>(&text).unwrap(), e);
    }
}
