//! The suite's own language: a [`Bundle`] is made, edited and run; an [`Output`] is judged.
//!
//! Everything here treats the runtime as a black box: a program with arguments, streams and an exit code.
//! Cases run in parallel threads, so each bundle has its own folder, `--root`, id and cgroup, and cleans
//! them up, and says so loudly if the runtime left something behind.

mod broken;
mod bundle;
mod call;
mod cgroups;
mod edits;
mod exec;
mod leftovers;
mod output;
mod payload;
mod rootfs;
mod runtime;
mod scope;
mod sources;
mod spec;
mod stepper;
mod terminal;
mod verbs;

pub use broken::assert_refused;
pub use bundle::Bundle;
pub use call::Call;
pub use cgroups::{Cgroups, Layout};
pub use leftovers::reap_beside;
pub use output::Output;
pub use payload::{Act, Payload, guest, has_compiler, module, wat};
pub use runtime::{Kind, case, not_for_this_host, not_for_this_runtime, runtime};
pub use scope::{Scope, cgroup_of, has_systemd, property, systemctl};
pub use sources::{show_mount, with_source};
pub use stepper::killed_at;
pub use terminal::{ConsoleSocket, Terminal};
pub use verbs::alive;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a case waits for something that should happen soon: `RUNW_IT_PATIENCE` seconds, as on an emulated machine, else 60,
/// because build machines are busy.
pub fn patience() -> Duration {
    static PATIENCE: OnceLock<Duration> = OnceLock::new();
    *PATIENCE.get_or_init(|| {
        let named = std::env::var("RUNW_IT_PATIENCE").ok();
        Duration::from_secs(named.map_or(60, |seconds| seconds.parse().expect("RUNW_IT_PATIENCE: seconds")))
    })
}

/// Polls until `check` is true; fails the case with `what` after [`patience`].
#[track_caller]
pub fn eventually(what: &str, check: impl FnMut() -> bool) {
    within(patience(), what, check);
}

/// As [`eventually`], for what has the lowest priority of all: as long as others keep the machine busy it gets nothing done.
#[track_caller]
pub fn eventually_idle(what: &str, check: impl FnMut() -> bool) {
    within(10 * patience(), what, check);
}

#[track_caller]
fn within(patience: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !check() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the case unless the runtime under test is one of the named kinds. Says so on the terminal, with the reason.
///
/// `only!(Runw; "--trace is our own")`
macro_rules! only {
    ($($kind:ident),+; $reason:literal) => {
        if ![$($crate::harness::Kind::$kind),+].contains(&$crate::harness::runtime().kind) {
            return $crate::harness::not_for_this_runtime($reason);
        }
    };
}

/// Ends the case if the runtime under test is one of the named kinds. Says so on the terminal, with the reason.
///
/// `except!(Runc; "runc 1.1 ignores time offsets")`, `except!(Runc if on_v2(); "runc 1.1 …")`
macro_rules! except {
    ($($kind:ident),+; $reason:literal) => {
        except!($($kind),+ if true; $reason)
    };
    ($($kind:ident),+ if $condition:expr; $reason:literal) => {
        if $condition && [$($crate::harness::Kind::$kind),+].contains(&$crate::harness::runtime().kind) {
            return $crate::harness::not_for_this_runtime($reason);
        }
    };
}

/// Ends the case unless the machine gives what the case needs. Says so on the terminal, with the reason.
///
/// `needs!(Cgroups::host().has("memory"); "a memory controller")`
macro_rules! needs {
    ($condition:expr; $reason:literal) => {
        if !$condition {
            return $crate::harness::not_for_this_host($reason);
        }
    };
}

/// Makes one test per payload of each case: `case::native` and `case::wasm`.
///
/// A lifecycle case is a function of a [`Payload`]; that a native and a wasm container share one lifecycle is
/// then proven by the same sentences.
macro_rules! for_each_payload {
    ($($case:ident),+ $(,)?) => {
        $(
            mod $case {
                #[test]
                fn native() {
                    super::$case($crate::harness::Payload::Native);
                }

                #[test]
                fn wasm() {
                    only!(Runw; "modules are run by our own engine");
                    super::$case($crate::harness::Payload::Wasm);
                }
            }
        )+
    };
}
