//! Containers: their names, records and states, and the verbs of the lifecycle.

mod checkpoint;
mod create;
mod delete;
pub mod events;
mod exec;
mod external;
pub mod id;
mod kill;
pub mod list;
mod mounts;
mod notify;
pub mod options;
mod pause;
pub mod ps;
pub mod record;
mod restore;
mod run;
pub mod signal;
mod start;
pub mod state;
pub mod status;
pub mod store;
mod tell;
mod terminal;
mod update;

pub use id::Id;
pub use options::{CgroupManager, CreateOptions, ExecOptions, NewProcess, Program, RunOptions};
pub use record::{Init, PayloadKind, Record};
pub use signal::Signal;
pub use status::Status;
pub use store::{Folder, Locked, Store};

pub use checkpoint::{CheckpointOptions, checkpoint};
pub use create::create;
pub use delete::delete;
pub use exec::exec;
pub use kill::kill;
pub use mounts::{add_mounts, remove_mounts};
pub use pause::{pause, resume};
pub use restore::{RestoreOptions, restore};
pub use run::run;
pub use start::start;
pub use update::{Update, update};
