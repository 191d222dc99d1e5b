//! A native program, executed by execve(2).

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::{Payload, Seal};
use crate::error::{Error, Kind, Result};
use crate::sys::exe;

/// The program named by `process.args`.
#[derive(Debug)]
pub struct Native {
    args: Vec<String>,
    search: String,
    program: PathBuf,
}

impl Native {
    /// The program `args[0]`, looked for in the folders of `PATH` as `env` has it.
    pub fn new(args: Vec<String>, env: &[String]) -> Self {
        let search = env
            .iter()
            .rev()
            .find_map(|e| e.strip_prefix("PATH="))
            .unwrap_or_default()
            .to_owned();
        Native {
            args,
            search,
            program: PathBuf::new(),
        }
    }
}

impl Payload for Native {
    const SEAL: Seal = Seal::AtExec;

    fn prepare(&mut self) -> Result<()> {
        let name = self.args.first().map(String::as_str).unwrap_or_default();
        self.program = find(name, &self.search)?;
        Ok(())
    }

    fn run(self, env: Vec<String>, hand_over: impl FnOnce() -> Result<()>) -> Result<Infallible> {
        let args = c_strings(&self.args)?;
        let env = c_strings(&env)?;
        hand_over()?;
        exe::exec(self.program.as_os_str(), &args, &env)
    }
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    texts
        .iter()
        .map(|t| exe::c_string(OsStr::from_bytes(t.as_bytes())))
        .collect()
}

/// Looks the program up as execvp(3) would, with the words that engines search for in the errors.
fn find(name: &str, search: &str) -> Result<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path).map_err(|errno| not_usable(name, errno));
    }
    let mut denied = None;
    for folder in search.split(':') {
        let path = if folder.is_empty() {
            Path::new(".").join(name)
        } else {
            Path::new(folder).join(name)
        };
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(nix::libc::EACCES) => denied = Some(nix::libc::EACCES),
            Err(_) => {}
        }
    }
    match denied {
        Some(errno) => Err(not_usable(name, errno)),
        None => Err(Error::new(Kind::ExecutableNotFound { name: name.to_owned() })),
    }
}

/// A missing file is told as stat(2) tells it; a program that is there but cannot be executed has its own wording.
fn not_usable(name: &str, errno: i32) -> Error {
    let call = if errno == nix::libc::ENOENT {
        format!("exec: {name:?}: stat {name}")
    } else {
        format!("exec: {name:?}")
    };
    Error::sys(call, errno)
}

/// Whether the calling user may execute the file; the errno if not.
fn check(path: &Path) -> Result<(), i32> {
    let stat = rustix::fs::stat(path).map_err(|e| e.raw_os_error())?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
        return Err(nix::libc::EISDIR);
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(nix::libc::EACCES);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // An old kernel or a filter without faccessat2: execve itself will tell.
        Ok(()) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(()),
        Err(e) => Err(e.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_engines_look_for() {
        let missing = find("no-such-program", "/bin:/usr/bin").unwrap_err().to_string();
        assert_eq!(missing, "exec: \"no-such-program\": executable file not found in $PATH");
        let missing = find("/no/such", "").unwrap_err().to_string();
        assert_eq!(missing, "exec: \"/no/such\": stat /no/such: no such file or directory");
        let folder = find("/tmp", "").unwrap_err().to_string();
        assert_eq!(folder, "exec: \"/tmp\": is a directory");
        let denied = find("/etc/passwd", "").unwrap_err().to_string();
        assert_eq!(denied, "exec: \"/etc/passwd\": permission denied");
        assert!(find("sh", "/nowhere:/bin").unwrap().ends_with("bin/sh"));
    }
}
