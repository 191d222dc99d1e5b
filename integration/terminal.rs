//! `process.terminal`: the foreground terminal, the console socket, and the rules between them.

use std::os::fd::AsFd;

use rustix::termios::LocalModes;
use serde_json::json;

use crate::harness::{Bundle, ConsoleSocket, Terminal, eventually};

fn on_terminal() -> Bundle {
    Bundle::busybox().set("process.terminal", true)
}

#[test]
fn a_foreground_terminal() {
    let c = on_terminal().sh("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; exit 5");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 5);
    let text = terminal.text();
    assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text}");
    assert!(text.contains("all three"), "{text}");
}

#[test]
fn keys_typed_reach_the_payload() {
    let c = on_terminal().sh("echo prompt; read line; echo got $line");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    terminal.until("prompt");
    terminal.type_in("hello there\n");
    terminal.until("got hello there");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn control_c_interrupts_the_payload_only() {
    let c = on_terminal().sh("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 1; done");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    terminal.until("ready");
    terminal.type_in("\x03");
    assert_eq!(terminal.wait(), 9);
    assert!(terminal.text().contains("caught"));
}

#[test]
fn the_windows_size_is_passed_on() {
    let c = on_terminal().sh("stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done");
    let mut terminal = Terminal::of_call(c.call("run"), 30, 100);
    terminal.until("ready");
    // The size of the caller's terminal is copied soon after the start, at the latest with the next change.
    terminal.resize(43, 131);
    terminal.until("43 131");
    terminal.wait();
}

#[test]
fn console_size_is_the_terminals_first_size() {
    let c = on_terminal()
        .set("process.consoleSize", json!({ "height": 11, "width": 22 }))
        .sh("stty size; sleep 1000");
    let terminal = Terminal::by_socket(&c, c.call("create"));
    c.start().ok();
    terminal.until("11 22");
}

#[test]
fn the_terminal_belongs_to_the_user() {
    let c = on_terminal().set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    let c = c.sh("stat -c %u $(tty)");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.text().trim_end().ends_with("1000"), "{}", terminal.text());
}

#[test]
fn the_terminal_controls_the_payload() {
    let c = on_terminal().sh("cut -d' ' -f7 /proc/self/stat; echo to the tty >/dev/tty");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    let text = terminal.text();
    assert!(
        text.contains("to the tty") && text.trim().lines().next() != Some("0"),
        "{text}"
    );
}

#[test]
fn dev_console_is_the_terminal() {
    let c = on_terminal().sh("echo by the console >/dev/console; stat -c %F /dev/console");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.text().contains("by the console"), "{}", terminal.text());
    assert!(
        terminal.text().contains("character special file"),
        "{}",
        terminal.text()
    );
}

#[test]
fn without_a_terminal_there_is_no_console() {
    Bundle::busybox()
        .run_sh("[ -e /dev/console ] || echo none; [ -t 0 ] || echo no tty")
        .shows("no tty");
}

#[test]
fn lines_end_once() {
    let c = on_terminal().sh("printf 'a\\nb\\n'");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    // Two terminals in a row would make two carriage returns.
    assert_eq!(terminal.text(), "a\r\nb\r\n");
}

#[test]
fn the_console_socket_gets_one_master() {
    let c = on_terminal().sh("echo from inside; read line; echo and $line");
    let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
    c.call("create")
        .flag("--console-socket")
        .flag(socket.path())
        .output()
        .ok();
    let (name, mut fds) = socket.receive();
    assert_eq!(fds.len(), 1, "one fd");
    assert!(!name.is_empty(), "the payload of the message names the terminal");
    let size = rustix::termios::tcgetwinsize(fds[0].as_fd());
    assert!(size.is_ok(), "it is a terminal");
    let terminal = Terminal::of_master(fds.remove(0));
    c.start().ok();
    terminal.until("from inside");
    terminal.type_in("back\n");
    terminal.until("and back");
    assert_eq!(c.wait(), 0);
}

#[test]
fn a_detached_run_with_a_console_socket() {
    let c = on_terminal().sh("echo from inside; sleep 1000");
    let terminal = Terminal::by_socket(&c, c.call("run").flag("-d"));
    terminal.until("from inside");
}

#[test]
fn a_detached_terminal_needs_a_console_socket() {
    let c = on_terminal().args(&["true"]);
    c.create().fails_with_one_of(&["console socket", "--console-socket"]);
    c.assert_no_trace();
    c.run_detached()
        .fails_with_one_of(&["console socket", "--console-socket"]);
    c.assert_no_trace();
}

#[test]
fn a_console_socket_needs_a_terminal() {
    except!(Crun; "crun does not look");
    let c = Bundle::busybox().args(&["true"]);
    let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
    let call = c.call("create").flag("--console-socket").flag(socket.path());
    call.output().fails_with_one_of(&["console socket", "terminal"]);
    c.assert_no_trace();
}

#[test]
fn a_console_socket_nobody_listens_on() {
    let c = on_terminal().args(&["true"]);
    let call = c.call("create").flag("--console-socket").flag(c.scrap("nobody.sock"));
    call.output()
        .fails_with_one_of(&["no such file or directory", "connect"]);
    c.assert_no_trace();
}

#[test]
fn a_terminal_when_stdin_is_none() {
    except!(Crun; "crun wants a terminal there");
    let c = on_terminal().sh("[ -t 0 ] && [ -t 1 ] && echo a terminal");
    let mut terminal = Terminal::of_call(c.call("run").before("exec </dev/null"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    assert!(terminal.text().contains("a terminal"), "{}", terminal.text());
}

#[test]
fn a_terminal_on_a_read_only_root_without_a_dev_mount() {
    let flags = rustix::fs::statvfs(std::env::temp_dir()).unwrap().f_flag;
    let nodev = flags.contains(rustix::fs::StatVfsMountFlags::NODEV);
    except!(Runc if nodev; "runc opens the device nodes of the root file system, here on a folder without devices");
    let c = on_terminal()
        .without_mount("/dev")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue");
    let c = c
        .folder("/dev/pts")
        .file("/dev/console", "")
        .set("root.readonly", true)
        .sh("tty && exit 4");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 4, "{}", terminal.text());
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let c = on_terminal()
        .user_namespace(100_000, 65536)
        .sh("tty; echo hi >/dev/console; stat -c %u $(tty)");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    assert!(terminal.text().contains("hi"));
}

#[test]
fn a_lot_of_output_arrives_whole() {
    except!(Crun; "crun 1.21 loses some");
    let c = on_terminal().sh("seq 1 20000");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    eventually("the last line", || terminal.text().contains("20000"));
    assert_eq!(terminal.text().split_whitespace().count(), 20000);
}

#[test]
fn the_callers_terminal_is_put_back() {
    let c = on_terminal().sh("true");
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    assert_eq!(terminal.wait(), 0);
    let termios = terminal.attributes();
    assert!(
        termios.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO),
        "left in raw mode"
    );
}

#[test]
fn the_pty_belongs_to_the_container() {
    let c = on_terminal().sh("ls /dev/pts; sleep 1000");
    let terminal = Terminal::by_socket(&c, c.call("create"));
    c.start().ok();
    terminal.until("0");
    terminal.until("ptmx");
    assert!(
        !terminal.text().contains('1'),
        "only its own terminal: {}",
        terminal.text()
    );
}
