//! Environment variables that the runtime adds: HOME, LISTEN_FDS, LISTEN_PID.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// More of a passwd file is not looked at.
const LONGEST_PASSWD: u64 = 16 << 20;

/// The home directory of `uid` by the `/etc/passwd` below `root`, which may be a link within it; `/` when there is none.
pub fn home_of(root: BorrowedFd<'_>, uid: u32) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, "etc/passwd", flags, Mode::empty(), resolve)
        .ok()
        .map(File::from);
    file.filter(|f| f.metadata().is_ok_and(|m| m.is_file()))
        .and_then(|f| find_home(BufReader::new(f.take(LONGEST_PASSWD)), uid))
        .unwrap_or_else(|| "/".to_owned())
}

/// The sixth field of the first line whose third is `uid` (passwd(5)).
fn find_home(mut passwd: impl BufRead, uid: u32) -> Option<String> {
    let mut line = Vec::new();
    while passwd.read_until(b'\n', &mut line).ok()? > 0 {
        let text = String::from_utf8_lossy(&line);
        let mut fields = text.trim_end_matches(['\n', '\r']).split(':');
        if fields.nth(2).and_then(|f| f.trim().parse::<u32>().ok()) == Some(uid) {
            return fields.nth(2).filter(|home| !home.is_empty()).map(str::to_owned);
        }
        line.clear();
    }
    None
}

/// Adds `HOME` unless the environment has one that is not empty.
pub(super) fn ensure_home(env: &mut Vec<String>, home: impl FnOnce() -> String) {
    if env
        .iter()
        .any(|e| e.strip_prefix("HOME=").is_some_and(|value| !value.is_empty()))
    {
        return;
    }
    env.retain(|e| e != "HOME=");
    env.push(format!("HOME={}", home()));
}

/// Adds the variables of socket activation (sd_listen_fds(3)) for `fds` descriptors from 3 on and the payload's own `pid`;
/// none when there are no descriptors.
pub(super) fn listen_env(env: &mut Vec<String>, fds: u32, pid: u32) {
    if fds == 0 {
        return;
    }
    env.retain(|e| !e.starts_with("LISTEN_FDS=") && !e.starts_with("LISTEN_PID="));
    env.push(format!("LISTEN_FDS={fds}"));
    env.push(format!("LISTEN_PID={pid}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nnohome:x:5:5:::\nu:x:1000:1000:,,,:/home/u:/bin/sh\n";

    #[test]
    fn finds_the_home_of_a_uid() {
        let home = |uid| find_home(PASSWD.as_bytes(), uid);
        assert_eq!(home(0).as_deref(), Some("/root"));
        assert_eq!(home(1000).as_deref(), Some("/home/u"));
        assert_eq!(home(5), None);
        assert_eq!(home(7), None);
    }

    #[test]
    fn a_link_is_followed_inside_the_root_only() {
        let base = std::env::temp_dir().join(format!("runw-home-{}", std::process::id()));
        std::fs::create_dir_all(base.join("etc")).unwrap();
        std::fs::write(base.join("users"), PASSWD).unwrap();
        std::os::unix::fs::symlink("/users", base.join("etc/passwd")).unwrap();
        let root = File::open(&base).unwrap();
        assert_eq!(home_of(root.as_fd(), 1000), "/home/u");
        std::fs::remove_file(base.join("etc/passwd")).unwrap();
        assert_eq!(home_of(root.as_fd(), 0), "/");
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn home_is_added_only_if_missing_or_empty() {
        let mut env = vec!["HOME=".to_owned(), "A=1".to_owned()];
        ensure_home(&mut env, || "/h".to_owned());
        assert_eq!(env, ["A=1", "HOME=/h"]);
        ensure_home(&mut env, || unreachable!("HOME is set"));
        assert_eq!(env.len(), 2);
    }

    #[test]
    fn socket_activation_names_number_and_pid_once() {
        let mut env = vec!["LISTEN_PID=99".to_owned(), "A=1".to_owned()];
        listen_env(&mut env, 0, 1);
        assert_eq!(env.len(), 2);
        listen_env(&mut env, 2, 1);
        assert_eq!(env, ["A=1", "LISTEN_FDS=2", "LISTEN_PID=1"]);
    }
}
