//! One call of the runtime: command line, streams, environment, and the world it is made in.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::bundle::Bundle;
use super::output::Output;
use super::{patience, runtime};

/// `RUNTIME [globals] --root ROOT VERB [flags] ID [after]`, about to be made.
#[must_use = "a call does nothing until `output` or `spawn`"]
pub struct Call<'b> {
    bundle: &'b Bundle,
    verb: String,
    globals: Vec<OsString>,
    flags: Vec<OsString>,
    id: Option<String>,
    after: Vec<OsString>,
    runs: Option<Vec<String>>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    cwd: PathBuf,
    bundle_flag: bool,
    pid_file: bool,
    /// Shell words that run before the runtime takes the shell's place.
    before: Option<String>,
    own_mounts: bool,
}

impl<'b> Call<'b> {
    pub(super) fn new(bundle: &'b Bundle, verb: &str) -> Call<'b> {
        Call {
            bundle,
            verb: verb.to_owned(),
            globals: Vec::new(),
            flags: Vec::new(),
            id: Some(bundle.id().to_owned()),
            after: Vec::new(),
            runs: None,
            env: Vec::new(),
            stdin: Vec::new(),
            cwd: PathBuf::from("/"),
            bundle_flag: matches!(verb, "create" | "run" | "restore"),
            pid_file: matches!(verb, "create" | "run" | "restore"),
            before: None,
            own_mounts: false,
        }
    }

    /// A flag of the verb; `flag("--pid-file").flag(path)` for one with a value.
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// A flag before the verb.
    pub fn global(mut self, flag: impl Into<OsString>) -> Self {
        self.globals.push(flag.into());
        self
    }

    /// Words after the id.
    pub fn after(mut self, words: &[&str]) -> Self {
        self.after.extend(words.iter().map(OsString::from));
        self
    }

    /// Another id than the bundle's.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// No id at all.
    pub fn no_id(mut self) -> Self {
        self.id = None;
        self
    }

    /// The program the container is to run, instead of the config's.
    pub fn runs(mut self, args: &[&str]) -> Self {
        self.runs = Some(args.iter().map(|&arg| arg.to_owned()).collect());
        self
    }

    /// An environment variable of the runtime itself.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// The directory the runtime is called in; `/` unless said.
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Self {
        self.cwd = directory.as_ref().to_owned();
        self
    }

    /// Leaves out `--bundle`.
    pub fn no_bundle_flag(mut self) -> Self {
        self.bundle_flag = false;
        self
    }

    /// Leaves out the `--pid-file` that `create` and `run` get by default.
    pub fn no_pid_file(mut self) -> Self {
        self.pid_file = false;
        self
    }

    /// Shell words to run first; then the runtime is exec'ed in the shell's place, with its fds, limits and pid.
    pub fn before(mut self, script: &str) -> Self {
        self.before = Some(script.to_owned());
        self
    }

    /// As [`Call::before`], in a private mount namespace: the script may mount what it likes.
    pub fn among_own_mounts(mut self, script: &str) -> Self {
        self.own_mounts = true;
        self.before(script)
    }

    /// The words of the call, the runtime first.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![runtime().path.clone().into()];
        words.extend(self.globals.iter().cloned());
        words.extend([
            "--root".into(),
            self.bundle.state_root().into(),
            OsString::from(&self.verb),
        ]);
        if self.bundle_flag {
            words.extend(["--bundle".into(), OsString::from(self.bundle.path())]);
        }
        if self.pid_file {
            words.extend(["--pid-file".into(), OsString::from(self.bundle.pid_file())]);
        }
        words.extend(self.flags.iter().cloned());
        words.extend(self.id.iter().map(OsString::from));
        words.extend(self.after.iter().cloned());
        words
    }

    /// The process to be: words, environment and directory, without streams.
    pub(super) fn command(&self) -> Command {
        if matches!(self.verb.as_str(), "create" | "run" | "restore") {
            self.bundle.write_config(self.runs.as_deref());
        }
        let mut words = self.words();
        if let Some(script) = &self.before {
            let mut shell: Vec<OsString> = match self.own_mounts {
                true => ["unshare", "--mount", "--propagation", "private"]
                    .map(OsString::from)
                    .to_vec(),
                false => Vec::new(),
            };
            shell.extend([
                "sh".into(),
                "-ec".into(),
                format!("{script}\nexec \"$@\"").into(),
                "sh".into(),
            ]);
            shell.append(&mut words);
            words = shell;
        }
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.cwd)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Makes the call and waits for its end.
    #[must_use]
    #[track_caller]
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Makes the call without waiting for its end.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let number = self.bundle.calls.fetch_add(1, Ordering::Relaxed);
        let [stdin, stdout, stderr] = ["in", "out", "err"].map(|name| self.bundle.call_file(number, name));
        fs::write(&stdin, &self.stdin).unwrap();
        let mut command = self.command();
        let line = format!("{command:?}");
        command.stdin(File::open(&stdin).unwrap());
        command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap());
        let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        Running {
            child,
            line,
            stdout,
            stderr,
        }
    }

    /// Makes the call with pipes instead of files, for cases about the streams themselves.
    #[track_caller]
    pub fn spawn_with_pipes(self) -> Child {
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if !self.stdin.is_empty() {
            child.stdin.take().unwrap().write_all(&self.stdin).unwrap();
        }
        child
    }
}

/// A call under way.
pub struct Running {
    child: Child,
    line: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// The runtime's own pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Signals the runtime itself.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// What has been written to stdout by now.
    pub fn stdout_now(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Waits for the end of the call; a call that hangs fails the case.
    #[must_use]
    #[track_caller]
    pub fn wait(self) -> Output {
        self.end().unwrap_or_else(|hung| panic!("{hung}"))
    }

    /// Waits for the end of the call; one that hangs is killed, and its story told.
    pub(super) fn end(mut self) -> Result<Output, String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ok(Output::read(status, self.line, self.stdout, self.stderr));
            }
            if started.elapsed() > patience() {
                let _ = self.child.kill();
                let status = self.child.wait().unwrap();
                let output = Output::read(status, self.line, self.stdout, self.stderr);
                return Err(format!("hung for {:?}\n{}", patience(), output.story()));
            }
            let pause = if started.elapsed() < Duration::from_millis(100) {
                1
            } else {
                10
            };
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
}
