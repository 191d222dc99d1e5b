//! `run`: create, start, wait, delete.

use super::create::{self, Created};
use super::{CreateOptions, Folder, Record, RunOptions, Store, delete, start};
use crate::error::{Error, Kind, Result};
use crate::launch::Launched;
use crate::log;
use crate::sys::process::{self, Child};
use crate::tty::{self, Relay, Signals};

/// Runs a container and answers its exit code; detached: 0 once it runs.
///
/// # Errors
/// It could not be created or started; then nothing of it is left.
pub fn run(options: &CreateOptions, how: RunOptions) -> Result<u8> {
    if !how.detach && !how.no_subreaper {
        process::become_subreaper()?;
    }
    // From here on a signal is for the container.
    let signals = (!how.detach).then(Signals::block).transpose()?;
    let Created {
        locked,
        record,
        launched,
        master,
    } = create::build(options, how.detach)?;
    let relay = master.map(Relay::new).transpose()?;
    let notifications = match start::open(&locked, &record) {
        Ok(notifications) => notifications,
        Err(e) => {
            let ended = delete::end(&record).and_then(|()| delete::remove(locked, &record));
            if let Err(left) = ended {
                log::aside(&format!("after the failed start: {left}"));
            }
            return Err(match e.is_refused_program() {
                true => Error::new(e.kind().clone()),
                false => e,
            });
        }
    };
    // Others may look at the container, signal and even delete it while it runs.
    drop(locked);
    let Some(signals) = signals else {
        return notifications.map_or(Ok(0), |n| n.forward().map(|()| 0));
    };
    if let Some(notifications) = notifications {
        // It ends by itself: with the word of the container, or with its init.
        std::thread::spawn(|| notifications.forward().unwrap_or_else(|e| log::warn(e.to_string())));
    }
    attend(options, how, &record, launched, relay, &signals)
}

/// Waits for the end of a container that runs in the foreground, deletes it, and answers its exit code.
pub(super) fn attend(
    options: &CreateOptions,
    how: RunOptions,
    record: &Record,
    launched: Launched,
    relay: Option<Relay>,
    signals: &Signals,
) -> Result<u8> {
    let child = Child {
        pid: launched.pid,
        pidfd: launched.pidfd,
    };
    let ended = tty::foreground(&child, signals, relay)?;
    if !how.keep
        && let Err(e) = remove(options, record)
    {
        log::warn(format!("remove container {}: {e}", record.id));
    }
    Ok(ended.code())
}

fn remove(options: &CreateOptions, record: &Record) -> Result<()> {
    let Some(store) = Store::open(&options.root)? else {
        return Ok(());
    };
    match store.folder(&options.id).and_then(Folder::lock) {
        Ok(locked) => delete::remove(locked, record),
        // Somebody else has deleted it already.
        Err(e) if matches!(e.kind(), Kind::NotFound { .. }) => Ok(()),
        Err(e) => Err(e),
    }
}
