//! The few file formats of cgroup counters.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;

use super::super::apply::is;
use super::super::dir::{Dir, is_gone};
use super::{Pressure, Stall};
use crate::error::Result;

/// A cgroup folder of which any file may be missing.
pub(super) struct Counters(Option<Dir>);

impl Counters {
    /// Opens the folder; no folder is a folder without files.
    pub(super) fn open(path: Option<&Path>) -> Result<Counters> {
        let Some(path) = path else {
            return Ok(Counters(None));
        };
        match Dir::open(path) {
            Err(e) if is_gone(&e) => Ok(Counters(None)),
            other => other.map(|dir| Counters(Some(dir))),
        }
    }

    /// A file's text; empty if there is no such file or the kernel does not count that here.
    pub(super) fn text(&self, file: &str) -> Result<String> {
        let Some(dir) = &self.0 else {
            return Ok(String::new());
        };
        match dir.read(file) {
            Err(e) if is_gone(&e) || is(&e, Errno::OPNOTSUPP) => Ok(String::new()),
            other => other,
        }
    }

    /// A file with one number, if it is there.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>> {
        Ok(number(self.text(file)?.trim_end()))
    }

    /// A file with one number; 0 if it is not there.
    pub(super) fn count(&self, file: &str) -> Result<u64> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// A file of lines with a name and a number.
    pub(super) fn table(&self, file: &str) -> Result<BTreeMap<String, u64>> {
        Ok(table(&self.text(file)?))
    }

    /// A pressure file.
    pub(super) fn pressure(&self, file: &str) -> Result<Option<Pressure>> {
        Ok(pressure(&self.text(file)?))
    }
}

/// `max` is the largest number.
fn number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), number(value.trim())?))
    };
    text.lines().filter_map(pair).collect()
}

fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    let mut any = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stall = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        words.for_each(|word| fill(stall, word));
        any = true;
    }
    any.then_some(pressure)
}

fn fill(stall: &mut Stall, word: &str) {
    let Some((key, value)) = word.split_once('=') else {
        return;
    };
    let float = value.parse().unwrap_or(0.0);
    match key {
        "avg10" => stall.avg10 = float,
        "avg60" => stall.avg60 = float,
        "avg300" => stall.avg300 = float,
        "total" => stall.total = value.parse().unwrap_or(0),
        _ => {}
    }
}

/// A list such as `0-2,7` (cpuset(7)).
pub(super) fn list(text: &str) -> Vec<u16> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

/// The page sizes of the host as the hugetlb controller names them, from the names in `/sys/kernel/mm/hugepages`.
pub(super) fn page_sizes() -> Vec<String> {
    let Ok(folder) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    let mut sizes: Vec<String> = folder
        .filter_map(|entry| page_size(entry.ok()?.file_name().to_str()?))
        .collect();
    sizes.sort();
    sizes
}

fn page_size(folder: &str) -> Option<String> {
    let kib: u64 = folder.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0x10_0000.. => format!("{}GB", kib >> 20),
        0x400.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_numbers() {
        let parsed = table("anon 5\nfile max\nodd\nworse x\n");
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed["file"], u64::MAX);
        assert_eq!(number(""), None);
    }

    #[test]
    fn pressure_lines() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let parsed = pressure(text).unwrap();
        assert_eq!(parsed.some.avg10, 1.5);
        assert_eq!(parsed.some.total, 77);
        assert_eq!(parsed.full.total, 3);
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn lists() {
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(list("\n"), Vec::<u16>::new());
    }

    #[test]
    fn sizes_of_pages() {
        assert_eq!(page_size("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(page_size("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(page_size("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(page_size("uevent"), None);
    }
}
