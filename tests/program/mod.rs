//! The program under test with a root folder of its own, and what it answers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use runw::cgroup::Cgroup;
use runw::container::{Init, Record, Store};

/// A folder that goes away with the value, for the runtime's root and whatever a test needs.
pub struct Place {
    dir: PathBuf,
}

/// What a call left.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "runw-cli-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Where state folders go; not made yet.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// Calls the program with words that stand for themselves.
    pub fn call<S: AsRef<OsStr>>(&self, words: &[S]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_runw"))
            .args(words)
            .current_dir(&self.dir)
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Answer {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Calls the program with `--root` of this place in front; `line` is split at blanks.
    pub fn runw(&self, line: &str) -> Answer {
        let root = self.root();
        let mut words = vec!["--root", root.to_str().unwrap()];
        words.extend(line.split_whitespace());
        self.call(&words)
    }

    /// Saves the record of a container whose first process is, or was, `init`.
    pub fn container(&self, id: &str, init: Init) -> Record {
        let store = Store::make(&self.root()).unwrap();
        let folder = store.create(&id.parse().unwrap()).unwrap();
        let record = serde_json::json!({
            "id": id,
            "ociVersion": "1.2.0",
            "bundle": "/bundle",
            "rootfs": "/bundle/rootfs",
            "created": "2026-08-30T12:00:00.000000001Z",
            "annotations": { "org.example": "x" },
            "owner": 0,
            "init": init,
            "payload": "linux",
            "cgroup": Cgroup::disabled(),
            "ownPidNamespace": true,
        });
        let record: Record = serde_json::from_value(record).unwrap();
        folder.save(&record).unwrap();
        folder.commit().unwrap();
        record
    }

    /// Saves the record of a container that has stopped.
    pub fn stopped(&self, id: &str) -> Record {
        self.container(
            id,
            Init {
                pid: i32::MAX,
                start_time: 1,
            },
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Answer {
    /// The call succeeded and complained of nothing.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "stdout: {}", self.stdout);
        self.stdout
    }

    /// The call failed as runtimes do: status 1, one line on stderr, nothing on stdout.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "stderr: {}", self.stderr);
        assert_eq!(self.stderr.matches('\n').count(), 1, "{:?}", self.stderr);
        self.stderr
    }
}

/// The mode bits of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
