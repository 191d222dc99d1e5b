//! Black-box tests of an OCI runtime: real containers, real cgroups, as root.
//!
//! ```text
//! cargo test --test integration                       # target/bin/runw, else target/release/runw
//! RUNW_RUNTIME=runc cargo test --test integration     # the reference: a case it fails is a wrong case
//! RUNW_IT_KEEP=1 …                                    # keep the bundles' folders
//! RUNW_IT_PATIENCE=300 …                              # seconds after which a call hangs, on a slow machine
//! ```
//!
//! A case that does not hold for every runtime says so in its first lines, with the reason: `only!`, `except!`.
//! Such lines, and those of `needs!`, are printed, never swallowed. On cgroup v1, v2 and hybrid hosts the same
//! cases run; the layout is found at run time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[macro_use]
mod harness;

mod annotations;
mod bites;
mod broken_configs;
mod capabilities;
mod cgroups;
mod check;
mod checkpoint;
mod checkpoint_choices;
mod checkpoint_failures;
mod cli;
mod concurrency;
mod contract;
mod devices;
mod docker_config;
mod events;
mod exec;
mod exec_places;
mod exec_process;
mod exec_terminal;
mod exec_wasm;
mod faults;
mod full_disk;
mod hooks;
mod kills;
mod lifecycle;
mod limits;
mod live_mounts;
mod mount_places;
mod mounts;
mod namespaces;
mod pause;
mod process;
mod program;
mod propagation;
mod rootfs;
mod rootless;
mod runc_words;
mod seccomp;
mod security;
mod state;
mod sysctl;
mod systemd;
mod systemd_limits;
mod terminal;
mod trace;
mod update;
mod update_seldom;
mod wasm_cache;
mod wasm_cache_attacks;
mod wasm_detection;
mod wasm_guests;
mod wasm_hooks;
mod wasm_isolation;
mod wasm_limits;
mod wasm_native_code;
mod wasm_title;
mod wasm_traps;
mod wasm_view;
