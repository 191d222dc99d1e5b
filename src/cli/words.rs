//! Words as Go programs take them: a long option may have a single dash.
//!
//! go-runc calls `restore … -no-subreaper`. To clap that is a bundle of short options, so a line that makes no sense is read
//! once more with two dashes wherever a word with one dash names a long option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{ArgMatches, Command};

/// Parses `words`, the first of which is the command's own name.
///
/// # Errors
/// Those of clap for the words as they were typed.
pub fn parse(command: Command, words: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let mut first = command.clone();
    let error = match first.try_get_matches_from_mut(&words) {
        Ok(matches) => return Ok(matches),
        Err(error) if error.use_stderr() => error,
        Err(help) => return Err(help),
    };
    let long: Vec<&str> = first.get_arguments().filter_map(|arg| arg.get_long()).collect();
    match with_two_dashes(&long, &words) {
        Some(words) => command.try_get_matches_from(words).map_err(|_| error),
        None => Err(error),
    }
}

/// The words with `-name` made `--name` for each long option; `None` if there is no such word.
fn with_two_dashes(long: &[&str], words: &[OsString]) -> Option<Vec<OsString>> {
    let mut any = false;
    let words = words
        .iter()
        .map(|word| {
            let found = is_long_with_one_dash(long, word);
            any |= found;
            let mut dash = OsString::from(if found { "-" } else { "" });
            dash.push(word);
            dash
        })
        .collect();
    any.then_some(words)
}

fn is_long_with_one_dash(long: &[&str], word: &OsStr) -> bool {
    let Some(name) = word.as_bytes().strip_prefix(b"-") else {
        return false;
    };
    let name = name.split(|c| *c == b'=').next().unwrap_or(name);
    name.len() > 1 && long.iter().any(|long| long.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(words: &[&str]) -> Option<Vec<OsString>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        with_two_dashes(&["bundle", "no-subreaper"], &words)
    }

    #[test]
    fn only_long_options_get_a_second_dash() {
        assert_eq!(
            two(&["-no-subreaper", "-b", "x"]).unwrap(),
            ["--no-subreaper", "-b", "x"]
        );
        assert_eq!(two(&["-bundle=/b"]).unwrap(), ["--bundle=/b"]);
        assert_eq!(two(&["--bundle", "-x", "bundle", "-"]), None);
    }
}
