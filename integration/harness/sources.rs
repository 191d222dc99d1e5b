//! Things that cases about mounts share.

use std::fs;
use std::path::PathBuf;

use super::bundle::Bundle;

/// A shell command that prints the mountinfo line of the mount at `place`, as the container sees it.
pub fn show_mount(place: &str) -> String {
    format!("awk -v p={place} '$5==p {{l=$0}} END {{print l}}' /proc/self/mountinfo")
}

/// A bundle, and a folder of the host for it to bind, with `file` and the empty folder `sub`.
pub fn with_source() -> (Bundle, PathBuf) {
    let c = Bundle::busybox();
    let source = c.scrap_folder("source");
    fs::write(source.join("file"), "hello\n").unwrap();
    fs::create_dir(source.join("sub")).unwrap();
    (c, source)
}
