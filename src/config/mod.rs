//! The checked world: what config.json asks for, after every rule of the runtime spec has been applied to it.
//!
//! `oci_spec::runtime::Spec` dies here. Behind [`Config`] there is no `Option` that cannot be `None` and no string that is an
//! enum; a value that is present can be carried out as far as the config alone can tell. All functions here are pure.

pub mod annotated;
mod check;
mod exec;
pub mod features;
mod model;
mod process;
mod resources;
pub mod workload;

pub use annotated::{Annotated, HookOutput, MountContext};
pub use check::{
    IdMaps, capabilities, check, check_host, cpu_list, live_destinations, live_mounts, mount_options, namespaces, numa,
    process, resources,
};
pub use exec::{ExecConfig, ExecOverrides, SeccompListener};
pub use model::*;
pub use process::*;
pub use resources::*;
pub use workload::Workload;
