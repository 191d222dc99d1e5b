//! `checkpoint`: has CRIU write a container to files.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Id, PayloadKind, Record, Status, Store, delete, external};
use crate::config::NamespaceKind;
use crate::criu::{self, Choices, Notification, Options, Request, Service, Start};
use crate::error::{Error, Kind, Result, ResultExt, Wrap};
use crate::{log, sys};

const LOG: &str = "dump.log";

/// How to checkpoint a container.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// The folder for the images, absolute; it is made.
    pub image: PathBuf,
    /// The folder for the log, absolute; that of the images if there is none.
    pub work: Option<PathBuf>,
    /// The folder of the images before, from that of the images.
    pub parent: Option<PathBuf>,
    /// Host and port of a page server (`criu page-server`).
    pub page_server: Option<(String, u16)>,
    /// A descriptor of the caller; gets a NUL byte when lazy pages are being served.
    pub status_fd: Option<i32>,
    /// Only the memory is written, and the container goes on.
    pub pre_dump: bool,
    /// What is CRIU's to do or not.
    pub choices: Choices,
}

/// Writes a running or paused container to files. It is deleted then, unless it is to be left running.
///
/// # Errors
/// It is not running, it is a WebAssembly container, or CRIU cannot: then it goes on.
pub fn checkpoint(store: &Store, id: &Id, options: &CheckpointOptions) -> Result<()> {
    let locked = store.folder(id)?.lock()?;
    let (record, status) = locked.status()?;
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::new(Kind::State(format!(
            "Container cannot be checkpointed in {status} state"
        ))));
    }
    refuse_wasm(record.payload, "checkpoint")?;
    warn_rootless("checkpoint");
    criu::require()?;
    criu::require_features(options.pre_dump, options.choices.lazy_pages)?;
    let ready = options
        .status_fd
        .filter(|_| options.choices.lazy_pages)
        .map(take_status_fd);
    let ready = ready.transpose()?;
    dump(&record, options, ready).wrap(|| "checkpoint")?;
    if options.pre_dump || options.choices.leave_running {
        return Ok(());
    }
    delete::end(&record).and_then(|()| delete::remove(locked, &record))
}

fn dump(record: &Record, options: &CheckpointOptions, mut ready: Option<OwnedFd>) -> Result<()> {
    let request = prepare(record, options)?;
    let request = match options.pre_dump {
        true => Request::PreDump(&request),
        false => Request::Dump(&request),
    };
    let service = Service::start(&Start::default())?;
    let outcome = service.call(&request, |told: Notification<'_>| match (told.script, ready.take()) {
        ("status-ready", Some(fd)) => rustix::io::write(&fd, &[0]).map(drop).call(|| "write(--status-fd)"),
        (_, fd) => {
            ready = fd;
            Ok(())
        }
    });
    let log = options.work.as_ref().unwrap_or(&options.image).join(LOG);
    criu::explain(outcome, &log).map(drop)
}

fn prepare(record: &Record, options: &CheckpointOptions) -> Result<Options> {
    let outside = &record.external;
    let images = make_folder(&options.image)?;
    if let Some(parent) = &options.parent {
        check_parent(&images, parent)?;
    }
    let mut request = Options {
        images: Some(images),
        work: options.work.as_deref().map(make_folder).transpose()?,
        log_file: LOG,
        pid: Some(record.init.pid),
        root: Some(record.rootfs.clone()),
        config_file: config_file(&record.annotations),
        parent_image: options.parent.clone(),
        page_server: options.page_server.clone(),
        freeze_cgroup: record.cgroup.controller_dir("freezer"),
        external: outside.namespaces_of(record.init.pid)?,
        // A runtime does not manage network devices, so they are nothing to save.
        empty_namespaces: NamespaceKind::Network.clone_flag(),
        choices: options.choices.clone(),
        ..Options::default()
    };
    if !options.pre_dump {
        request.external_mounts = outside.mounts_of(record.init.pid)?;
        let streams = outside.streams_of(record.init.pid);
        request.external.extend(external::files(&streams));
        external::save_streams(&streams, &options.image)?;
    }
    Ok(request)
}

/// Opens a folder of the host, made with mode 0700 if it is not there.
pub(super) fn make_folder(path: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.call(|| format!("mkdir {path:?}"))?;
    open_folder(path)
}

/// The images written before lie in a folder that is named from that of the new ones.
fn check_parent(images: &OwnedFd, parent: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(images, parent, flags, Mode::empty());
    opened
        .map(drop)
        .call(|| format!("invalid --parent-path: {parent:?} from --image-path"))
}

pub(super) fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open {path:?}"))
}

/// CRIU's configuration file: that of the annotation, none if that is empty, else the runtime's own.
pub(super) fn config_file(annotations: &std::collections::BTreeMap<String, String>) -> Option<PathBuf> {
    match annotations.get("org.criu.config").map(String::as_str) {
        Some("") => None,
        Some(named) => Some(named.into()),
        None => ["/etc/criu/runw.conf", "/etc/criu/runc.conf"]
            .into_iter()
            .map(PathBuf::from)
            .find(|file| file.exists()),
    }
}

/// CRIU saves what the kernel knows of a process; the engine's own machinery in it is beyond that.
pub(super) fn refuse_wasm(payload: PayloadKind, verb: &str) -> Result<()> {
    match payload {
        PayloadKind::Linux => Ok(()),
        PayloadKind::Wasm => Err(Error::unsupported(format!(
            "{verb} is not supported for WebAssembly containers: the engine in the container's process cannot be saved"
        ))),
    }
}

pub(super) fn warn_rootless(verb: &str) {
    if !rustix::process::geteuid().is_root() {
        log::warn(format!("{verb} is untested with rootless containers"));
    }
}

/// Takes over a descriptor that the caller named by its number. The number itself is closed, so that the caller's other end
/// sees the end of the stream.
fn take_status_fd(number: i32) -> Result<OwnedFd> {
    let problem = |why: &str| Error::new(Kind::Usage(format!("invalid --status-fd argument {number}: {why}")));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(|_| problem("not open"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags
        .and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or_default();
    if flags & (OFlags::WRONLY | OFlags::RDWR).bits() == 0 {
        return Err(problem("not writable"));
    }
    let path = format!("/proc/self/fd/{number}");
    let own =
        rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))?;
    sys::process::close_inherited(&[number]);
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_annotation_decides_about_the_configuration() {
        let with = |value: &str| BTreeMap::from([("org.criu.config".to_owned(), value.to_owned())]);
        assert_eq!(config_file(&with("/x")), Some("/x".into()));
        assert_eq!(config_file(&with("")), None);
    }

    #[test]
    fn a_status_descriptor_has_to_be_writable() {
        use std::os::fd::{AsRawFd, IntoRawFd};
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let refused = take_status_fd(read.as_raw_fd()).unwrap_err().to_string();
        assert!(refused.contains("not writable"), "{refused}");
        let own = take_status_fd(write.into_raw_fd()).unwrap();
        rustix::io::write(&own, &[0]).unwrap();
        drop(own);
        let mut bytes = [1; 4];
        assert_eq!(rustix::io::read(&read, &mut bytes).unwrap(), 1);
        assert_eq!(rustix::io::read(&read, &mut bytes).unwrap(), 0);
        assert!(take_status_fd(99999).unwrap_err().to_string().contains("not open"));
    }
}
