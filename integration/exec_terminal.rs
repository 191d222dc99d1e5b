//! `exec --tty`: a terminal of the container's own for one more process.

use serde_json::json;

use crate::harness::{Bundle, ConsoleSocket, Terminal};

fn running() -> Bundle {
    Bundle::sleeper().up()
}

#[test]
fn a_terminal_in_the_foreground() {
    let c = running();
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && tty; echo prompt; read line; echo got $line; exit 5";
    let mut terminal = Terminal::of_call(c.exec(&["--tty"], &["sh", "-c", script]), 24, 80);
    terminal.until("prompt");
    terminal.type_in("words\n");
    terminal.until("got words");
    assert_eq!(terminal.wait(), 5);
    assert!(terminal.text().contains("/dev/pts/"), "{}", terminal.text());
}

#[test]
fn control_c_interrupts_the_process_only() {
    let c = running();
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 1; done";
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["sh", "-c", script]), 24, 80);
    terminal.until("ready");
    terminal.type_in("\x03");
    assert_eq!(terminal.wait(), 9);
    assert_eq!(c.status(), "running");
}

#[test]
fn the_windows_size_is_passed_on() {
    let c = running();
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done";
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["sh", "-c", script]), 30, 100);
    terminal.until("ready");
    terminal.resize(43, 131);
    terminal.until("43 131");
    terminal.type_in("\x03");
    assert_eq!(terminal.wait(), 130);
}

#[test]
fn the_process_finds_the_windows_size() {
    except!(Runc; "runc sets it once the process runs");
    let c = running();
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["stty", "size"]), 30, 100);
    terminal.until("30 100\r\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn lines_end_once() {
    let c = running();
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["printf", "a\\nb\\n"]), 24, 80);
    terminal.until("b\r\n");
    assert_eq!(terminal.wait(), 0);
    assert_eq!(terminal.text(), "a\r\nb\r\n");
}

#[test]
fn the_console_socket_gets_the_master() {
    let c = running();
    let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
    let flags = ["-t", "-d", "--console-socket", socket.path().to_str().unwrap()];
    let process = c.detached(c.exec(
        &flags,
        &["sh", "-c", "echo from inside; read line; echo and $line; exit 3"],
    ));
    let (name, mut fds) = socket.receive();
    assert_eq!(fds.len(), 1);
    assert!(!name.is_empty());
    let terminal = Terminal::of_master(fds.remove(0));
    terminal.until("from inside");
    terminal.type_in("back\n");
    terminal.until("and back");
    assert_eq!(process.wait(), 3);
}

#[test]
fn a_document_asks_for_terminal_and_size() {
    let c = running();
    let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
    let file = c.scrap("process.json");
    let document = json!({
        "terminal": true, "consoleSize": { "height": 11, "width": 22 }, "cwd": "/", "env": ["PATH=/bin"],
        "user": { "uid": 1000, "gid": 1000 }, "args": ["sh", "-c", "stty size; stat -c %u $(tty); sleep 1000"],
    });
    std::fs::write(&file, document.to_string()).unwrap();
    let flags = [
        "-d",
        "--process",
        file.to_str().unwrap(),
        "--console-socket",
        socket.path().to_str().unwrap(),
    ];
    let _process = c.detached(c.exec(&flags, &[]));
    let (_, mut fds) = socket.receive();
    let terminal = Terminal::of_master(fds.remove(0));
    terminal.until("11 22");
    terminal.until("1000");
}

#[test]
fn it_controls_the_process() {
    let c = running();
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["sh", "-c", "echo to the tty >/dev/tty"]), 24, 80);
    terminal.until("to the tty");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let c = Bundle::sleeper().user_namespace(100_000, 65536).up();
    let mut terminal = Terminal::of_call(c.exec(&["-t"], &["sh", "-c", "stat -c owner=%u $(tty)"]), 24, 80);
    terminal.until("owner=0");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_rules_between_detach_terminal_and_socket() {
    except!(Crun; "crun has rules of its own");
    let c = running();
    let socket = ConsoleSocket::listen(&c.scrap("console.sock"));
    let path = socket.path().to_str().unwrap();
    for flags in [
        &["-t", "-d"][..],
        &["--console-socket", path],
        &["-t", "--console-socket", path],
    ] {
        let output = c.exec(flags, &["true"]).output().exits(255);
        assert!(output.stderr.contains("console socket"), "{}", output.story());
    }
}

#[test]
fn the_containers_own_terminal_is_no_model() {
    let c = Bundle::busybox()
        .set("process.terminal", true)
        .sh("echo ready; exec sleep 1000");
    let terminal = Terminal::by_socket(&c, c.call("create"));
    c.start().ok();
    terminal.until("ready");
    c.exec_sh(&[], "[ -t 1 ] || echo none").prints("none\n");
}
