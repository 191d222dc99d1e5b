//! CRIU's messages: `images/rpc.proto` of its source, as far as a container runtime needs it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::wire::{Message, Value, fields, inner};
use crate::error::Result;

/// What is asked of CRIU.
#[derive(Debug)]
pub enum Request<'a> {
    /// Which version it is.
    Version,
    /// Which of the features that a runtime may need kernel and CRIU have.
    Features,
    /// To write a process tree to files, and to end it unless it is to be left running.
    Dump(&'a Options),
    /// To write the memory of a process tree to files, beside its running.
    PreDump(&'a Options),
    /// To make a process tree from files.
    Restore(&'a Options),
    /// The answer to a notification: whether CRIU may go on.
    Notified(bool),
}

/// `enum criu_req_type`
pub mod kind {
    /// Dump.
    pub const DUMP: i32 = 1;
    /// Restore.
    pub const RESTORE: i32 = 2;
    /// Pre-dump.
    pub const PRE_DUMP: i32 = 4;
    /// A notification.
    pub const NOTIFY: i32 = 6;
    /// Feature check.
    pub const FEATURE_CHECK: i32 = 9;
    /// Version.
    pub const VERSION: i32 = 10;
}

/// What a caller may choose (criu(8) knows each by the same name).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// The process tree goes on after the dump.
    pub leave_running: bool,
    /// Established TCP connections are taken along.
    pub tcp_established: bool,
    /// TCP connections that are being set up are left out.
    pub tcp_skip_in_flight: bool,
    /// TCP connections are closed at the restore.
    pub tcp_close: bool,
    /// Unlinked files get a name for the time of the dump.
    pub link_remap: bool,
    /// Unix sockets may be connected to processes outside.
    pub ext_unix_sk: bool,
    /// The session's leader may be outside.
    pub shell_job: bool,
    /// File locks are taken along.
    pub file_locks: bool,
    /// Memory is served on demand (userfaultfd(2)).
    pub lazy_pages: bool,
    /// Memory that a later image holds is punched out of the parent image.
    pub auto_dedup: bool,
    /// What is done about cgroups.
    pub cgroups: CgroupMode,
    /// How the network is locked for the time of the dump.
    pub network_lock: Option<NetworkLock>,
    /// `TYPE:NAME` of the profile that restored processes get.
    pub lsm_profile: Option<String>,
    /// The SELinux context of restored mounts.
    pub lsm_mount_context: Option<String>,
}

/// `enum criu_cg_mode`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// CRIU's own choice: soft.
    #[default]
    Default = 6,
    /// Nothing is done about them.
    Ignore = 0,
    /// The properties of cgroups that CRIU makes itself are restored.
    Soft = 3,
    /// All of them are restored.
    Full = 4,
    /// As full, and a cgroup that is there already is an error.
    Strict = 5,
}

/// `enum criu_network_lock_method`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables(8).
    Iptables = 1,
    /// By nft(8).
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// `message criu_opts`: all that a dump or restore needs. The process tree and the descriptors are the caller's own.
#[derive(Debug, Default)]
pub struct Options {
    /// The folder of the image files.
    pub images: Option<OwnedFd>,
    /// The folder of the log and other working files; the images' folder if there is none.
    pub work: Option<OwnedFd>,
    /// The name of the log file.
    pub log_file: &'static str,
    /// The root of the process tree.
    pub pid: Option<i32>,
    /// The root file system: a mountpoint.
    pub root: Option<PathBuf>,
    /// CRIU's configuration file; what it says comes before everything here.
    pub config_file: Option<PathBuf>,
    /// The folder of the image before, from the images' folder.
    pub parent_image: Option<PathBuf>,
    /// Host and port that memory is sent to.
    pub page_server: Option<(String, u16)>,
    /// The cgroup that is frozen for the time of the dump.
    pub freeze_cgroup: Option<PathBuf>,
    /// Mounts that are not CRIU's to make: name in the dump (a path of the container), and where they come from.
    pub external_mounts: Vec<(PathBuf, PathBuf)>,
    /// Other resources that are not dumped, such as `net[INODE]:NAME`.
    pub external: Vec<String>,
    /// Descriptors that stand for external resources: name in the dump, number.
    pub inherit: Vec<(String, i32)>,
    /// The cgroups of a restored tree: controller, path.
    pub cgroup_roots: Vec<(String, String)>,
    /// Namespaces to join: name in `/proc/PID/ns`, file.
    pub join_namespaces: Vec<(&'static str, PathBuf)>,
    /// Namespaces whose contents are left alone (`CLONE_NEW*`).
    pub empty_namespaces: u64,
    /// What the caller chose.
    pub choices: Choices,
}

impl Request<'_> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let request = |kind: i32| Message::new().number(1, kind);
        let message = match self {
            Request::Version => request(kind::VERSION),
            // Each is answered in the place where it was asked for.
            Request::Features => {
                let asked = Message::new().flag(1, true).flag(2, true);
                request(kind::FEATURE_CHECK).message(5, &asked)
            }
            Request::Dump(options) => request(kind::DUMP).message(2, &options.encode(false)),
            Request::PreDump(options) => request(kind::PRE_DUMP).message(2, &options.encode(false)),
            Request::Restore(options) => request(kind::RESTORE).message(2, &options.encode(true)),
            Request::Notified(well) => request(kind::NOTIFY).number(3, *well),
        };
        message.into_bytes()
    }
}

impl Options {
    /// `restore`: what only a restore has is added.
    fn encode(&self, restore: bool) -> Message {
        let images = self.images.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut message = Message::new()
            .number(1, images)
            .number(9, LOG_LEVEL)
            .text(10, self.log_file)
            .flag(12, true)
            .flag(24, true)
            .number(34, self.choices.cgroups as i32)
            .number(38, self.empty_namespaces.cast_signed())
            .flag(50, true);
        if restore {
            // Devices are found by number, wherever they lie; the tree becomes the caller's child.
            message = message.flag(6, true).flag(26, true);
        }
        message = self.add_places(message);
        message = self.add_lists(message);
        self.choices.add_to(message)
    }

    fn add_places(&self, mut message: Message) -> Message {
        if let Some(pid) = self.pid {
            message = message.number(2, pid);
        }
        if let Some(work) = &self.work {
            message = message.number(17, work.as_raw_fd());
        }
        if let Some((host, port)) = &self.page_server {
            message = message.message(11, &Message::new().text(1, host).number(2, *port));
        }
        let paths = [
            (13, &self.root),
            (14, &self.parent_image),
            (44, &self.freeze_cgroup),
            (51, &self.config_file),
        ];
        for (field, path) in paths {
            if let Some(path) = path {
                message = message.text(field, path.as_os_str().as_bytes());
            }
        }
        // An image with a parent, or that is to be one, says which pages have changed.
        message.flag(15, self.parent_image.is_some())
    }

    fn add_lists(&self, mut message: Message) -> Message {
        for (key, value) in &self.external_mounts {
            let mount = Message::new()
                .text(1, key.as_os_str().as_bytes())
                .text(2, value.as_os_str().as_bytes());
            message = message.message(23, &mount);
        }
        for (controller, path) in &self.cgroup_roots {
            message = message.message(25, &Message::new().text(1, controller).text(2, path));
        }
        for (key, fd) in &self.inherit {
            message = message.message(27, &Message::new().text(1, key).number(2, *fd));
        }
        for external in &self.external {
            message = message.text(37, external);
        }
        for (name, file) in &self.join_namespaces {
            let namespace = Message::new().text(1, name).text(2, file.as_os_str().as_bytes());
            message = message.message(39, &namespace);
        }
        message
    }
}

/// Everything but the very details, as runc has it.
const LOG_LEVEL: i32 = 4;

impl Choices {
    fn add_to(&self, message: Message) -> Message {
        let mut message = message
            .flag(3, self.leave_running)
            .flag(4, self.ext_unix_sk)
            .flag(5, self.tcp_established)
            .flag(7, self.shell_job)
            .flag(8, self.file_locks)
            .flag(16, self.auto_dedup)
            .flag(18, self.link_remap)
            .flag(46, self.tcp_skip_in_flight)
            .flag(48, self.lazy_pages)
            .flag(52, self.tcp_close);
        if let Some(profile) = &self.lsm_profile {
            message = message.text(53, profile);
        }
        if let Some(context) = &self.lsm_mount_context {
            message = message.text(63, context);
        }
        if let Some(lock) = self.network_lock {
            message = message.number(64, lock as i32);
        }
        message
    }
}

/// `message criu_resp`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// What it answers (see [`kind`]).
    pub kind: i32,
    /// It was done.
    pub success: bool,
    /// The point that CRIU has reached, if it is a notification.
    pub script: String,
    /// The pid that a notification speaks of, or that of the restored tree's root; 0: none.
    pub pid: i32,
    /// The errno of a failure; 0: none in particular.
    pub errno: i32,
    /// CRIU's first complaint, empty from older versions.
    pub complaint: String,
    /// Changes of memory can be tracked, for `pre-dump`.
    pub mem_track: bool,
    /// Memory can be served on demand.
    pub lazy_pages: bool,
    /// Major and minor version.
    pub version: (i32, i32),
}

impl Response {
    /// Reads the message.
    ///
    /// # Errors
    /// The bytes are no message.
    pub fn decode(bytes: &[u8]) -> Result<Response> {
        let mut response = Response::default();
        for (field, value) in fields(bytes)? {
            match field {
                1 => response.kind = value.int(),
                2 => response.success = value.is_true(),
                4 => response.read_restored(value)?,
                5 => response.read_notification(value)?,
                7 => response.errno = value.int(),
                8 => response.read_features(value)?,
                9 => response.complaint = value.text(),
                10 => response.read_version(value)?,
                _ => {}
            }
        }
        Ok(response)
    }

    fn read_restored(&mut self, value: Value<'_>) -> Result<()> {
        for (_, value) in inner(value)?.into_iter().filter(|(field, _)| *field == 1) {
            self.pid = value.int();
        }
        Ok(())
    }

    fn read_notification(&mut self, value: Value<'_>) -> Result<()> {
        for (field, value) in inner(value)? {
            match field {
                1 => self.script = value.text(),
                2 => self.pid = value.int(),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_features(&mut self, value: Value<'_>) -> Result<()> {
        for (field, value) in inner(value)? {
            match field {
                1 => self.mem_track = value.is_true(),
                2 => self.lazy_pages = value.is_true(),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_version(&mut self, value: Value<'_>) -> Result<()> {
        for (field, value) in inner(value)? {
            match field {
                1 => self.version.0 = value.int(),
                2 => self.version.1 = value.int(),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
