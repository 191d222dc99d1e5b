//! Joining existing namespaces by path.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::config::{NamespaceKind as Kind, NamespaceSource, Namespaces};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::namespace;

/// A namespace to join, open and of the right type.
#[derive(Debug)]
pub struct Join {
    /// Its kind.
    pub kind: Kind,
    fd: OwnedFd,
    path: PathBuf,
}

/// Opens every namespace that has a path; one that the runtime is in already needs no joining and is left out.
pub(super) fn open_all(spaces: &Namespaces) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for kind in Kind::ALL {
        if let NamespaceSource::Path(path) = spaces.source(kind)
            && let Some(join) = open(kind, path.clone())?
        {
            joins.push(join);
        }
    }
    Ok(joins)
}

fn open(kind: Kind, path: PathBuf) -> Result<Option<Join>> {
    let at = || format!("linux.namespaces: path of the {} namespace", kind.config_name());
    let fd = rustix::fs::open(
        &path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .call(|| format!("open({path:?})"))
    .wrap(at)?;
    if namespace::kind(fd.as_fd()).ok() != Some(kind.clone_flag()) {
        return Err(Error::config(
            format!("linux.namespaces: path of the {} namespace", kind.config_name()),
            format!(
                "{} is not a namespace of that type; name a file such as /proc/PID/ns/{}",
                path.display(),
                kind.proc_name()
            ),
        ));
    }
    let there = rustix::fs::fstat(&fd).call(|| "fstat(namespace)")?;
    let own = format!("/proc/self/ns/{}", kind.proc_name());
    let here = rustix::fs::stat(&own).call(|| format!("stat({own:?})"))?;
    let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
    Ok((!same).then_some(Join { kind, fd, path }))
}

/// Joins all of them. Those that the host owns are joined with the host's privileges, before the user namespace; those that
/// belong to the user namespace, after it.
pub fn join_all(joins: &[Join]) -> Result<()> {
    let user = joins.iter().find(|j| j.kind == Kind::User);
    let mut rest: Vec<&Join> = Vec::new();
    for join in joins.iter().filter(|j| j.kind != Kind::User) {
        match namespace::enter(join.fd.as_fd(), join.kind.clone_flag()) {
            Ok(()) => {}
            Err(_) if user.is_some() => rest.push(join),
            Err(e) => return Err(join.wrap(e)),
        }
    }
    let after = user.into_iter().chain(rest);
    after
        .into_iter()
        .try_for_each(|j| namespace::enter(j.fd.as_fd(), j.kind.clone_flag()).map_err(|e| j.wrap(e)))
}

impl Join {
    fn wrap(&self, e: Error) -> Error {
        e.wrap(format!(
            "join the {} namespace {}",
            self.kind.config_name(),
            self.path.display()
        ))
    }
}
