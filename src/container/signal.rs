//! Signals as people and engines write them.

use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// A signal number, real-time signals included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// The signal that asks a process to end.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// The signal that ends a process.
    pub const KILL: Signal = Signal(libc::SIGKILL);

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// Takes a number (0 asks whether the process is there, kill(2)), or a name of signal(7) with or without `SIG`, in any case: `9`, `KILL`, `sigkill`, `RTMIN+3`.
    fn from_str(text: &str) -> Result<Self> {
        let number = match text.parse::<i32>() {
            Ok(number) => Some(number),
            Err(_) => by_name(&text.to_ascii_uppercase()),
        };
        match number {
            Some(number) if (0..=libc::SIGRTMAX()).contains(&number) => Ok(Signal(number)),
            _ => Err(Error::new(Kind::Usage(format!(
                "unknown signal {text:?}: give a number from 0 to {}, or a name such as TERM",
                libc::SIGRTMAX()
            )))),
        }
    }
}

fn by_name(upper: &str) -> Option<i32> {
    let name = upper.strip_prefix("SIG").unwrap_or(upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').map(|n| libc::SIGRTMIN() + n);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').map(|n| libc::SIGRTMAX() - n);
    }
    let name = match name {
        "POLL" => "IO",
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        other => other,
    };
    format!("SIG{name}")
        .parse::<nix::sys::signal::Signal>()
        .ok()
        .map(|signal| signal as i32)
}

/// The `3` of `+3`; 0 for nothing. Anything outside the range of real-time signals is `None`.
fn offset(text: &str, sign: char) -> Option<i32> {
    let number = match text.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => digits.parse().ok()?,
        None if text.is_empty() => 0,
        _ => return None,
    };
    (0..=libc::SIGRTMAX() - libc::SIGRTMIN())
        .contains(&number)
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> i32 {
        text.parse::<Signal>().unwrap().number()
    }

    #[test]
    fn numbers_and_names_in_any_case() {
        for kill in ["9", "KILL", "kill", "SIGKILL", "sigKill"] {
            assert_eq!(number(kill), 9);
        }
        assert_eq!(number("SIGTERM"), 15);
        assert_eq!(number("cld"), number("CHLD"));
        assert_eq!(number("iot"), number("abrt"));
    }

    #[test]
    fn real_time_signals() {
        assert_eq!(number("RTMIN"), libc::SIGRTMIN());
        assert_eq!(number("sigrtmin+3"), libc::SIGRTMIN() + 3);
        assert_eq!(number("RTMAX-14"), libc::SIGRTMAX() - 14);
        assert_eq!((number("64"), number("0")), (64, 0));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "65",
            "-9",
            "FOO",
            "SIG",
            "SIGSIGTERM",
            "RTMIN+99",
            "RTMIN-1",
            "RTMIN++1",
            "9x",
        ] {
            let error = bad.parse::<Signal>().unwrap_err().to_string();
            assert!(error.starts_with("unknown signal"), "{bad}: {error}");
        }
    }
}
