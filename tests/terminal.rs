//! Foreground containers, played by shells on a pty: relay, last bytes, signals, exit codes. One test at a time: the wait reaps
//! whatever child of this process ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, stop where they fail")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runw::root::{Console, open_console};
use runw::sys::process::{Child, Ended, clone, exit_now, pidfd_open};
use runw::tty::{Outlet, Relay, Signals, foreground, receive, socket_pair, take};
use rustix::process::Pid;
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Winsize, tcgetwinsize};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn console() -> Console {
    open_console(File::open("/").unwrap().as_fd()).unwrap()
}

fn spawn(command: &mut Command) -> Child {
    let pid = Pid::from_raw(command.spawn().unwrap().id().cast_signed()).unwrap();
    let pidfd = pidfd_open(pid).unwrap();
    Child { pid, pidfd }
}

/// A shell on the slave of a pty that neither echoes nor waits for whole lines, and the other end of the relay.
fn on_a_pty(script: &str) -> (Child, Relay, UnixStream) {
    let console = console();
    let mut modes = rustix::termios::tcgetattr(&console.slave).unwrap();
    modes.output_modes.remove(OutputModes::ONLCR);
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
    rustix::termios::tcsetattr(&console.slave, OptionalActions::Now, &modes).unwrap();
    let slave = || Stdio::from(console.slave.try_clone().unwrap());
    let shell = spawn(
        Command::new("sh")
            .args(["-c", script])
            .stdin(slave())
            .stdout(slave())
            .stderr(slave()),
    );
    let (ours, theirs) = UnixStream::pair().unwrap();
    let input = OwnedFd::from(theirs.try_clone().unwrap());
    let relay = Relay::between(console.master, input, theirs.into()).unwrap();
    (shell, relay, ours)
}

/// Runs the relay in this thread and returns how the shell ended.
fn wait(shell: &Child, relay: Option<Relay>) -> Ended {
    foreground(shell, &Signals::block().unwrap(), relay).unwrap()
}

#[test]
fn the_last_bytes_arrive_and_the_code_is_the_childs() {
    let _alone = alone();
    let count = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 7";
    let (shell, relay, mut ours) = on_a_pty(count);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(wait(&shell, Some(relay)).code(), 7);
    // No carriage returns: the pty of a foreground container leaves line ends to the caller's terminal.
    let expected: String = (0..2000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(reader.join().unwrap(), expected);
}

#[test]
fn a_slow_reader_loses_nothing() {
    let _alone = alone();
    let (shell, relay, mut ours) = on_a_pty("head -c 600000 /dev/zero | tr '\\0' x; exit 0");
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        let mut bytes = Vec::new();
        ours.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    assert_eq!(wait(&shell, Some(relay)), Ended::Exited(0));
    assert_eq!(reader.join().unwrap(), 600_000);
}

#[test]
fn input_reaches_the_container() {
    let _alone = alone();
    let (shell, relay, mut ours) = on_a_pty("echo ready; read line; echo got $line");
    let waiter = std::thread::spawn(move || wait(&shell, Some(relay)));
    let mut ready = [0; 6];
    ours.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    ours.write_all(b"abc\n").unwrap();
    let mut rest = String::new();
    ours.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), waiter.join().unwrap().code()), ("got abc\n", 0));
}

#[test]
fn input_that_nobody_reads_does_not_hang_the_wait() {
    let _alone = alone();
    let (shell, relay, mut ours) = on_a_pty("sleep 1; exit 5");
    let feeder = std::thread::spawn(move || while ours.write_all(&[b'x'; 4096]).is_ok() {});
    assert_eq!(wait(&shell, Some(relay)).code(), 5);
    feeder.join().unwrap();
}

#[test]
fn output_that_nobody_reads_does_not_hang_the_wait() {
    let _alone = alone();
    let (shell, relay, ours) = on_a_pty("head -c 1000000 /dev/zero; exit 3");
    drop(ours);
    let begin = Instant::now();
    assert_eq!(wait(&shell, Some(relay)).code(), 3);
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_daemon_that_keeps_the_pty_does_not_keep_the_caller() {
    let _alone = alone();
    let (shell, relay, mut ours) = on_a_pty("sleep 30 & echo $!; exit 0");
    assert_eq!(wait(&shell, Some(relay)).code(), 0);
    let mut pid = String::new();
    ours.read_to_string(&mut pid).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_pty_that_is_left_and_taken_again_goes_on_without_spinning() {
    let _alone = alone();
    let console = console();
    let name = rustix::pty::ptsname(&console.master, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let script = format!("sleep 1; echo back > {name}; exit 0");
    let shell = spawn(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()));
    drop(console.slave);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let relay = Relay::between(console.master, theirs.try_clone().unwrap().into(), theirs.into()).unwrap();
    let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    assert_eq!(wait(&shell, Some(relay)).code(), 0);
    let after = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let cpu = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1_000_000;
    assert!(cpu < 300, "{cpu} ms of CPU time in one second of waiting");
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(text, "back\n");
}

#[test]
fn the_callers_terminal_is_raw_meanwhile_and_lends_its_size() {
    let _alone = alone();
    let outer = console();
    let size = Winsize {
        ws_row: 44,
        ws_col: 132,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&outer.slave, size).unwrap();
    let inner = console();
    let modes = || rustix::termios::tcgetattr(&outer.slave).unwrap().local_modes;
    let before = modes();
    let stdio = || outer.slave.try_clone().unwrap();
    let relay = Relay::between(inner.master, stdio(), stdio()).unwrap();
    assert!(!modes().contains(LocalModes::ICANON));
    let size = tcgetwinsize(&inner.slave).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (44, 132));
    drop(relay);
    assert_eq!(modes(), before);
}

#[test]
fn signals_go_to_the_child() {
    let _alone = alone();
    let shell = spawn(Command::new("sh").args(["-c", "trap 'exit 9' USR1; kill -USR1 $$; sleep 5"]));
    assert_eq!(wait(&shell, None), Ended::Exited(9));
    let sleeper = spawn(Command::new("sleep").arg("30"));
    let signals = Signals::block().unwrap();
    // Raised for this thread alone.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = foreground(&sleeper, &signals, None).unwrap();
    assert_eq!((ended, ended.code()), (Ended::Killed(15), 143));
}

#[test]
fn adopted_children_are_reaped() {
    let _alone = alone();
    runw::sys::process::become_subreaper().unwrap();
    let shell = spawn(
        Command::new("sh")
            .args(["-c", "(sleep 0.2 & echo $! >&2) ; sleep 1"])
            .stderr(Stdio::piped()),
    );
    assert_eq!(wait(&shell, None), Ended::Exited(0));
    let children = std::fs::read_to_string(format!("/proc/self/task/{}/children", rustix::thread::gettid())).unwrap();
    assert_eq!(children.trim(), "");
}

#[test]
fn init_takes_the_slave_and_sends_the_master() {
    let _alone = alone();
    let (ours, theirs) = socket_pair().unwrap();
    let console = console();
    let child = clone(0, None, move || {
        rustix::process::setsid().unwrap();
        let outlet = Outlet {
            socket: theirs,
            relayed: true,
        };
        take(console, outlet, Some((25, 80))).unwrap();
        let mine = rustix::termios::tcgetpgrp(rustix::stdio::stdin()).unwrap() == rustix::process::getpid();
        let word: &[u8] = if mine { b"mine\n" } else { b"not mine\n" };
        rustix::io::write(rustix::stdio::stderr(), word).unwrap();
        exit_now(0)
    })
    .unwrap();
    let master = receive(ours.as_fd()).unwrap();
    let size = tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (25, 80));
    let mut line = [0; 64];
    let n = rustix::io::read(&master, &mut line).unwrap();
    assert_eq!(&line[..n], b"mine\n");
    assert_eq!(wait(&child, None), Ended::Exited(0));
}
