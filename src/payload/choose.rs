//! Finding a bundle's program from outside, before anything is made, to see what kind it is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::config::{Config, MountSource, Process, Workload, workload};
use crate::error::{Error, Result};

/// The kind of a container's program, and for a module where it lies inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Executed by the kernel.
    Linux,
    /// Run by the engine.
    Wasm(PathBuf),
}

impl Choice {
    /// The kind alone.
    pub fn workload(&self) -> Workload {
        match self {
            Choice::Linux => Workload::Linux,
            Choice::Wasm(_) => Workload::Wasm,
        }
    }
}

/// Chooses for `config`; `called_as_wasm` when the runtime was called by its twin's name.
pub fn choose(config: &Config, called_as_wasm: bool) -> Result<Choice> {
    let Some(process) = &config.process else {
        return Ok(Choice::Linux);
    };
    let said = workload::from_annotations(&config.annotations, called_as_wasm);
    if said == Some(Workload::Linux) {
        return Ok(Choice::Linux);
    }
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let found = candidates(name, &process.cwd, &process.env)
        .into_iter()
        .find_map(|p| open(config, &p).and_then(|f| first_bytes(&f)).map(|b| (p, b)));
    match (said, found) {
        (_, Some((path, bytes))) => match workload::from_magic(&bytes) {
            Ok(Workload::Wasm) => Ok(Choice::Wasm(path)),
            Ok(Workload::Linux) if said.is_none() => Ok(Choice::Linux),
            Ok(Workload::Linux) => Err(Error::config(
                "process.args[0]",
                format!("{name:?} is not a WebAssembly module"),
            )),
            Err(problem) => Err(Error::config("process.args[0]", format!("{name:?}: {problem}"))),
        },
        (Some(_), None) => Ok(Choice::Wasm(process.cwd.join(name))),
        (None, None) => Ok(Choice::Linux),
    }
}

/// Chooses for a further process of a container whose root is `root`. Here the file alone decides, because the annotations
/// speak of the container's own program: beside a module a shell may run, and the other way round.
///
/// # Errors
/// The program is a component, or a module of an unknown version.
pub fn choose_in(root: BorrowedFd<'_>, process: &Process) -> Result<Choice> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let found = candidates(name, &process.cwd, &process.env).into_iter().find_map(|p| {
        let file = open_in(root, p.strip_prefix("/").unwrap_or(&p))?;
        first_bytes(&file).map(|b| (p, b))
    });
    let Some((path, bytes)) = found else {
        return Ok(Choice::Linux);
    };
    match workload::from_magic(&bytes) {
        Ok(Workload::Wasm) => Ok(Choice::Wasm(path)),
        Ok(Workload::Linux) => Ok(Choice::Linux),
        Err(problem) => Err(Error::message(format!("{name:?}: {problem}"))),
    }
}

/// The paths inside the container where `name` may lie, in the order in which execvp(3) would try them; the working directory
/// comes last for a bare name, because the entry point of an image made from scratch is often just `app.wasm`.
fn candidates(name: &str, cwd: &Path, env: &[String]) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![cwd.join(name)];
    }
    let search = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or_default();
    let folders = search
        .split(':')
        .filter(|f| !f.is_empty())
        .map(|f| cwd.join(f).join(name));
    folders.chain([cwd.join(name)]).collect()
}

/// The first eight bytes of a file.
fn first_bytes(file: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 8];
    let n = rustix::io::pread(file, &mut bytes[..], 0).ok()?;
    bytes.truncate(n);
    Some(bytes)
}

/// Opens the regular file that `path` will be inside the container; `None` when there is none.
pub fn open(config: &Config, path: &Path) -> Option<OwnedFd> {
    let (root, inside) = place(config, path)?;
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    open_in(root.as_fd(), &inside)
}

/// Opens the regular file `inside` the folder `root`, or `root` itself; links and `..` do not lead out of it.
pub fn open_in(root: BorrowedFd<'_>, inside: &Path) -> Option<OwnedFd> {
    let how = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = if inside.as_os_str().is_empty() {
        let itself = format!("/proc/self/fd/{}", root.as_raw_fd());
        rustix::fs::open(itself, how, Mode::empty()).ok()?
    } else {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, inside, how, Mode::empty(), resolve).ok()?
    };
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    (kind == rustix::fs::FileType::RegularFile).then_some(file)
}

/// The host folder (or file) that will be mounted over the part of `path` nearest to its end, and the rest of the path.
fn place<'a>(config: &'a Config, path: &Path) -> Option<(&'a Path, PathBuf)> {
    let path: PathBuf = path.components().filter(|c| !matches!(c, Component::CurDir)).collect();
    // A tmpfs that begins as a copy shows what lies below it.
    let covering = config
        .mounts
        .iter()
        .rev()
        .filter(|m| !m.copy_up)
        .filter_map(|m| path.strip_prefix(&m.destination).ok().map(|rest| (m, rest)));
    match covering.min_by_key(|(_, rest)| rest.components().count()) {
        None => Some((&config.rootfs, path.strip_prefix("/").unwrap_or(&path).to_owned())),
        Some((mount, rest)) => match &mount.source {
            MountSource::Bind { path: source, .. } => Some((source, rest.to_owned())),
            // Whatever a fresh file system holds, it is no program yet.
            MountSource::Filesystem { .. } | MountSource::Cgroup => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_in_path_and_in_cwd() {
        let env = ["PATH=/bin:/usr/bin".to_owned()];
        let all = candidates("app.wasm", Path::new("/srv"), &env);
        assert_eq!(
            all,
            ["/bin/app.wasm", "/usr/bin/app.wasm", "/srv/app.wasm"].map(PathBuf::from)
        );
        assert_eq!(candidates("./a", Path::new("/srv"), &env), [PathBuf::from("/srv/./a")]);
        assert_eq!(candidates("/a", Path::new("/srv"), &env), [PathBuf::from("/a")]);
    }
}
