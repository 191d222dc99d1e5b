//! What is wanted: whether modules are compiled, how well, and at what cost at most.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::settings::Aot as Mode;
use crate::settings::WasmSettings;

/// How well code is optimised. Better ones come later in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Not at all (LLVM's O0): made in seconds even for large modules.
    Quick,
    /// For speed (LLVM's O3).
    Optimised,
}

impl Tier {
    /// Both, the better one last.
    pub const ALL: [Tier; 2] = [Tier::Quick, Tier::Optimised];

    /// The word for it in file names and lists.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Quick => "quick",
            Tier::Optimised => "optimised",
        }
    }
}

/// What the compilation of one module may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of CPU time for each tier.
    pub seconds: u64,
    /// Bytes of address space (`RLIMIT_AS`).
    pub memory: u64,
}

/// Code beyond this size, in bytes, gets a quick tier first: optimising it takes more than about two seconds.
const SOON_OPTIMISED: u64 = 512 << 10;

impl Limits {
    /// What the settings say; by default ten minutes and three quarters of the host's memory.
    pub fn new(settings: &WasmSettings, host_memory: u64) -> Limits {
        Limits {
            seconds: settings.compile_seconds.unwrap_or(600),
            memory: settings
                .compile_memory_mib
                .map_or(host_memory / 4 * 3, |mib| mib.saturating_mul(1 << 20)),
        }
    }

    /// The time for one tier.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Whether compiling so many bytes of code has a chance to stay within the limit.
    ///
    /// Measured with libwasmedge 0.14.1: 24 MB of code take 4.5 GB without optimisation, 190 bytes for each; the estimate keeps
    /// clear of that, because an attempt costs only time, and the limit itself is kept by the kernel.
    pub fn allow(&self, code: u64) -> bool {
        const BYTES_PER_BYTE: u64 = 130;
        const ENGINE: u64 = 200 << 20;
        code.saturating_mul(BYTES_PER_BYTE).saturating_add(ENGINE) <= self.memory
    }
}

/// The tiers to make, one after the other, for a module of so many bytes.
pub fn tiers(module: u64) -> &'static [Tier] {
    match module {
        ..=SOON_OPTIMISED => &[Tier::Optimised],
        _ => &Tier::ALL,
    }
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--wasm-aot`.
    pub mode: Option<Mode>,
    /// `--wasm-cache`.
    pub cache: Option<PathBuf>,
}

/// The annotation that says what `--wasm-aot` says.
pub const ANNOTATION: &str = "run.oci.runw.wasm-aot";

impl Wishes {
    /// The mode: the command line's, else the annotation's, else that of the settings, else [`Mode::Background`].
    ///
    /// # Errors
    /// The annotation has another value than those of `--wasm-aot`.
    pub fn mode(&self, annotations: &BTreeMap<String, String>, settings: &WasmSettings) -> Result<Mode> {
        let annotated = || match annotations.get(ANNOTATION).map(String::as_str) {
            None => Ok(None),
            Some("off") => Ok(Some(Mode::Off)),
            Some("background") => Ok(Some(Mode::Background)),
            Some("wait") => Ok(Some(Mode::Wait)),
            Some(other) => Err(Error::config(
                format!("annotations[{ANNOTATION:?}]"),
                format!("{other:?} is none of off, background and wait"),
            )),
        };
        match self.mode {
            Some(mode) => Ok(mode),
            None => Ok(annotated()?.or(settings.aot).unwrap_or_default()),
        }
    }

    /// The cache's folder: the command line's, else that of the settings, else the default one of the user; `None` if the user
    /// has no home.
    pub fn cache(&self, settings: &WasmSettings) -> Option<PathBuf> {
        self.cache
            .clone()
            .or_else(|| settings.cache.clone())
            .or_else(default_cache)
    }
}

/// `/var/lib/runw/aot`; for others than root `$XDG_CACHE_HOME/runw/aot`.
fn default_cache() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/runw/aot".into());
    }
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|f| Path::new(f).is_absolute())
            .map(PathBuf::from)
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| Some(folder("HOME")?.join(".cache")))
        .map(|cache| cache.join("runw/aot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_first_and_the_settings_last() {
        let said = |flag, annotation: Option<&str>, file| {
            let annotations = annotation
                .map(|a| (ANNOTATION.to_owned(), a.to_owned()))
                .into_iter()
                .collect();
            let settings = WasmSettings {
                aot: file,
                ..WasmSettings::default()
            };
            Wishes {
                mode: flag,
                cache: None,
            }
            .mode(&annotations, &settings)
        };
        assert_eq!(said(None, None, None).unwrap(), Mode::Background);
        assert_eq!(said(None, None, Some(Mode::Off)).unwrap(), Mode::Off);
        assert_eq!(said(None, Some("wait"), Some(Mode::Off)).unwrap(), Mode::Wait);
        assert_eq!(said(Some(Mode::Off), Some("wait"), None).unwrap(), Mode::Off);
        let error = said(None, Some("no"), None).unwrap_err().to_string();
        assert!(error.contains("annotations[\"run.oci.runw.wasm-aot\"]"), "{error}");
    }

    #[test]
    fn large_modules_get_quick_code_first() {
        assert_eq!(tiers(1000), [Tier::Optimised]);
        assert_eq!(tiers(20 << 20), [Tier::Quick, Tier::Optimised]);
        assert!(Tier::Quick < Tier::Optimised);
    }

    #[test]
    fn what_cannot_fit_is_not_tried() {
        let limits = Limits {
            seconds: 1,
            memory: 2 << 30,
        };
        assert!(limits.allow(1 << 20));
        assert!(!limits.allow(24 << 20));
        assert!(!limits.allow(u64::MAX));
    }
}
