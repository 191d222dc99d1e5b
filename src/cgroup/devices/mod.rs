//! Which devices a container may open or make: the rules of config.json and the default devices, brought to a list of
//! exceptions that the v1 controller and an eBPF program (v2) both understand.

mod filter;
mod program;
mod v1;
mod v2;

pub(super) use filter::Filter;
pub(super) use v1::set as set_v1;
pub(super) use v2::{load as load_v2, replace as replace_v2};
