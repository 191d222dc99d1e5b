//! The attempt: the container is created, in a state folder of its own, and deleted.

use std::path::Path;

use super::Finding;
use crate::container::{self, CreateOptions, Store};
use crate::error::{Result, ResultExt, Wrap};

/// Creates the container of `options` and deletes it; its program is not started. The state folder is made for it and removed.
pub fn attempt(mut options: CreateOptions) -> Finding {
    let pid = std::process::id();
    // No name of a container, so it is none to `list`; beside the others nobody else can write to it.
    let root = options.root.join(format!("check {pid}"));
    // Becoming another image starts the check over.
    let _ = std::fs::remove_dir_all(&root);
    let tried = format!("runw-check-{pid}").parse().and_then(|id| {
        options.id = id;
        options.root = root.clone();
        try_in(&root, options)
    });
    let _ = std::fs::remove_dir_all(&root);
    match tried {
        Ok(()) => Finding::ok("attempt", "the container was created, and deleted again"),
        Err(e) => Finding::failure("attempt", e.to_string(), ""),
    }
}

fn try_in(root: &Path, mut options: CreateOptions) -> Result<()> {
    let store = Store::make(root)?;
    let id = options.id.clone();
    // Whoever would serve a terminal; what it is sent is dropped.
    let console = root.join("console");
    let _listener = std::os::unix::net::UnixListener::bind(&console).call(|| format!("bind {console:?}"))?;
    if wants_terminal(&options)? {
        options.console_socket = Some(console);
    }
    container::create(&options)?;
    container::delete(&store, &id, true).wrap(|| "delete the container again")
}

fn wants_terminal(options: &CreateOptions) -> Result<bool> {
    let bundle = crate::oci::Bundle::open(&options.bundle, options.config.as_deref())?;
    let config = crate::config::check(&bundle)?;
    Ok(config.process.is_some_and(|process| process.terminal))
}
