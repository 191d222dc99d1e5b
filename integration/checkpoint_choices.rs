//! What `checkpoint` and `restore` can be told about things that CRIU does not save or make by itself.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::checkpoint::{
    NO_STREAMS, checkpoint, count, counter, criu_works, launch, launch_counter, needs_criu, only_the_view_is_v2,
    restore, saved_counter, well, with_images,
};
use crate::harness::{Act, Bundle, Call, ConsoleSocket, Kind, Payload, alive, eventually, has_compiler, runtime};

/// A container of `integration/programs/ties.c`, which counts in `/count` while its tie holds.
fn tied(words: &[&str]) -> Bundle {
    let c = Bundle::scratch().folder("/proc").folder("/dev").folder("/sys");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/programs/ties.c");
    let made = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .args([&c.in_rootfs("/ties"), &source])
        .status();
    assert!(made.unwrap().success());
    let words: Vec<&str> = ["/ties"].iter().chain(words).copied().collect();
    c.args(&words)
}

fn with_flags<'c>(call: Call<'c>, flags: &[&str]) -> Call<'c> {
    flags.iter().fold(call, |call, flag| call.flag(flag))
}

#[test]
fn the_pidfd_socket_gets_a_pidfd_of_the_restored_process() {
    needs_criu!();
    except!(Runc, Crun; "runc has it since 1.2, crun not at all");
    let c = saved_counter();
    let socket = ConsoleSocket::listen(&c.scrap("pidfd.sock"));
    let call = restore(&c).flag("--pidfd-socket").flag(socket.path());
    // Nothing can be added to what was saved.
    let call = call.flag("--preserve-fds").flag("1");
    let output = well(&c, call.before("exec </dev/null >/dev/null 3</dev/null").output());
    assert!(
        output.stderr.contains("--preserve-fds is not used"),
        "{}",
        output.story()
    );
    let (_, fds) = socket.receive();
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]));
    let text = fs::read_to_string(info).unwrap();
    assert!(text.lines().any(|line| line == format!("Pid:\t{}", c.pid())), "{text}");
}

fn log_of(c: &Bundle, name: &str) -> String {
    fs::read_to_string(c.scrap("work").join(name)).unwrap_or_default()
}

/// Without `flag` the dump fails and the container goes on; with it, it goes on after a restore, too.
#[track_caller]
fn saved_only_with(c: &Bundle, flag: &str) {
    launch_counter(c);
    let refused = checkpoint(c).output().exits(1);
    assert_eq!(c.status(), "running", "{}", refused.story());
    well(c, checkpoint(c).flag(flag).output());
    c.wait();
    let saved = count(c);
    let call = match flag {
        // A matter of the dump alone.
        "--link-remap" => restore(c),
        _ => restore(c).flag(flag),
    };
    well(c, call.before(NO_STREAMS).output());
    eventually("the container to count on", || count(c) > saved + 3);
}

#[test]
fn file_locks() {
    needs_criu!();
    needs!(has_compiler(); "a C compiler");
    let c = tied(&["lock", "/locked"]);
    saved_only_with(&c, "--file-locks");
    let file = fs::File::open(c.in_rootfs("/locked")).unwrap();
    assert!(file.try_lock().is_err(), "the restored container has the lock");
}

#[test]
fn unlinked_files() {
    needs_criu!();
    needs!(has_compiler(); "a C compiler");
    except!(Runc; "runc 1.1 does not know --link-remap");
    let c = tied(&["unlinked", "/file"]);
    saved_only_with(&c, "--link-remap");
    assert!(c.in_rootfs("/file.other").exists() && !c.in_rootfs("/file").exists());
}

#[test]
fn unix_sockets_that_lead_outside() {
    needs_criu!();
    needs!(has_compiler(); "a C compiler");
    // CRIU looks for the other end among the sockets of the same network namespace.
    let c = tied(&[]).without_namespace("network");
    let folder = c.scrap_folder("sockets");
    let path = folder.join("outside.sock");
    let path = path.to_str().unwrap();
    let outside = UnixDatagram::bind(path).unwrap();
    let c = c
        .bind(&folder, folder.to_str().unwrap(), &["rbind"])
        .args(&["/ties", "unix", path]);
    let reading = std::thread::spawn(move || {
        let mut read = 0;
        let mut bytes = [0; 8];
        while outside.recv(&mut bytes).is_ok_and(|n| n == 1) {
            read += 1;
        }
        read
    });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        saved_only_with(&c, "--ext-unix-sk");
    }));
    UnixDatagram::unbound().unwrap().send_to(b"end", path).unwrap();
    assert!(reading.join().unwrap() > 3);
    outcome.unwrap();
}

/// CRIU says in its log what it was told about connections.
///
/// That they go on is not held here: CRIU before 4.2 saves none on Linux 6.16 or later.
#[test]
fn what_is_done_about_connections_is_told_to_criu() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    let mut call = checkpoint(&c).flag("--tcp-established");
    if runtime().kind == Kind::Runw {
        call = call.flag("--tcp-skip-in-flight").flag("--link-remap");
    }
    well(&c, call.output());
    c.wait();
    let told = log_of(&c, "dump.log");
    assert!(told.contains("Will dump/restore TCP connections"), "{told}");
    if runtime().kind == Kind::Runw {
        assert!(told.contains("Will skip in-flight TCP connections"), "{told}");
        assert!(told.contains("Will allow link remaps on FS"), "{told}");
    }
    let mut call = restore(&c).flag("--tcp-established");
    if runtime().kind == Kind::Runw {
        call = call.flag("--tcp-close");
    }
    well(&c, call.before(NO_STREAMS).output());
    let told = log_of(&c, "restore.log");
    assert!(told.contains("Will dump/restore TCP connections"), "{told}");
    let closed = told.contains("Will drop all TCP connections on restore");
    assert_eq!(closed, runtime().kind == Kind::Runw, "{told}");
}

/// Flags that allow what the container does not have.
#[test]
fn what_is_not_there_may_be_allowed() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    let flags = [
        "--shell-job",
        "--ext-unix-sk",
        "--file-locks",
        "--auto-dedup",
        "--empty-ns",
        "network",
    ];
    well(&c, with_flags(checkpoint(&c), &flags).output());
    c.wait();
    let saved = count(&c);
    let more = match runtime().kind {
        Kind::Runc => &["--no-pivot", "--no-subreaper"][..],
        _ => &["--no-pivot", "--no-subreaper", "--no-new-keyring"],
    };
    let call = with_flags(with_flags(restore(&c), &flags), more);
    well(&c, call.before(NO_STREAMS).output());
    eventually("the container to count on", || count(&c) > saved + 3);
}

#[test]
fn networks_are_locked_as_is_said() {
    only!(Runw; "it is crun's option, and its packages have no CRIU");
    needs_criu!();
    for method in ["skip", "nftables", "iptables"] {
        let c = counter();
        launch_counter(&c);
        let flags = ["--network-lock", method];
        well(&c, with_flags(checkpoint(&c), &flags).output());
        c.wait();
        let saved = count(&c);
        well(&c, with_flags(restore(&c), &flags).before(NO_STREAMS).output());
        eventually("the container to count on", || count(&c) > saved + 3);
    }
}

#[test]
fn cgroups_are_managed_as_is_said() {
    needs_criu!();
    needs!(!only_the_view_is_v2(); "cgroups that are the container's own");
    let modes = match runtime().kind {
        // 1.1 does not pass it on to a restore, and has no "ignore".
        Kind::Runc => &["soft", "full"][..],
        _ => &["soft", "full", "strict", "ignore"],
    };
    for mode in modes {
        let c = counter();
        launch_counter(&c);
        let flags = ["--manage-cgroups-mode", mode];
        well(&c, with_flags(checkpoint(&c), &flags).output());
        c.wait();
        let saved = count(&c);
        let restored = with_flags(restore(&c), &flags).before(NO_STREAMS).output();
        if *mode == "strict" {
            // The runtime has made the cgroup already, for its limits.
            restored.exits(1);
            let told = log_of(&c, "restore.log");
            assert!(told.contains("Abort restore of existing cgroups"), "{told}");
            c.assert_no_trace();
        } else {
            well(&c, restored);
            eventually("the container to count on", || count(&c) > saved + 3);
        }
    }
}

#[test]
fn folders_of_their_own_choice() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    // ./checkpoint for images and log.
    let here = c.scrap_folder("here");
    let call = c.call("checkpoint").cwd(&here);
    let call = match only_the_view_is_v2() {
        true => call.flag("--manage-cgroups-mode").flag("ignore"),
        false => call,
    };
    well(&c, call.output());
    c.wait();
    for file in ["inventory.img", "dump.log"] {
        assert!(here.join("checkpoint").join(file).exists(), "{file}");
    }
    let saved = count(&c);
    let call = c.call("restore").cwd(&here).flag("--detach");
    well(&c, call.before(NO_STREAMS).output());
    assert!(here.join("checkpoint/restore.log").exists());
    eventually("the container to count on", || count(&c) > saved + 3);
}

/// A TCP port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn criu(words: &[&str], images: &Path) -> Child {
    let mut command = Command::new("criu");
    command.args(words).arg("--images-dir").arg(images);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn memory_goes_to_a_page_server() {
    needs_criu!();
    let c = counter();
    launch_counter(&c);
    let pages = c.scrap_folder("pages");
    let port = free_port().to_string();
    let mut server = criu(&["page-server", "--address", "127.0.0.1", "--port", &port], &pages);
    eventually("the page server", || is_listening(&port));
    let call = checkpoint(&c).flag("--page-server").flag(format!("127.0.0.1:{port}"));
    let output = call.output();
    let _ = server.kill();
    let _ = server.wait();
    well(&c, output);
    c.wait();
    assert!(!c.scrap("images/pages-1.img").exists());
    for entry in fs::read_dir(&pages).unwrap().flatten() {
        fs::copy(entry.path(), c.scrap("images").join(entry.file_name())).unwrap();
    }
    let saved = count(&c);
    well(&c, restore(&c).before(NO_STREAMS).output());
    eventually("the container to count on", || count(&c) > saved + 3);
}

/// Whether somebody listens on that port, without a connection that CRIU would take for its client's.
fn is_listening(port: &str) -> bool {
    let address = format!(":{:04X} 00000000:0000 0A", port.parse::<u16>().unwrap());
    fs::read_to_string("/proc/net/tcp").is_ok_and(|table| table.contains(&address))
}

#[test]
fn who_waits_is_told_when_lazy_pages_are_served() {
    needs_criu!();
    let lazy = Command::new("criu")
        .args(["check", "--feature", "uffd-noncoop"])
        .output();
    needs!(lazy.is_ok_and(|output| output.status.success()); "userfaultfd");
    let c = counter();
    launch_counter(&c);
    let ready = c.scrap("ready");
    let port = free_port();
    let call = checkpoint(&c).flag("--lazy-pages").flag("--status-fd").flag("7");
    let call = call.flag("--page-server").flag(format!("127.0.0.1:{port}"));
    let dump = call.before(&format!("exec 7>{}", ready.display())).spawn();
    eventually("the pages to be served", || {
        fs::read(&ready).is_ok_and(|bytes| bytes == [0])
    });
    assert!(c.scrap("images/inventory.img").exists());
    assert!(is_listening(&port.to_string()));
    assert!(alive(c.pid()), "its memory is still here");
    // Somebody who wants no page at all.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    well(&c, dump.wait());
    c.wait();
    c.call("state").output().fails_as_unknown();
}

#[test]
fn kept_after_its_end() {
    except!(Runc; "runc 1.1 has no --keep");
    needs_criu!();
    let c = Bundle::busybox().sh("echo >/ready; while [ ! -e /go ]; do sleep 0.05; done; exit 7");
    launch(&c);
    eventually("the container to be ready", || c.in_rootfs("/ready").exists());
    well(&c, checkpoint(&c).output());
    c.wait();
    fs::write(c.in_rootfs("/go"), "").unwrap();
    let call = with_images(&c, "restore").flag("--keep");
    call.before(NO_STREAMS).output().exits(7);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
    c.assert_no_trace();
}

#[test]
fn another_config_and_pid_file() {
    except!(Runc; "runc 1.1 has no --config");
    needs_criu!();
    let c = saved_counter();
    let (config, pid_file) = (c.scrap("other.json"), c.scrap("other.pid"));
    fs::rename(c.path().join("config.json"), &config).unwrap();
    fs::write(c.path().join("config.json"), "{}").unwrap();
    let call = restore(&c).no_pid_file().flag("--pid-file").flag(&pid_file);
    well(&c, call.flag("--config").flag(&config).before(NO_STREAMS).output());
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), c.state()["pid"].to_string());
}

#[test]
fn values_that_make_no_sense() {
    let c = Bundle::sleeper();
    c.launch();
    for (flag, value) in [
        ("--manage-cgroups-mode", "hard"),
        ("--empty-ns", "pid"),
        ("--page-server", "127.0.0.1:http"),
        ("--network-lock", "rope"),
    ] {
        checkpoint(&c).flag(flag).flag(value).output().exits(1);
    }
    checkpoint(&c)
        .flag("--lazy-pages")
        .flag("--status-fd")
        .flag("77")
        .output()
        .exits(1);
    assert_eq!(c.status(), "running");
}

/// No flag makes a container of WebAssembly one that can be saved, not even one that would save the memory alone.
#[test]
fn wasm_is_refused_however_it_is_asked() {
    only!(Runw; "modules are run by our own engine");
    let c = Payload::Wasm.bundle(&Act::Sleep);
    let started = c.run_detached().ok();
    eventually("the module to be ready", || started.stdout_now().contains("ready"));
    for flag in ["--pre-dump", "--leave-running", "--lazy-pages"] {
        let refused = checkpoint(&c).flag(flag).output();
        refused.fails("checkpoint is not supported for WebAssembly containers");
    }
    c.call("pause").output().ok();
    checkpoint(&c)
        .output()
        .fails("checkpoint is not supported for WebAssembly containers");
    assert_eq!(c.status(), "paused");
    assert!(!c.scrap("images").exists());
}

/// Images of a native container do not become one of WebAssembly.
#[test]
fn wasm_is_not_restored_from_native_images() {
    only!(Runw; "modules are run by our own engine");
    needs!(criu_works(); "CRIU");
    let c = saved_counter();
    Payload::put_module(&c);
    let c = c.args(&["/acts.wasm", "sleep", ""]);
    let refused = restore(&c).before(NO_STREAMS).output();
    refused.fails("restore is not supported for WebAssembly containers");
    c.assert_no_trace();
}
