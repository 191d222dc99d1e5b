//! The administrator's settings, `/etc/runw/config.toml`; for others than root `$XDG_CONFIG_HOME/runw/config.toml`.
//!
//! ```toml
//! [wasm]
//! aot = "background"         # or "off", "wait"
//! cache = "/var/lib/runw/aot"
//! compile-seconds = 600      # CPU time for each tier
//! compile-memory-mib = 4096
//! cache-size-mib = 4096
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result, ResultExt};

/// What the file may say. All of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[wasm]`
    #[serde(default)]
    pub wasm: WasmSettings,
}

/// How WebAssembly modules are compiled ahead of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WasmSettings {
    /// Whether and when.
    pub aot: Option<Aot>,
    /// Where native code is kept, absolute.
    pub cache: Option<PathBuf>,
    /// Seconds of CPU time that one tier may take.
    pub compile_seconds: Option<u64>,
    /// Address space that the compiler may take, in MiB.
    pub compile_memory_mib: Option<u64>,
    /// Size of the cache, in MiB, above which what was not used for longest is removed.
    pub cache_size_mib: Option<u64>,
}

/// Whether and when modules are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Aot {
    /// Never; and no compiled code is used.
    Off,
    /// A module that was not compiled yet is interpreted, and compiled meanwhile.
    #[default]
    Background,
    /// It is compiled first; the command returns once there is native code.
    Wait,
}

impl Settings {
    /// Reads the file; without one, nothing is set.
    ///
    /// # Errors
    /// It cannot be read, or it holds something else than settings.
    pub fn read() -> Result<Settings> {
        path().map_or_else(|| Ok(Settings::default()), |path| Settings::read_from(&path))
    }

    fn read_from(path: &Path) -> Result<Settings> {
        let text = match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
            other => other.call(|| format!("read {}", path.display()))?,
        };
        Settings::parse(&text).map_err(|e| e.wrap(format!("{}", path.display())))
    }

    fn parse(text: &str) -> Result<Settings> {
        let settings: Settings = toml::from_str(text).map_err(|e| Error::message(problem(text, &e)))?;
        match &settings.wasm.cache {
            Some(cache) if !cache.is_absolute() => Err(Error::message(format!(
                "wasm.cache: {} is no absolute path",
                cache.display()
            ))),
            _ => Ok(settings),
        }
    }
}

/// What is wrong, and in which line, in one line.
fn problem(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

fn path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/etc/runw/config.toml".into());
    }
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|f| Path::new(f).is_absolute())
            .map(PathBuf::from)
    };
    folder("XDG_CONFIG_HOME")
        .or_else(|| Some(folder("HOME")?.join(".config")))
        .map(|config| config.join("runw/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_optional() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        let all =
            "[wasm]\naot = \"wait\"\ncache = \"/c\"\ncompile-seconds = 5\ncompile-memory-mib = 6\ncache-size-mib = 7\n";
        let wasm = Settings::parse(all).unwrap().wasm;
        assert_eq!(wasm.aot, Some(Aot::Wait));
        assert_eq!(wasm.cache.as_deref(), Some(Path::new("/c")));
        assert_eq!(
            (wasm.compile_seconds, wasm.compile_memory_mib, wasm.cache_size_mib),
            (Some(5), Some(6), Some(7))
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, words) in [
            ("[wasm]\naot = \"sometimes\"\n", "line 2: unknown variant `sometimes`"),
            ("\n[wasm]\n\naott = \"off\"\n", "line 4: unknown field `aott`"),
            ("[wasm]\ncache = \"c\"\n", "wasm.cache: c is no absolute path"),
            ("[wasm\n", "line 1"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn no_file_means_no_settings() {
        let none = Settings::read_from(Path::new("/nonexistent/config.toml")).unwrap();
        assert_eq!(none, Settings::default());
        assert!(
            Settings::read_from(Path::new("/"))
                .unwrap_err()
                .to_string()
                .contains("read /")
        );
    }
}
