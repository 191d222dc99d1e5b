//! Root file systems, made in about a millisecond from Debian's static busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Makes a small Linux system in `root`: busybox with all its names, `/etc/passwd`, and the usual empty folders.
pub fn busybox(root: &Path) {
    for folder in [
        "bin", "dev", "etc", "home/ann", "proc", "root", "run", "sys", "tmp", "usr/bin", "var",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let binary = root.join("bin/busybox");
    fs::copy(program(), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    for applet in applets() {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nbob:x:1001:1001:Bob:/srv/bob:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nann:x:1000:\nbob:x:1001:\n").unwrap();
}

/// A static busybox: `RUNW_IT_BUSYBOX`, else the machine's own.
fn program() -> PathBuf {
    let named = std::env::var_os("RUNW_IT_BUSYBOX").map(PathBuf::from);
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let found = named.into_iter().chain(places).find(|file| file.is_file());
    found.expect("the suite needs a static busybox: apt-get install busybox-static")
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let list = Command::new(program()).arg("--list").output().unwrap();
        let names = String::from_utf8(list.stdout).unwrap();
        names
            .lines()
            .filter(|name| *name != "busybox")
            .map(str::to_owned)
            .collect()
    })
}
