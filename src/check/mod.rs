//! `check`: what on this host and in a bundle would fail, found by looking, and what to do about it.
//!
//! A *failure* keeps containers (or the container of the bundle) from being created; a *warning* takes something away that some
//! containers ask for. What only creating can tell is found by [`attempt`].

mod attempt;
mod bundle;
mod host;

pub use attempt::attempt;
pub use bundle::bundle;
pub use host::host;

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Containers that ask for it will fail, or go without.
    Warning,
    /// No container, or not that of the bundle, can be created.
    Failure,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word: `kernel`, `cgroups`, `engine` …
    pub about: &'static str,
    /// How much it matters.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub found: String,
    /// What to do about it; empty if nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Finding {
    fn ok(about: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Ok, found, "")
    }

    fn warning(about: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Warning, found, advice)
    }

    fn failure(about: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::new(about, Verdict::Failure, found, advice)
    }

    fn new(about: &'static str, verdict: Verdict, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            about,
            verdict,
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// The worst of all verdicts.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        assert_eq!(worst(&[]), Verdict::Ok);
        let findings = [
            Finding::ok("a", ""),
            Finding::failure("b", "x", "y"),
            Finding::warning("c", "", ""),
        ];
        assert_eq!(worst(&findings), Verdict::Failure);
        let text = serde_json::to_string(&findings[1]).unwrap();
        assert_eq!(text, r#"{"about":"b","verdict":"failure","found":"x","advice":"y"}"#);
    }
}
