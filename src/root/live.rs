//! Mounts that come and go while the container runs.
//!
//! The runtime itself goes into the container's mount namespace for it, and never leaves it again. Sources are opened before
//! that, with the host's eyes; destinations after it, inside the container's root, and each is used by its descriptor: the
//! container's processes may do what they like to the paths meanwhile.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};

use super::attributes::{self, SetClear};
use super::filesystem::Recipe;
use super::tree::{self, Alteration, Tree};
use super::{Room, bind, resolve, target};
use crate::config::{Mount, MountSource, NamespaceKind, PropagationKind};
use crate::error::{Error, Result, ResultExt, Wrap};
use crate::sys::mount::Change;
use crate::sys::namespace;

/// The mount namespace and the root of a running container.
#[derive(Debug)]
pub struct Place {
    namespace: OwnedFd,
    root: OwnedFd,
    /// The container's user namespace is another than the runtime's.
    in_userns: bool,
}

impl Place {
    /// That of process `pid`, which the caller keeps from being another one.
    ///
    /// # Errors
    /// The process is gone, or shares the runtime's own mount namespace.
    pub fn of(pid: i32) -> Result<Place> {
        let open = |name: &str, flags| {
            let path = format!("/proc/{pid}/{name}");
            rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))
        };
        let is_own = |kind: NamespaceKind| {
            let name = kind.proc_name();
            let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
            namespace("self") == namespace(&pid.to_string())
        };
        if is_own(NamespaceKind::Mount) {
            return Err(Error::unsupported(
                "the container has no mount namespace of its own: its mounts would be the host's",
            ));
        }
        Ok(Place {
            namespace: open("ns/mnt", OFlags::RDONLY)?,
            root: open("root", OFlags::PATH | OFlags::DIRECTORY)?,
            in_userns: !is_own(NamespaceKind::User),
        })
    }

    /// Goes there, for good.
    fn enter(self) -> Result<Room> {
        namespace::enter(self.namespace.as_fd(), NamespaceKind::Mount.clone_flag())
            .wrap(|| "join the container's mount namespace")?;
        let mut room = Room::new();
        room.set_root(self.root);
        Ok(room)
    }
}

/// Adds `mounts` in order. What a failed one comes after stays.
///
/// # Errors
/// The first one that fails: a source that is not there, a destination that cannot be made.
pub fn add(place: Place, mounts: Vec<Mount>) -> Result<()> {
    let additions = mounts.into_iter().map(|mount| open(mount, place.in_userns));
    let additions: Vec<(Mount, Option<Tree>)> = additions.collect::<Result<_>>()?;
    let mut room = place.enter()?;
    for (mount, tree) in additions {
        let step = || format!("mount at {} (mounts[{}])", mount.destination.display(), mount.index);
        attach(&mount, tree, &mut room).wrap(step)?;
    }
    Ok(())
}

/// A copy of what a bind mount has as its source.
fn open(mount: Mount, in_userns: bool) -> Result<(Mount, Option<Tree>)> {
    let destination = resolve::clean(&mount.destination);
    target::check_destination(&mount, &destination)?;
    let mount = Mount { destination, ..mount };
    let MountSource::Bind { path, recursive } = &mount.source else {
        if in_userns {
            let problem = "its files would belong to the host's root, not to the container's; bind a folder instead";
            return Err(Error::config(format!("mounts[{}].type", mount.index), problem));
        }
        return Ok((mount, None));
    };
    match Tree::copy_at(path, bind::how(mount.symlink, *recursive))? {
        Tree::Classic(_, why) => Err(why.wrap("this kernel cannot hand mounts over")),
        detached => Ok((mount, Some(detached))),
    }
}

fn attach(mount: &Mount, tree: Option<Tree>, room: &mut Room) -> Result<()> {
    let source = tree.as_ref().and_then(Tree::inode);
    let target = target::open(room.root()?, mount, source)?;
    let (tree, asked, recursive) = match (tree, &mount.source) {
        (Some(tree), MountSource::Bind { recursive, .. }) => {
            (tree, attributes::of_bind(mount).unwrap_or_default(), *recursive)
        }
        (_, MountSource::Filesystem { fstype, device }) => {
            let mut recipe = Recipe::of(mount, fstype, device, attributes::of_filesystem(mount));
            if target.existed {
                recipe = recipe.take_over_mode(target.fd.as_fd())?;
            }
            (recipe.make()?, SetClear::default(), false)
        }
        _ => return Err(Error::message("this kind of mount cannot be added")),
    };
    // The copy is still a peer of the host's mounts.
    let mut changes = vec![Alteration {
        recursive: true,
        change: Change {
            propagation: attributes::propagation_flag(PropagationKind::Private),
            ..Change::default()
        },
    }];
    changes.extend(attributes::alterations(mount, asked, recursive));
    tree.attach(target.fd.as_fd(), &changes, room).map(drop)
}

/// Removes what is mounted at each of the paths, the last one first. Only what is on top there goes.
///
/// # Errors
/// The first path at which nothing is mounted.
pub fn remove(place: Place, destinations: &[PathBuf]) -> Result<()> {
    let mut room = place.enter()?;
    for (index, destination) in destinations.iter().enumerate().rev() {
        detach(&resolve::clean(destination), &mut room)
            .wrap(|| format!("unmount {} (mounts[{index}])", destination.display()))?;
    }
    Ok(())
}

fn detach(destination: &std::path::Path, room: &mut Room) -> Result<()> {
    let found = resolve::find(room.root()?, destination).call(|| format!("open({destination:?})"))?;
    let found = found.ok_or_else(|| Error::message("there is no such path in the container"))?;
    let stat = rustix::fs::statx(&found.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let is_mount = stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    if !is_mount || destination == std::path::Path::new("/") {
        return Err(Error::message("it is no mount that could be removed"));
    }
    tree::detach(found.fd.as_fd(), room)
}
