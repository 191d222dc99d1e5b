//! Running the hooks of config.json.
//!
//! A hook gets its argv and environment as configured, the container's state on stdin, and no descriptor but the standard
//! ones. What it prints is kept for the error message.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::config::{Hook, HookOutput};
use crate::error::{Error, Kind, Result, ResultExt, errno_text};
use crate::sys;
use crate::sys::fd::inherit_nothing_from;

/// Of what a hook prints, the last so many bytes go into the error message.
const KEPT_OUTPUT: usize = 2048;

/// What all hooks of a list have in common.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The container's state as JSON, for stdin.
    pub state: &'a [u8],
    /// The environment of hooks that have none of their own; without it they inherit the runtime's.
    pub env: Option<&'a [String]>,
    /// Where hooks run, if it is there: in runc that is the bundle, and the root file system for `createContainer`.
    pub dir: Option<&'a Path>,
    /// Who gets what they print.
    pub outlets: &'a Outlets,
}

/// The files that take what hooks print; without one it is only kept for the error message.
#[derive(Debug, Default)]
pub struct Outlets {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Outlets {
    /// Nobody.
    pub const NONE: Outlets = Outlets {
        stdout: None,
        stderr: None,
    };

    /// Opens the files that the annotations of a container name, to append to them; they are the host's.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn open(annotations: &BTreeMap<String, String>) -> Result<Outlets> {
        let HookOutput { stdout, stderr } = HookOutput::of(annotations)?;
        Ok(Outlets {
            stdout: stdout.map(|path| append_to(&path)).transpose()?,
            stderr: stderr.map(|path| append_to(&path)).transpose()?,
        })
    }
}

/// Opens a file for what hooks print. That it cannot be made must not be told in the words for a program that is not there.
fn append_to(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    opened.map_err(|e| {
        let why = match e.kind() {
            std::io::ErrorKind::NotFound => "its folder is missing".to_owned(),
            _ => e.raw_os_error().map_or_else(|| e.to_string(), errno_text),
        };
        Error::message(format!("cannot open {path:?} for what hooks print: {why}"))
    })
}

/// A stream of a hook: the file, or a pipe to this process.
fn stream(outlet: Option<&File>) -> Result<Stdio> {
    match outlet {
        Some(file) => file
            .try_clone()
            .map(Stdio::from)
            .call(|| "dup(a file for what hooks print)"),
        None => Ok(Stdio::piped()),
    }
}

/// Runs `hooks` one after the other, up to the first that fails. `kind` is the name of the list in config.json.
///
/// # Errors
/// [`Kind::Hook`], one line: `error running createRuntime hook #0: /path: exit status 1: what it printed to stderr`; the first words are
/// runc's.
pub fn run(kind: &str, hooks: &[Hook], setting: Setting<'_>) -> Result<()> {
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(i, hook)| run_one(kind, i, hook, setting))
}

/// Runs all of `hooks` whatever becomes of them, and gives the failures; for `poststop`, which cannot fail a deletion.
pub fn run_all(kind: &str, hooks: &[Hook], setting: Setting<'_>) -> Vec<Error> {
    let one = |(i, hook)| run_one(kind, i, hook, setting).err();
    hooks.iter().enumerate().filter_map(one).collect()
}

fn run_one(kind: &str, index: usize, hook: &Hook, setting: Setting<'_>) -> Result<()> {
    let failed = |what: String| {
        Error::new(Kind::Hook(format!(
            "error running {kind} hook #{index}: {}: {what}",
            hook.path.display()
        )))
    };
    let mut child = command(hook, setting)
        .stdin(state_file(setting.state)?)
        .stdout(stream(setting.outlets.stdout.as_ref())?)
        .stderr(stream(setting.outlets.stderr.as_ref())?)
        .spawn()
        .map_err(|e| failed(e.raw_os_error().map_or_else(|| e.to_string(), errno_text)))?;
    let mut output = Output::of(&mut child)?;
    let limit = hook.timeout.map(Duration::from_secs);
    match output.until_exit(&mut child, limit) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(failed(output.explain(&status_text(status)))),
        Ok(None) => {
            let seconds = hook.timeout.unwrap_or_default();
            Err(failed(
                output.explain(&format!("killed, it ran past its timeout of {seconds} s")),
            ))
        }
        Err(e) => {
            kill(&mut child);
            Err(failed(e.to_string()))
        }
    }
}

fn command(hook: &Hook, setting: Setting<'_>) -> Command {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    if let Some(env) = hook.env.as_deref().or(setting.env) {
        command.env_clear();
        command.envs(env.iter().map(|e| e.split_once('=').unwrap_or((e, ""))));
    }
    if let Some(dir) = setting.dir.filter(|d| d.is_dir()) {
        command.current_dir(dir);
    }
    // A group of its own, so that a timeout ends what the hook started as well.
    command.process_group(0);
    // The process starts with a copy of our table; whatever the caller of runw leaked into it must not go further.
    inherit_nothing_from(&mut command, 3);
    command
}

/// The state as a file: unlike a pipe it holds any length and has no reader to wait for.
fn state_file(state: &[u8]) -> Result<File> {
    let sealed = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
    let fd = match rustix::fs::memfd_create("state", sealed) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC),
        other => other,
    };
    let mut file = File::from(fd.call(|| "memfd_create(state)")?);
    file.write_all(state)
        .and_then(|()| file.rewind())
        .call(|| "write(the state for a hook)")?;
    Ok(file)
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match sys::signal::meaning(signal) {
            Some(meaning) => format!("signal {signal} ({meaning})"),
            None => format!("signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

/// Ends the hook and its group, and reaps it.
fn kill(child: &mut Child) {
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The two streams of a hook and its end.
struct Output {
    pidfd: OwnedFd,
    /// stdout and stderr with the end of what came from each; `None` after its end of file.
    streams: [(Option<File>, Vec<u8>); 2],
}

impl Output {
    fn of(child: &mut Child) -> Result<Output> {
        let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| Error::message("a child without a pid"))?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).call(|| "pidfd_open(hook)")?;
        let stdout = child.stdout.take().map(|s| File::from(OwnedFd::from(s)));
        let stderr = child.stderr.take().map(|s| File::from(OwnedFd::from(s)));
        for stream in [&stdout, &stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(stream, true).call(|| "ioctl(FIONBIO)")?;
        }
        Ok(Output {
            pidfd,
            streams: [(stdout, Vec::new()), (stderr, Vec::new())],
        })
    }

    /// Reads along until the hook has ended; `None` if it had to be killed after `limit`. Something that the hook left
    /// running may keep the streams open: nobody waits for that.
    fn until_exit(&mut self, child: &mut Child, limit: Option<Duration>) -> Result<Option<ExitStatus>> {
        let deadline = limit.and_then(|l| Instant::now().checked_add(l));
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let ended = self.wait(left)?;
            self.read();
            if ended {
                return child.wait().map(Some).call(|| "wait(hook)");
            }
            if left == Some(Duration::ZERO) {
                kill(child);
                self.read();
                return Ok(None);
            }
        }
    }

    /// Waits until the hook has ended (true), has printed something, or `left` is over.
    fn wait(&self, left: Option<Duration>) -> Result<bool> {
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        let open = self.streams.iter().filter_map(|(file, _)| file.as_ref());
        fds.extend(open.map(|f| PollFd::from_borrowed_fd(f.as_fd(), PollFlags::IN)));
        let left = left.map(|l| Timespec {
            tv_sec: l.as_secs() as i64,
            tv_nsec: i64::from(l.subsec_nanos()),
        });
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(Error::sys("poll(hook)", e)),
        }
    }

    /// Takes what is there.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        for (file, kept) in &mut self.streams {
            while let Some(open) = file {
                match open.read(&mut buffer) {
                    Ok(0) => *file = None,
                    Ok(n) => {
                        kept.extend_from_slice(&buffer[..n]);
                        kept.drain(..kept.len().saturating_sub(KEPT_OUTPUT));
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => *file = None,
                }
            }
        }
    }

    /// `what`, and what the hook said about it on stderr, or else on stdout; in one line.
    fn explain(&self, what: &str) -> String {
        let said = |i: usize| String::from_utf8_lossy(&self.streams[i].1).trim().replace('\n', "; ");
        match [said(1), said(0)].into_iter().find(|s| !s.is_empty()) {
            Some(said) => format!("{what}: {said}"),
            None => what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            env: None,
            timeout: None,
        }
    }

    fn with(state: &[u8]) -> Setting<'_> {
        Setting {
            state,
            env: None,
            dir: None,
            outlets: &Outlets::NONE,
        }
    }

    fn run_shell(script: &str) -> Result<()> {
        run("createRuntime", &[shell(script)], with(b"{\"id\":\"c\"}"))
    }

    #[test]
    fn gets_the_state_and_may_leave_it_unread() {
        run_shell("test \"$(cat)\" = '{\"id\":\"c\"}'").unwrap();
        let long = vec![b'x'; 1 << 20];
        run("createRuntime", &[shell("test $(wc -c) = 1048576")], with(&long)).unwrap();
        run("createRuntime", &[shell("exec true")], with(&long)).unwrap();
    }

    #[test]
    fn a_failure_says_which_hook_and_what_it_printed() {
        let text = run_shell("echo out; echo one >&2; echo two >&2; exit 3")
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "error running createRuntime hook #0: /bin/sh: exit status 3: one; two"
        );
        assert_eq!(
            run_shell("kill -9 $$").unwrap_err().to_string(),
            "error running createRuntime hook #0: /bin/sh: signal 9 (killed)"
        );
        let missing = Hook {
            path: "/nonexistent".into(),
            ..shell("")
        };
        let text = run("poststop", &[shell("true"), missing], with(b""))
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "error running poststop hook #1: /nonexistent: no such file or directory"
        );
    }

    #[test]
    fn arguments_and_environment_are_exactly_those_configured() {
        let mut hook = shell("test \"$0 $A\" = 'zero 1' && test -z \"$HOME\"");
        hook.args.push("zero".to_owned());
        hook.env = Some(vec!["A=1".to_owned()]);
        run(
            "prestart",
            &[hook.clone()],
            Setting {
                env: Some(&["A=2".to_owned()]),
                ..with(b"")
            },
        )
        .unwrap();
        hook.env = None;
        hook.args[2] = "test $A = 2".to_owned();
        run(
            "prestart",
            &[hook.clone()],
            Setting {
                env: Some(&["A=2".to_owned()]),
                ..with(b"")
            },
        )
        .unwrap();
        hook.args[2] = "test -n \"$PATH\"".to_owned();
        run("prestart", &[hook], with(b"")).unwrap();
    }

    #[test]
    fn runs_where_it_is_told_if_that_is_there() {
        let dir = |path: &'static str| Setting {
            dir: Some(Path::new(path)),
            ..with(b"")
        };
        run("prestart", &[shell("test \"$(pwd)\" = /usr")], dir("/usr")).unwrap();
        run("poststop", &[shell("true")], dir("/nonexistent")).unwrap();
    }

    #[test]
    fn what_they_print_goes_to_the_files_that_annotations_name() {
        let file = std::env::temp_dir().join(format!("runw-hook-output-{}", std::process::id()));
        std::fs::write(&file, "before\n").unwrap();
        let annotations = BTreeMap::from([("run.oci.hooks.stderr".to_owned(), file.display().to_string())]);
        let outlets = Outlets::open(&annotations).unwrap();
        let setting = Setting {
            outlets: &outlets,
            ..with(b"")
        };
        let twice = [shell("echo one >&2"), shell("echo out; echo two >&2; exit 1")];
        let text = run("prestart", &twice, setting).unwrap_err().to_string();
        let told = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(told, "before\none\ntwo\n");
        assert_eq!(text, "error running prestart hook #1: /bin/sh: exit status 1: out");
        let nowhere = BTreeMap::from([("run.oci.hooks.stdout".to_owned(), "/nonexistent/x".to_owned())]);
        let text = Outlets::open(&nowhere).unwrap_err().to_string();
        assert!(text.contains("/nonexistent/x"), "{text}");
    }

    #[test]
    fn a_timeout_ends_the_hook_and_what_it_started() {
        let mark = std::env::temp_dir().join(format!("runw-hook-{}", std::process::id()));
        let mut hook = shell(&format!(
            "(sleep 2; touch {}) & echo waiting >&2; sleep 10",
            mark.display()
        ));
        hook.timeout = Some(1);
        let start = Instant::now();
        let text = run("poststart", &[hook], with(b"")).unwrap_err().to_string();
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(
            text,
            "error running poststart hook #0: /bin/sh: killed, it ran past its timeout of 1 s: waiting"
        );
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!mark.exists());
    }

    #[test]
    fn a_hook_that_leaves_something_running_is_not_waited_for() {
        let start = Instant::now();
        run_shell("sleep 3 & exit 0").unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn no_descriptor_but_the_standard_ones_reaches_a_hook() {
        let leak = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        run_shell("for f in /proc/self/fd/*; do case $f in */[0-3]) ;; *) test ! -e $f || exit 1;; esac; done")
            .unwrap();
        let n = std::os::fd::AsRawFd::as_raw_fd(&leak);
        run_shell(&format!("test ! -e /proc/$$/fd/{n}")).unwrap();
    }

    #[test]
    fn run_all_goes_on_after_a_failure() {
        let errors = run_all(
            "poststop",
            &[shell("exit 1"), shell("true"), shell("exit 2")],
            with(b""),
        );
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn much_output_is_cut_and_does_not_block() {
        let text = run_shell("yes | tr -d '\\n' | head -c 300000 >&2; echo end >&2; exit 1")
            .unwrap_err()
            .to_string();
        assert!(
            text.len() < KEPT_OUTPUT + 200 && text.ends_with("end"),
            "{}",
            text.len()
        );
    }
}
