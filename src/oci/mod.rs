//! The documents of the OCI runtime specification: the bundle that is read, the state and features that are written.

mod bundle;
mod repair;
mod shape;
mod spec;

pub use bundle::{Bundle, mounts_document, process_document, reason, resources_document};
pub use spec::Starter;
