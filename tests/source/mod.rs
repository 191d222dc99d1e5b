//! Rust files without comments and literals, and what can be counted in them. rustfmt's layout is taken for granted.

use std::path::Path;

/// One file.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// The text; comments are gone, string and character literals are empty, line ends are all there.
    pub code: String,
}

impl Source {
    /// All Rust files below the given folders that exist.
    pub fn all(folders: &[&str]) -> Vec<Source> {
        let mut files = Vec::new();
        for folder in folders {
            collect(Path::new(folder), &mut files);
        }
        assert!(files.len() > 10, "the sources are not here");
        files
    }

    /// A file from its text.
    pub fn parse(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            code: code(text),
        }
    }

    /// The module of the crate root that the file belongs to; none for the crate root itself and the binaries.
    pub fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src/")?;
        let name = inside.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "bin").then(|| name.to_owned())
    }

    /// Lines with code on them, up to the unit tests.
    pub fn lines_without_tests(&self) -> usize {
        let end = self.code.find("#[cfg(test)]\nmod tests").unwrap_or(self.code.len());
        self.code[..end].lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// Each function with its number of lines, those of comments and blank ones left out.
    pub fn functions(&self) -> Vec<(String, usize)> {
        let lines: Vec<&str> = self.code.lines().collect();
        let mut found = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            if let Some(("fn", name)) = defined(line) {
                found.push((name, length(&lines[number..])));
            }
        }
        found
    }

    /// Everything that gets a name: keyword and name.
    pub fn definitions(&self) -> Vec<(&'static str, String)> {
        self.code.lines().filter_map(defined).collect()
    }
}

/// The words of a piece of code.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

fn collect(folder: &Path, files: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(Source::parse(path.to_str().unwrap(), &text));
        }
    }
}

/// What a line defines.
fn defined(line: &str) -> Option<(&'static str, String)> {
    const KEYWORDS: [&str; 6] = ["fn", "struct", "enum", "trait", "type", "mod"];
    const BEFORE: [&str; 8] = ["pub", "crate", "super", "const", "async", "unsafe", "extern", "in"];
    let mut words = words(line).skip_while(|word| BEFORE.contains(word));
    let first = words.next()?;
    let keyword = KEYWORDS.into_iter().find(|keyword| *keyword == first)?;
    Some((keyword, words.next()?.to_owned()))
}

/// The lines of the function that begins on the first of `lines`.
fn length(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let is_last = |line: &str| {
        let text = line.trim();
        line.len() - line.trim_start().len() == indent && (text.ends_with('}') || text.ends_with(';'))
    };
    let last = lines.iter().position(|line| is_last(line)).unwrap_or(lines.len() - 1);
    lines[..=last].iter().filter(|line| !line.trim().is_empty()).count()
}

/// The text without comments and with empty literals.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (skipped, put) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), ""),
            '"' => (string(rest), "\"\""),
            'r' if !after_word(&code) && raw_string(rest).is_some() => (raw_string(rest).unwrap(), "\"\""),
            '\'' => match character(rest) {
                Some(length) => (length, "''"),
                None => (1, "'"),
            },
            _ => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        code.push_str(put);
        // Line ends inside of what was left out still count as lines of the file, but not as code.
        if put.trim().is_empty() || put == "\"\"" {
            let line_ends = rest[..skipped].matches('\n').count() - put.matches('\n').count();
            code.extend(std::iter::repeat_n('\n', line_ends));
        }
        rest = &rest[skipped..];
    }
    code
}

fn after_word(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The length of a string literal, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => (),
        }
    }
    text.len()
}

/// The length of a raw string literal.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|c| *c == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&end)? + end.len())
}

/// The length of a character literal; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return text[3..].find('\'').map(|end| end + 4);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}
