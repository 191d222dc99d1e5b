//! Containers: their names, records and states, and the verbs of the lifecycle.

pub mod id;
pub mod list;
pub mod options;
pub mod record;
pub mod signal;
pub mod state;
pub mod status;
pub mod store;

pub use id::Id;
pub use options::{CgroupManager, CreateOptions, Program, RunOptions};
pub use record::{Init, PayloadKind, Record};
pub use signal::Signal;
pub use status::Status;
pub use store::{Folder, Locked, Store};
