//! `checkpoint`, and the arguments that it shares with `restore`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::global::Global;
use super::{Result, Verb, absolute, pick, usage};
use crate::container::{self, CheckpointOptions};
use crate::criu::{CgroupMode, Choices, NetworkLock};

/// The arguments of `checkpoint`.
#[derive(Debug, clap::Args)]
pub struct Checkpoint {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    criu: CriuArgs,
    /// The images before, for a dump of what has changed since; from --image-path
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Leave TCP connections out that are being set up
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give unlinked files a name for the time of the dump
    #[arg(long)]
    link_remap: bool,
    /// With --lazy-pages: write \0 to this descriptor when the pages are being served
    #[arg(long, value_name = "FD", allow_negative_numbers = true)]
    status_fd: Option<i32>,
    /// Send memory to this page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Write the memory only, and leave the container running
    #[arg(long)]
    pre_dump: bool,
}

/// What `checkpoint` and `restore` both take.
#[derive(Debug, clap::Args)]
pub struct CriuArgs {
    /// The folder of the image files [default: ./checkpoint]
    #[arg(long, value_name = "DIR")]
    image_path: Option<OsString>,
    /// The folder of log and working files [default: that of the image files]
    #[arg(long, value_name = "DIR")]
    work_path: Option<OsString>,
    /// Take established TCP connections along
    #[arg(long)]
    tcp_established: bool,
    /// Allow unix sockets that lead outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a session whose leader is outside
    #[arg(long)]
    shell_job: bool,
    /// Take file locks along
    #[arg(long)]
    file_locks: bool,
    /// What to do about cgroups
    #[arg(long, value_name = "MODE", value_enum)]
    manage_cgroups_mode: Option<Cgroups>,
    /// Leave the contents of this namespace alone; network, which always is
    #[arg(long, value_name = "NAMESPACE", value_enum)]
    empty_ns: Vec<Emptied>,
    /// Punch memory out of the parent images that is here, too
    #[arg(long)]
    auto_dedup: bool,
    /// Serve memory on demand, with userfaultfd
    #[arg(long)]
    lazy_pages: bool,
    /// How to lock the network meanwhile
    #[arg(long, value_name = "METHOD", value_enum)]
    network_lock: Option<Lock>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cgroups {
    Soft,
    Full,
    Strict,
    Ignore,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Emptied {
    Network,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lock {
    Iptables,
    Nftables,
    Skip,
}

impl CriuArgs {
    /// The folder of the images, and that of the log if it is another one.
    pub fn folders(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        let image = self.image_path.clone().filter(|path| !path.is_empty());
        let image = absolute(Some(image.unwrap_or_else(|| "checkpoint".into())))?.unwrap_or_default();
        Ok((image, absolute(self.work_path.clone())?))
    }

    /// What CRIU is to do or not, as far as both commands can say.
    pub fn choices(&self) -> Choices {
        Choices {
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            cgroups: match self.manage_cgroups_mode {
                None => CgroupMode::Default,
                Some(Cgroups::Soft) => CgroupMode::Soft,
                Some(Cgroups::Full) => CgroupMode::Full,
                Some(Cgroups::Strict) => CgroupMode::Strict,
                Some(Cgroups::Ignore) => CgroupMode::Ignore,
            },
            network_lock: self.network_lock.map(|lock| match lock {
                Lock::Iptables => NetworkLock::Iptables,
                Lock::Nftables => NetworkLock::Nftables,
                Lock::Skip => NetworkLock::Skip,
            }),
            ..Choices::default()
        }
    }
}

impl Verb for Checkpoint {
    fn run(self, global: &Global) -> Result<u8> {
        let (store, id) = pick::one(global, &self.id)?;
        let (image, work) = self.criu.folders()?;
        let options = CheckpointOptions {
            parent: self.parent_path.filter(|path| !path.as_os_str().is_empty()),
            page_server: self.page_server.as_deref().map(page_server).transpose()?,
            status_fd: self.status_fd.filter(|fd| *fd >= 0),
            pre_dump: self.pre_dump,
            choices: Choices {
                leave_running: self.leave_running,
                tcp_skip_in_flight: self.tcp_skip_in_flight,
                link_remap: self.link_remap,
                ..self.criu.choices()
            },
            image,
            work,
        };
        if options.parent.as_deref().is_some_and(Path::is_absolute) {
            return Err(usage("--parent-path must be relative: it begins at --image-path"));
        }
        container::checkpoint(&store, &id, &options)?;
        Ok(0)
    }
}

/// Reads `ADDRESS:PORT`; an IPv6 address stands in brackets.
fn page_server(text: &str) -> Result<(String, u16)> {
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && !port.is_empty())
        .ok_or_else(|| usage("Use --page-server ADDRESS:PORT to specify page server"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port
        .parse()
        .map_err(|_| usage("Invalid port number in --page-server"))?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_address_and_port() {
        assert_eq!(page_server("a:1").unwrap(), ("a".to_owned(), 1));
        assert_eq!(page_server("[::1]:65535").unwrap(), ("::1".to_owned(), 65535));
        for wrong in ["a", ":1", "a:", "a:x", "a:65536"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}
