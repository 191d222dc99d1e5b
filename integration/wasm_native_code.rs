//! `wasm compile`, `wasm list` and `wasm prune`: an administrator looks after native code. Ours alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bundle, Output, case, guest};

/// A bundle with a module, and a cache for it, which goes with the bundle: nothing compiles in the background here.
fn with_cache() -> (Bundle, PathBuf) {
    let c = guest("acts").args(&["/acts.wasm", "print", "hello"]);
    let cache = c.scrap(&format!("cache-{}", case().replace("::", "-")));
    (c, cache)
}

fn wasm(c: &Bundle, words: &[&str], cache: &Path) -> Output {
    let cache = ["--wasm-cache", cache.to_str().unwrap()];
    c.call("wasm").no_id().after(words).after(&cache).output()
}

#[track_caller]
fn list(c: &Bundle, cache: &Path) -> Vec<Value> {
    let list = wasm(c, &["list", "--format", "json"], cache).json();
    list.as_array().unwrap().clone()
}

#[test]
fn what_is_compiled_beforehand_runs_natively_at_once() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    let module = c.in_rootfs("/acts.wasm");
    wasm(&c, &["compile", module.to_str().unwrap()], &cache).shows("/acts.wasm: optimised, ");
    let log = c.scrap("log");
    let call = c.call("run").global("--debug").global("--log").global(&log);
    call.flag("--wasm-cache").flag(&cache).output().prints("hello\n");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("the module runs as optimised native code"), "{log}");
}

#[test]
fn the_list_tells_what_there_is() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    assert!(list(&c, &cache).is_empty());
    let module = c.in_rootfs("/acts.wasm");
    wasm(&c, &["compile", module.to_str().unwrap()], &cache).ok();
    let all = list(&c, &cache);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["name"].as_str().unwrap(), module.to_str().unwrap());
    assert_eq!(
        all[0]["moduleSize"].as_u64().unwrap(),
        fs::metadata(&module).unwrap().len()
    );
    assert!(all[0]["engine"].as_str().unwrap().starts_with("wasmedge "), "{all:?}");
    assert_eq!(all[0]["artifacts"][0]["tier"], "optimised");
    assert_eq!(all[0]["busy"], false);
    wasm(&c, &["list"], &cache).shows("optimised");
}

#[test]
fn pruning_keeps_what_it_is_told_to() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    wasm(&c, &["prune", "--all"], &cache).prints("");
    let module = c.in_rootfs("/acts.wasm");
    wasm(&c, &["compile", module.to_str().unwrap()], &cache).ok();
    wasm(&c, &["prune"], &cache).prints("removed 0 modules, 0 bytes\n");
    wasm(&c, &["prune", "--unused-days", "1"], &cache).prints("removed 0 modules, 0 bytes\n");
    wasm(&c, &["prune", "--keep-mib", "0"], &cache).shows("removed 1 modules, ");
    assert!(list(&c, &cache).is_empty());
    wasm(&c, &["compile", module.to_str().unwrap()], &cache).ok();
    wasm(&c, &["prune", "--all"], &cache).shows("removed 1 modules, ");
    assert!(list(&c, &cache).is_empty());
}

#[test]
fn what_cannot_be_compiled_is_told() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    wasm(&c, &["compile", "/nonexistent.wasm"], &cache).fails("open /nonexistent.wasm: no such file or directory");
    wasm(&c, &["compile", "/"], &cache).fails("/ is no file of at most");
    // One function that returns nothing where it has to return a number.
    let wrong = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
    let module = c.scrap("wrong.wasm");
    fs::write(&module, wrong).unwrap();
    let output = wasm(&c, &["compile", module.to_str().unwrap()], &cache).fails("could not be compiled");
    assert!(
        output.stdout.contains("not optimised: WasmEdge cannot compile it: "),
        "{}",
        output.story()
    );
    let all = list(&c, &cache);
    assert!(
        all[0]["failures"][0]["reason"].as_str().unwrap().contains("WasmEdge"),
        "{all:?}"
    );
}

/// The administrator's file, in an `/etc` of the case's own.
#[test]
fn the_settings_are_read() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    let settings = |text: &str| {
        let file = c.scrap("config.toml");
        fs::write(&file, text).unwrap();
        let copy = format!("cp {} /etc/runw/config.toml", file.display());
        format!("mount -t tmpfs tmpfs /etc && mkdir /etc/runw && {copy}")
    };
    let text = format!("[wasm]\naot = \"wait\"\ncache = {:?}\n", cache.display().to_string());
    let script = settings(&text);
    c.call("run").among_own_mounts(&script).output().prints("hello\n");
    assert_eq!(list(&c, &cache).len(), 1);
    let script = settings("[wasm]\naot = \"soon\"\n");
    let output = c.call("run").among_own_mounts(&script).output();
    output.fails("/etc/runw/config.toml: line 2: unknown variant `soon`");
    // The flag comes first.
    let script = settings("[wasm]\naot = \"wait\"\n");
    c.call("run")
        .flag("--wasm-aot=off")
        .among_own_mounts(&script)
        .output()
        .prints("hello\n");
}

/// Beyond them a module is interpreted, and nobody waits longer than for that.
#[test]
fn the_limits_of_compilations_are_kept() {
    only!(Runw; "wasm is our own command");
    for (limit, words) in [
        ("compile-memory-mib = 64", "64 MiB"),
        ("compile-seconds = 0", "0 s of CPU time"),
    ] {
        let (c, cache) = with_cache();
        let file = c.scrap("config.toml");
        fs::write(&file, format!("[wasm]\naot = \"wait\"\ncache = {cache:?}\n{limit}\n")).unwrap();
        let etc = format!(
            "mount -t tmpfs tmpfs /etc && mkdir /etc/runw && cp {} /etc/runw/config.toml",
            file.display()
        );
        let log = c.scrap("log");
        let call = c.call("run").global("--log").global(&log).among_own_mounts(&etc);
        call.output().prints("hello\n");
        let log = fs::read_to_string(log).unwrap();
        assert!(
            log.contains("/acts.wasm is not compiled: ") && log.contains(words),
            "{limit}: {log}"
        );
        assert!(
            list(&c, &cache)
                .iter()
                .all(|entry| entry["artifacts"] == serde_json::json!([]))
        );
    }
}

#[test]
fn what_exec_has_compiled_is_no_process_of_the_container() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    let c = c.args(&["/acts.wasm", "sleep"]);
    c.launch_ready();
    let call = c.call("exec").flag("--wasm-cache").flag(&cache);
    call.after(&["/acts.wasm", "print", "hello"]).output().prints("hello\n");
    c.delete_force().ok();
    let done = |all: &[Value]| {
        all.iter()
            .any(|m| m["artifacts"].as_array().is_some_and(|a| !a.is_empty()))
    };
    let patience = Instant::now();
    while !done(&list(&c, &cache)) {
        assert!(patience.elapsed() < Duration::from_secs(60), "{:?}", list(&c, &cache));
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn exec_runs_native_code_too() {
    only!(Runw; "wasm is our own command");
    let (c, cache) = with_cache();
    let module = c.in_rootfs("/acts.wasm");
    wasm(&c, &["compile", module.to_str().unwrap()], &cache).ok();
    let c = c.args(&["/acts.wasm", "sleep"]);
    c.launch_ready();
    let log = c.scrap("log");
    let call = c.call("exec").global("--debug").global("--log").global(&log);
    let call = call.flag("--wasm-cache").flag(&cache);
    call.after(&["/acts.wasm", "print", "hello"]).output().prints("hello\n");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("the module runs as optimised native code"), "{log}");
    c.delete_force().ok();
}
