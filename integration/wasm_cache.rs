//! Native code of WebAssembly modules: made once and kept. Ours alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Bundle, case, eventually, eventually_idle, guest, wat};

/// A cache of one case, removed at its end, with those who compile for it. It lies outside of the bundles' folders, because compilers outlive containers.
pub struct Cache(pub PathBuf);

/// How a module ran.
#[derive(Debug, PartialEq, Eq)]
pub enum Ran {
    Natively,
    Interpreted,
}

impl Cache {
    pub fn new() -> Cache {
        Cache::new_for("only")
    }

    /// A further one for the same case.
    pub fn new_for(what: &str) -> Cache {
        let name = format!("{}-{what}", case().replace("::", "-"));
        let path = std::env::temp_dir().join(format!("runw-it-cache-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Cache(path)
    }

    /// Runs the bundle's container, which has to print `hello`, and tells how; with a second value: what the log says.
    #[track_caller]
    pub fn run_logged(&self, c: &Bundle, mode: &str) -> (Ran, String) {
        let log = c.scrap("log");
        let _ = fs::remove_file(&log);
        let call = c.call("run").global("--debug").global("--log").global(&log);
        let call = call
            .flag(format!("--wasm-aot={mode}"))
            .flag("--wasm-cache")
            .flag(&self.0);
        call.output().prints("hello\n");
        let log = fs::read_to_string(log).unwrap();
        let ran = match (log.contains("native code\""), log.contains("the module is interpreted")) {
            (true, false) => Ran::Natively,
            (false, true) => Ran::Interpreted,
            _ => panic!("it does not say how the module ran:\n{log}"),
        };
        (ran, log)
    }

    #[track_caller]
    pub fn run(&self, c: &Bundle, mode: &str) -> Ran {
        self.run_logged(c, mode).0
    }

    /// All artifacts.
    fn artifacts(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        files
            .map(|file| file.path())
            .filter(|file| file.extension().is_some_and(|e| e == "so"))
            .collect()
    }

    /// The only artifact.
    #[track_caller]
    pub fn artifact(&self) -> PathBuf {
        let all = self.artifacts();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// The processes of compilers for this cache.
    fn compilers(&self) -> Vec<Pid> {
        let mark = format!("{}\"", self.0.display());
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let named = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&mark)
        };
        pids.filter(named).map(Pid::from_raw).collect()
    }

    #[track_caller]
    fn until_compiled(&self) {
        eventually_idle("native code", || {
            !self.artifacts().is_empty() && self.compilers().is_empty()
        });
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for pid in self.compilers() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A container that prints `hello`.
pub fn hello() -> Bundle {
    guest("acts").args(&["/acts.wasm", "print", "hello"])
}

#[test]
fn the_first_start_interprets_and_the_second_runs_native_code() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "background"), Ran::Interpreted);
    cache.until_compiled();
    assert_eq!(cache.run(&c, "background"), Ran::Natively);
    let artifact = fs::metadata(cache.artifact()).unwrap();
    assert_eq!((artifact.uid(), artifact.mode() & 0o7777), (0, 0o444));
    assert_eq!(fs::metadata(&cache.0).unwrap().mode() & 0o7777, 0o700);
}

/// The compiler leaves a guest that has just begun alone, but not for ever.
#[test]
fn a_guest_that_runs_on_is_compiled_beside() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), guest("acts").args(&["/acts.wasm", "sleep"]));
    let call = c.call("run").flag("--detach").flag("--wasm-cache").flag(&cache.0);
    call.output().ok();
    assert!(cache.artifacts().is_empty());
    cache.until_compiled();
    assert_eq!(c.status(), "running");
    c.delete_force().ok();
}

#[test]
fn whoever_wants_to_wait_gets_native_code_at_once() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    assert_eq!(cache.run(&c, "off"), Ran::Interpreted);
}

/// Functions that call themselves, unrolled for native code: with results of inner calls as arguments, early ends, branches out of the
/// function, and local variables that are zero each time.
const RECURSIVE: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $ackermann (param $m i32) (param $n i32) (result i32)
    (if (i32.eqz (local.get $m)) (then (return (i32.add (local.get $n) (i32.const 1)))))
    (if (result i32) (i32.eqz (local.get $n))
      (then (call $ackermann (i32.sub (local.get $m) (i32.const 1)) (i32.const 1)))
      (else (call $ackermann (i32.sub (local.get $m) (i32.const 1))
        (call $ackermann (local.get $m) (i32.sub (local.get $n) (i32.const 1)))))))
  (func $fibonacci (param $n f64) (result f64)
    (if (f64.lt (local.get $n) (f64.const 2)) (then (br 1 (local.get $n))))
    (f64.add (call $fibonacci (f64.sub (local.get $n) (f64.const 1)))
      (call $fibonacci (f64.sub (local.get $n) (f64.const 2)))))
  (func $count (param $n i32) (result i32) (local $seen i64)
    (if (i64.ne (local.get $seen) (i64.const 0)) (then (return (i32.const 1000))))
    (local.set $seen (i64.const 1))
    (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
    (loop $again (block $out
      (br_if $out (i32.lt_s (local.get $n) (i32.const 3)))
      (return (i32.add (i32.const 1) (call $count (i32.sub (local.get $n) (i32.const 1)))))))
    (i32.add (call $count (i32.sub (local.get $n) (i32.const 1))) (call $count (i32.const 0))))
  (func (export "_start")
    (call $exit (i32.add (call $ackermann (i32.const 2) (i32.const 3))
      (i32.add (i32.trunc_f64_s (call $fibonacci (f64.const 10))) (call $count (i32.const 10)))))))"#;

#[test]
fn recursion_means_the_same_as_native_code() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), wat(RECURSIVE));
    for (mode, artifacts) in [("off", 0), ("wait", 1)] {
        let call = c.call("run").flag(format!("--wasm-aot={mode}"));
        // ackermann(2, 3) + fibonacci(10) + count(10)
        call.flag("--wasm-cache").flag(&cache.0).output().exits(9 + 55 + 8);
        assert_eq!(cache.artifacts().len(), artifacts);
    }
    c.assert_no_trace();
}

#[test]
fn without_compilation_there_is_no_cache() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "off"), Ran::Interpreted);
    assert!(!cache.0.exists());
}

#[test]
fn the_annotation_decides_unless_the_flag_does() {
    only!(Runw; "modules are run by our own engine");
    let cache = Cache::new();
    let c = hello().set("annotations", serde_json::json!({"run.oci.runw.wasm-aot": "off"}));
    c.call("run")
        .flag("--wasm-cache")
        .flag(&cache.0)
        .output()
        .prints("hello\n");
    assert!(!cache.0.exists());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    let c = c.set("annotations", serde_json::json!({"run.oci.runw.wasm-aot": "maybe"}));
    c.call("run")
        .flag("--wasm-cache")
        .flag(&cache.0)
        .output()
        .fails("annotations[\"run.oci.runw.wasm-aot\"]: \"maybe\" is none of off, background and wait");
}

/// The container's user need not be able to read the cache, nor its root be the host's.
#[test]
fn native_code_runs_as_any_user() {
    only!(Runw; "modules are run by our own engine");
    let cache = Cache::new();
    let c = hello().set("process.user", serde_json::json!({"uid": 1000, "gid": 1000}));
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
}

/// What an image has as `/proc` is not asked.
#[test]
fn native_code_needs_no_procfs() {
    only!(Runw; "modules are run by our own engine");
    let cache = Cache::new();
    assert_eq!(cache.run(&hello(), "wait"), Ran::Natively);
    let c = hello()
        .set("mounts", serde_json::json!([]))
        .file("/proc/self/fd/9", "no module");
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
}

#[test]
fn a_full_disk_does_no_harm() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    fs::create_dir(&cache.0).unwrap();
    let log = c.scrap("log");
    for mode in ["wait", "background"] {
        let call = c
            .call("run")
            .global("--log")
            .global(&log)
            .flag(format!("--wasm-aot={mode}"));
        let call = call.flag("--wasm-cache").flag(&cache.0);
        let disk = format!("mount -t tmpfs -o size=32k,mode=700 tmpfs {}", cache.0.display());
        call.among_own_mounts(&disk).output().prints("hello\n");
    }
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .contains("/acts.wasm is not compiled: ")
    );
    eventually_idle("the compilers to end", || cache.compilers().is_empty());
}

#[test]
fn twenty_first_starts_compile_once() {
    only!(Runw; "modules are run by our own engine");
    let cache = Cache::new();
    let compiled: usize = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    cache
                        .run_logged(&hello(), "wait")
                        .1
                        .matches("compile /acts.wasm into")
                        .count()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).sum()
    });
    assert_eq!(compiled, 1);
    assert_eq!(cache.run(&hello(), "background"), Ran::Natively);
}

#[test]
fn a_compiler_that_is_killed_leaves_no_harm() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), hello());
    assert_eq!(cache.run(&c, "background"), Ran::Interpreted);
    // One has begun and, on a fast machine, may even be done.
    let killed = cache.compilers();
    for pid in &killed {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    eventually("the compilers to be gone", || cache.compilers().is_empty());
    assert_eq!(cache.run(&c, "wait"), Ran::Natively);
    let folder = cache.artifact().parent().unwrap().to_owned();
    let mut left: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["lock", "optimised.so"]);
}

/// It must not take the cores from the containers, nor live in their cgroups and sessions, nor hold what is theirs open.
#[test]
fn a_compiler_keeps_to_itself() {
    only!(Runw; "modules are run by our own engine");
    let (cache, c) = (Cache::new(), guest("acts").args(&["/acts.wasm", "sleep"]));
    let call = c.call("run").flag("--detach").flag("--wasm-cache").flag(&cache.0);
    let seen: Vec<_> = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = Vec::new();
            eventually("a compiler", || {
                seen = cache.compilers().iter().filter_map(|pid| look(*pid)).collect();
                !seen.is_empty()
            });
            seen
        });
        call.output().ok();
        watch.join().unwrap()
    });
    for (cgroup, fds) in seen {
        assert!(!cgroup.contains(&c.cgroup_path()), "{cgroup}");
        for fd in fds {
            let allowed = ["/dev/null", "/acts.wasm", "pipe:", "anon_inode:[pidfd]"]
                .iter()
                .any(|part| fd.contains(part));
            assert!(allowed || fd.starts_with(&*cache.0.to_string_lossy()), "{fd}");
        }
    }
    c.delete_force().ok();
}

/// The cgroups and open files of a process; `None` once it is gone.
fn look(pid: Pid) -> Option<(String, Vec<String>)> {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let fds = fds.filter(|fd| !is_pidfd_of_child(pid, &fd.file_name()));
    let fds = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
    Some((cgroup, fds.map(|fd| fd.to_string_lossy().into_owned()).collect()))
}

/// By such a one the compiler waits for the process in which LLVM works; once that is gone, it names none.
fn is_pidfd_of_child(pid: Pid, fd: &std::ffi::OsStr) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.display())).unwrap_or_default();
    let of = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    let of = of.map(str::trim);
    of.is_some_and(|of| {
        let status = fs::read_to_string(format!("/proc/{of}/status"));
        of == "-1" || status.is_ok_and(|status| status.contains(&format!("PPid:\t{pid}\n")))
    })
}
