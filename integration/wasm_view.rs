//! What a WASI guest sees of its container: arguments, environment, folders, working directory, streams; and how it ends.

use serde_json::json;

use crate::harness::{Bundle, Terminal, eventually, guest};

#[test]
fn arguments_are_those_of_the_config() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    c.run(&["/view.wasm", "args", "env=", "a b", "ü"]).prints(
        "[/view.wasm]\n[args]\n[env=]\n[a b]\n[ü]\nunknown request env=\nunknown request a b\nunknown request ü\n",
    );
}

#[test]
fn the_environment_is_the_configs_alone() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").set("process.env", json!(["PATH=/bin", "A=1=2", "EMPTY="]));
    let call = c.call("run").runs(&["/view.wasm", "env"]).env("LEAK", "host");
    call.output().prints("PATH=/bin\nA=1=2\nEMPTY=\nHOME=/\n");
}

#[test]
fn the_root_is_open_and_can_be_written() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").file("/etc/motd", "welcome\n");
    c.set("root.readonly", false)
        .run(&["/view.wasm", "read=/etc/motd", "write=/etc/new", "read=/etc/new"])
        .prints("welcome\nwritten\n");
}

#[test]
fn a_readonly_root_stays_so() {
    only!(Runw; "modules are run by our own engine");
    let output = guest("view")
        .set("root.readonly", true)
        .run(&["/view.wasm", "write=/new"]);
    output.shows("write /new: ");
}

#[test]
fn mounts_are_seen_with_their_ro_flag() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").folder("/in").folder("/out");
    let input = c.scrap_folder("input");
    let output = c.scrap_folder("output");
    std::fs::write(input.join("file"), "input\n").unwrap();
    let c = c.bind(&input, "/in", &["bind", "ro"]).bind(&output, "/out", &["bind"]);
    c.run(&["/view.wasm", "read=/in/file", "write=/in/no", "write=/out/yes"])
        .shows("input\nwrite /in/no: ");
    assert_eq!(std::fs::read_to_string(output.join("yes")).unwrap(), "written\n");
    assert!(!input.join("no").exists());
}

#[test]
fn relative_paths_begin_at_the_working_directory() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view")
        .file("/app/data", "data of the app\n")
        .file("/etc/motd", "welcome\n")
        .set("root.readonly", false)
        .set("process.cwd", "/app");
    let absolute = ["read=/app/data", "read=/etc/motd"];
    c.run(&[
        "/view.wasm",
        "read=data",
        "read=./data",
        "list=.",
        absolute[0],
        absolute[1],
        "write=new",
    ])
    .prints("data of the app\ndata of the app\ndata\ndata of the app\nwelcome\n");
    assert!(c.in_rootfs("/app/new").exists());
}

#[test]
fn a_module_is_found_in_the_working_directory_and_in_path() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").set("process.env", json!([]));
    c.run(&["view.wasm", "args"]).prints("[view.wasm]\n[args]\n");
    c.run(&["./view.wasm", "args"]).prints("[./view.wasm]\n[args]\n");
    let c = c.folder("/opt/tools");
    std::fs::rename(c.in_rootfs("/view.wasm"), c.in_rootfs("/opt/tools/view")).unwrap();
    c.set("process.env", json!(["PATH=/nowhere:/opt/tools"]))
        .run(&["view", "args"])
        .prints("[view]\n[args]\n");
}

#[test]
fn exit_codes_arrive() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    for (given, seen) in [("0", 0), ("1", 1), ("42", 42), ("255", 255), ("256", 0)] {
        c.run(&["/view.wasm", &format!("exit={given}")]).exits(seen);
    }
}

#[test]
fn much_output_is_not_lost() {
    only!(Runw; "modules are run by our own engine");
    let output = guest("view").run(&["/view.wasm", "flood=100"]).ok();
    assert_eq!(output.stdout.len(), 100 << 20);
}

#[test]
fn the_standard_streams_can_be_files() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("acts").args(&["/acts.wasm", "copy"]);
    let (input, output) = (c.scrap("input"), c.scrap("output"));
    let text = "a line\n".repeat(100_000);
    std::fs::write(&input, &text).unwrap();
    std::fs::write(&output, "before\n").unwrap();
    let streams = format!("exec <{} >>{}", input.display(), output.display());
    c.call("run").before(&streams).output().ok();
    assert_eq!(std::fs::read_to_string(output).unwrap(), format!("before\n{text}"));
}

#[test]
fn clocks_go_and_random_numbers_differ() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    let output = c.run(&["/view.wasm", "clocks", "random", "random"]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let numbers: Vec<u64> = lines[0].split(' ').map(|n| n.parse().unwrap()).collect();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(now.as_secs().abs_diff(numbers[0]) < 60, "{}", output.story());
    assert!((50..60_000).contains(&numbers[1]), "{}", output.story());
    assert!(lines[1].len() == 32 && lines[1] != lines[2], "{}", output.story());
    assert!(!c.run(&["/view.wasm", "random"]).stdout.contains(lines[1]));
}

#[test]
fn control_c_on_a_terminal_ends_the_guest() {
    only!(Runw; "modules are run by our own engine");
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        let c = guest("view")
            .set("process.terminal", true)
            .args(&["/view.wasm", "spin"]);
        let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
        terminal.until("ready\r\n");
        terminal.type_in(key);
        assert_eq!(terminal.wait(), code);
    }
}

#[test]
fn the_standard_streams_can_be_a_terminal() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    c.run(&["/view.wasm", "tty=0", "tty=1", "tty=2"])
        .prints("no terminal\nno terminal\nno terminal\n");
    let c = c
        .set("process.terminal", true)
        .args(&["/view.wasm", "tty=0", "tty=1", "tty=2"]);
    let mut terminal = Terminal::of_call(c.call("run"), 24, 80);
    terminal.until("terminal\r\nterminal\r\nterminal\r\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn a_busy_guest_ends_at_once() {
    only!(Runw; "modules are run by our own engine");
    for (signal, code) in [
        ("TERM", 143),
        ("INT", 130),
        ("QUIT", 131),
        ("HUP", 129),
        ("USR1", 138),
        ("KILL", 137),
    ] {
        let c = guest("view").args(&["/view.wasm", "spin"]);
        let created = c.launch();
        eventually("the guest to spin", || created.stdout_now() == "ready\n");
        c.kill(signal).ok();
        assert_eq!(c.wait(), code, "{signal}");
    }
}

#[test]
fn a_busy_guest_stands_still_while_it_is_paused() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").args(&["/view.wasm", "count"]);
    let created = c.launch();
    eventually("the guest to count", || created.stdout_now().contains("\n3\n"));
    c.call("pause").output().ok();
    assert_eq!(c.status(), "paused");
    let before = created.stdout_now();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(created.stdout_now(), before, "numbers of a paused guest");
    c.call("resume").output().ok();
    eventually("further numbers", || created.stdout_now().len() > before.len());
    let text = created.stdout_now();
    let whole = text.lines().count() - usize::from(!text.ends_with('\n'));
    for (n, line) in text.lines().take(whole).enumerate() {
        assert_eq!(line, (n + 1).to_string(), "not one is missing");
    }
    c.call("pause").output().ok();
    c.kill("KILL").ok();
    assert_eq!(c.wait(), 137);
}

#[test]
fn the_state_and_the_trace_say_what_runs() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    let trace = c.scrap("trace.json");
    c.call("create").global("--trace").global(&trace).output().ok();
    assert_eq!(c.state()["payload"], "wasm");
    assert!(std::fs::read_to_string(trace).unwrap().contains("payload: wasm"));
    let native = Bundle::busybox().args(&["true"]);
    native.create().ok();
    assert!(native.state().get("payload").is_none(), "runc's document");
}

#[test]
fn nothing_but_the_file_tells_that_it_is_a_module() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    std::fs::rename(c.in_rootfs("/view.wasm"), c.in_rootfs("/program")).unwrap();
    c.run(&["/program", "args"]).prints("[/program]\n[args]\n");
}
