//! The few rules about a configuration for which the host must be asked.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::sysctl;
use crate::config::{Config, NamespaceKind, NamespaceSource};
use crate::error::{Error, Result};

/// Checks `config` against the host: the root file system is there, and no sysctl reaches a namespace of the runtime itself that
/// the container joins by path.
///
/// # Errors
/// The first broken rule, with its JSON path.
pub fn check_host(config: &Config) -> Result<()> {
    rootfs(&config.rootfs)?;
    for (name, _) in &config.sysctl {
        if let Ok(kind) = sysctl::owner(name)
            && let NamespaceSource::Path(path) = config.namespaces.source(kind)
            && is_runtimes_own(kind, path)
        {
            let problem = format!("would change the host, whose own namespace {} is", path.display());
            return Err(Error::config(format!("linux.sysctl.{name}"), problem));
        }
    }
    Ok(())
}

/// A path that cannot be examined is left to whoever joins the namespace.
fn is_runtimes_own(kind: NamespaceKind, path: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let own = format!("/proc/self/ns/{}", kind.proc_name());
    matches!((identity(path), identity(Path::new(&own))), (Ok(there), Ok(here)) if there == here)
}

fn rootfs(path: &Path) -> Result<()> {
    let shown = path.display();
    let problem = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => format!("{shown} is not a folder, unpack the root file system there"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            format!("there is no folder {shown}, unpack the root file system there or correct the path")
        }
        Err(e) => format!(
            "the folder {shown} cannot be reached (error {})",
            e.raw_os_error().unwrap_or_default()
        ),
    };
    Err(Error::config("root.path", problem))
}
