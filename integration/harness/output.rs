//! What a call of the runtime gave back, and sentences to judge it with.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde_json::Value;

use super::runtime::{Kind, runtime};

/// The end of one call of the runtime.
#[derive(Debug)]
pub struct Output {
    /// Exit code, or minus the signal that ended the runtime itself.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The command line, for failure messages.
    pub line: String,
    /// Where a container that outlives the call goes on writing.
    stdout_file: PathBuf,
}

impl Output {
    /// Reads what the call wrote into the two files.
    pub(super) fn read(status: ExitStatus, line: String, stdout_file: PathBuf, stderr_file: PathBuf) -> Output {
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
        let text = |file: &PathBuf| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        Output {
            code,
            stdout: text(&stdout_file),
            stderr: text(&stderr_file),
            line,
            stdout_file,
        }
    }

    /// What the container has written to its stdout by now; for containers that outlive `create` and `run -d`.
    pub fn stdout_now(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout_file).unwrap()).into_owned()
    }

    /// The call ended with exit code 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// The call ended with this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert!(
            self.code == code,
            "expected exit code {code}, got {}\n{}",
            self.code,
            self.story()
        );
        self
    }

    /// The call ended well and printed just this.
    #[track_caller]
    pub fn prints(self, stdout: &str) -> Output {
        let output = self.ok();
        assert!(
            output.stdout == stdout,
            "expected {stdout:?}, got {:?}\n{}",
            output.stdout,
            output.story()
        );
        output
    }

    /// The call ended well and its stdout contains this.
    #[track_caller]
    pub fn shows(self, part: &str) -> Output {
        let output = self.ok();
        assert!(
            output.stdout.contains(part),
            "expected {part:?} in stdout\n{}",
            output.story()
        );
        output
    }

    /// The call ended well and its stdout does not contain this.
    #[track_caller]
    pub fn hides(self, part: &str) -> Output {
        let output = self.ok();
        assert!(
            !output.stdout.contains(part),
            "expected no {part:?} in stdout\n{}",
            output.story()
        );
        output
    }

    /// The runtime itself failed: exit code 1, and the reason on stderr contains these words.
    #[track_caller]
    pub fn fails(self, words: &str) -> Output {
        self.fails_with_one_of(&[words])
    }

    /// As [`Output::fails`], where runtimes word a reason differently.
    #[track_caller]
    pub fn fails_with_one_of(self, words: &[&str]) -> Output {
        let output = self.exits(1);
        let stderr = output.stderr.to_lowercase();
        let found = words.iter().any(|w| stderr.contains(&w.to_lowercase()));
        assert!(found, "expected one of {words:?} on stderr\n{}", output.story());
        assert!(
            !stderr.contains("panicked at") && !stderr.contains("goroutine "),
            "crashed\n{}",
            output.story()
        );
        output.on_one_line()
    }

    /// The runtime knows no such container, and says so in the words that engines look for.
    #[track_caller]
    pub fn fails_as_unknown(self) -> Output {
        let output = self.exits(1);
        assert!(Output::speaks_of_unknown(&output.stderr), "{}", output.story());
        output
    }

    /// Whether a text says that a container is unknown. containerd takes only the first form.
    pub fn speaks_of_unknown(text: &str) -> bool {
        let of_crun = runtime().kind == Kind::Crun && text.contains("No such file or directory");
        text.contains("does not exist") || of_crun
    }

    /// The reason names this JSON path of config.json. Only we promise that.
    #[track_caller]
    pub fn at(self, json_path: &str) -> Output {
        if runtime().kind == Kind::Runw {
            assert!(
                self.stderr.contains(json_path),
                "expected the path {json_path:?}\n{}",
                self.story()
            );
        }
        self
    }

    /// An error is one line for the user. Only we promise that.
    #[track_caller]
    fn on_one_line(self) -> Output {
        if runtime().kind == Kind::Runw {
            assert!(
                self.stderr.trim_end().lines().count() == 1,
                "an error is one line\n{}",
                self.story()
            );
        }
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let output = self.ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{}", output.story()))
    }

    /// Stdout, without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Everything about the call, for failure messages.
    pub fn story(&self) -> String {
        format!(
            "$ {}\nexit {}\nstdout: {}\nstderr: {}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}
