//! `events`.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::global::Global;
use super::{Result, Verb, pick};
use crate::container::events::{self, Event};
use crate::error::{Error, ResultExt};

/// The arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Time between two looks, such as 100ms or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Look once and end
    #[arg(long)]
    stats: bool,
}

impl Verb for Events {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        if self.stats {
            events::once(&store, &id, |event| tell(event).map(drop))?;
        } else {
            events::follow(&store, &id, self.interval, tell)?;
        }
        Ok(0)
    }
}

/// Prints an event on a line of its own; `false` if nobody reads it any more.
fn tell(event: &Event<'_>) -> Result<bool> {
    let mut line = serde_json::to_vec(event).map_err(|e| Error::message(e.to_string()))?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&line).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e).call(|| "write(stdout)"),
    }
}

/// A duration as Go writes it: `1h15m30.5s`, `100ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let odd = || format!("{text:?} is no duration, write one such as 500ms or 5s");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(odd)?;
        let number: f64 = rest[..end].parse().map_err(|_| odd())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(odd()),
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("duration interval must be greater than 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, millis) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("+2s", 2000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("1500µs"), Ok(Duration::from_micros(1500)));
        for bad in ["5", "s", "1x", "-1s", "1s2", "0x1s", "1..2s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for zero in ["", "0s", "0h0m"] {
            assert!(duration(zero).unwrap_err().contains("greater than 0"), "{zero}");
        }
    }
}
