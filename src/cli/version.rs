//! `--version`: the lines that engines parse.

use crate::config::features::SPEC_VERSION;
use crate::payload::wasm;

/// Name and version first, then one `name: value` a line. Docker takes what stands around the word `version`, in whatever
/// line it finds it last: no other line may hold it.
pub fn text(program: &str) -> String {
    let mut text = format!("{program} version {}\n", env!("CARGO_PKG_VERSION"));
    if let Some(commit) = option_env!("RUNW_COMMIT") {
        text.push_str(&format!("commit: {commit}\n"));
    }
    text.push_str(&format!("spec: {SPEC_VERSION}\n"));
    if let Ok(seccomp) = libseccomp::ScmpVersion::current() {
        text.push_str(&format!("libseccomp: {seccomp}\n"));
    }
    for line in wasm::describe() {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_first_line_says_version() {
        let text = super::text("runw");
        let with: Vec<usize> = text
            .lines()
            .enumerate()
            .filter(|(_, l)| l.contains("version"))
            .map(|(n, _)| n)
            .collect();
        assert_eq!(with, [0], "{text}");
        assert!(text.starts_with("runw version "), "{text}");
        assert!(text.contains("spec: 1."), "{text}");
    }
}
