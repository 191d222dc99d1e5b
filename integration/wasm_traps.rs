//! Modules that trap, and modules that cannot run: one clear line each.

use std::fs;

use crate::harness::{Bundle, Cgroups, Output, guest, has_compiler, wat};

/// In which way the engine runs a module.
#[derive(Debug, Clone, Copy)]
enum How {
    Interpreted,
    Native,
}

impl How {
    /// Runs the container in this way.
    #[track_caller]
    fn run(self, c: &Bundle) -> Output {
        let call = c.call("run").flag("--wasm-cache").flag(c.scrap("cache"));
        match self {
            How::Interpreted => call.flag("--wasm-aot=off").output(),
            How::Native => call.flag("--wasm-aot=wait").output(),
        }
    }
}

/// The module runs and traps in either way: 134, and one line that names the trap.
#[track_caller]
fn traps(text: &str, name: &str) {
    let c = wat(text);
    for how in [How::Interpreted, How::Native] {
        let output = how.run(&c).exits(134);
        let line = format!("runw: the WebAssembly module trapped: {name}\n");
        assert_eq!(output.stderr, line, "{how:?}: {}", output.story());
        assert_eq!(output.stdout, "");
    }
}

/// The module is refused by `create`, and nothing is left.
#[track_caller]
fn refused(c: &Bundle, words: &str) {
    for verb in ["create", "run"] {
        c.call(verb).output().fails(words);
        c.assert_no_trace();
    }
}

#[test]
fn each_trap_has_its_name() {
    only!(Runw; "modules are run by our own engine");
    let body = |code: &str| format!(r#"(module (memory 1) (func (export "_start") {code}))"#);
    traps(&body("unreachable"), "unreachable");
    traps(&body("(drop (i32.load (i32.const -8)))"), "out of bounds memory access");
    traps(
        &body("(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
        "integer divide by zero",
    );
    traps(
        &body("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
        "integer overflow",
    );
    traps(
        &body("(drop (i32.trunc_f32_s (f32.const nan)))"),
        "invalid conversion to integer",
    );
    let table = r#"(module (type $t (func)) (table 1 funcref) (func (export "_start") (call_indirect (type $t) (i32.const 0))))"#;
    traps(table, "uninitialized element");
}

/// Each call has something to do after it, which keeps compilers from making a loop of it.
const ENDLESS: &str = r#"(module (memory 1)
    (func $f (export "_start")
        (if (i32.eqz (i32.load (i32.const 0))) (then (call $f)))
        (i32.store (i32.const 4) (i32.add (i32.load (i32.const 4)) (i32.const 1)))))"#;

#[test]
fn endless_recursion_is_a_trap() {
    only!(Runw; "modules are run by our own engine");
    for (how, words) in [
        (How::Interpreted, "call stack exhausted, or out of memory\n"),
        (How::Native, "call stack exhausted\n"),
    ] {
        let output = how.run(&wat(ENDLESS)).exits(134);
        assert!(output.stderr.ends_with(words), "{how:?}: {}", output.story());
    }
}

#[test]
fn endless_recursion_within_a_memory_limit_is_a_trap() {
    only!(Runw; "modules are run by our own engine");
    needs!(Cgroups::host().has("memory"); "a memory controller");
    let limit = 64 << 20;
    let c = wat(ENDLESS).set("linux.resources.memory.limit", limit);
    let c = c.set("linux.resources.memory.swap", limit);
    for how in [How::Interpreted, How::Native] {
        let output = how.run(&c).exits(134);
        assert!(
            output.stderr.contains("call stack exhausted"),
            "{how:?}: {}",
            output.story()
        );
    }
}

#[test]
fn a_start_function_runs_at_start_not_before() {
    only!(Runw; "modules are run by our own engine");
    let c = wat(r#"(module (func $s unreachable) (start $s) (func (export "_start")))"#);
    c.create().ok();
    c.start().ok();
    assert_eq!(c.wait(), 134);
}

#[test]
fn what_nobody_provides_is_told_at_create() {
    only!(Runw; "modules are run by our own engine");
    let start = r#"(func (export "_start"))"#;
    let import = |what: &str| wat(&format!("(module (import {what} (func)) {start})"));
    refused(
        &import(r#""env" "magic""#),
        "the module imports env.magic, which nobody provides",
    );
    refused(
        &import(r#""wasi_snapshot_preview1" "fd_teleport""#),
        "wasi_snapshot_preview1.fd_teleport",
    );
    refused(
        &import(r#""wasi_snapshot_preview1" "fd_write""#),
        "incompatible import type",
    );
}

#[test]
fn a_library_is_no_command() {
    only!(Runw; "modules are run by our own engine");
    refused(&wat(r#"(module (func (export "add")))"#), "exports no function _start");
    refused(
        &wat(r#"(module (memory (export "_start") 1))"#),
        "exports no function _start",
    );
    refused(
        &wat(r#"(module (func (export "_start") (param i32)))"#),
        "_start takes arguments or gives results",
    );
}

#[test]
fn a_broken_module_is_refused() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    let path = c.in_rootfs("/view.wasm");
    let whole = fs::read(&path).unwrap();
    for length in [8, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        for verb in ["create", "run"] {
            let output = c.call(verb).output();
            assert_ne!(output.code, 0, "{length} bytes: {}", output.story());
            assert!(output.stderr.contains("view.wasm"), "{}", output.story());
        }
        c.assert_no_trace();
    }
    fs::write(&path, [b"\0asm\x01\0\0\0", &[0xff; 64][..]].concat()).unwrap();
    refused(&c, "not a valid WebAssembly module");
}

#[test]
fn a_component_is_named_as_such() {
    only!(Runw; "modules are run by our own engine");
    let c = wat("(module)");
    fs::write(c.in_rootfs("/module.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    refused(&c, "components (WASI preview 2) are not supported by WasmEdge 0.14");
}

/// Everything that the engine can do is switched on.
#[test]
fn proposals_of_the_engine_are_on() {
    only!(Runw; "modules are run by our own engine");
    let modules = [
        r#"(module (func $f (param i32) (if (local.get 0) (then (return_call $f (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "_start") (call $f (i32.const 1000000))))"#,
        r#"(module (memory $a 1) (memory $b 1) (func (export "_start") (i32.store $b (i32.const 0) (i32.const 7))
            (memory.copy $a $b (i32.const 0) (i32.const 0) (i32.const 4))
            (if (i32.ne (i32.load $a (i32.const 0)) (i32.const 7)) (then unreachable))))"#,
        r#"(module (memory 1 1 shared) (func (export "_start")
            (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#,
        r#"(module (tag $e) (func (export "_start") (block $b (try_table (catch $e $b) (throw $e)) unreachable)))"#,
        r#"(module (global $g i32 (i32.add (i32.const 40) (i32.const 2)))
            (func (export "_start") (if (i32.ne (global.get $g) (i32.const 42)) (then unreachable))))"#,
        r#"(module (type $t (func)) (elem declare func $f) (func $f)
            (func (export "_start") (call_ref $t (ref.func $f))))"#,
        r#"(module (type $s (struct (field i32))) (func (export "_start")
            (if (i32.ne (struct.get $s 0 (struct.new $s (i32.const 5))) (i32.const 5)) (then unreachable))))"#,
        r#"(module (func (export "_start") (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))"#,
    ];
    for text in modules {
        let c = wat(text);
        How::Interpreted.run(&c).ok();
        How::Native.run(&c).ok();
    }
}

/// The compiler of the engine can put native code into a section of a module, which the engine would run.
#[test]
fn native_code_inside_a_module_is_never_run() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view").args(&["/view.wasm", "args"]);
    let (plain, fat) = (c.in_rootfs("/view.wasm"), c.scrap("fat.wasm"));
    let compiler = std::process::Command::new("wasmedge")
        .args(["compile", "--optimize", "0"])
        .args([&plain, &fat])
        .output();
    needs!(compiler.as_ref().is_ok_and(|output| output.status.success()); "wasmedge compile");
    // Had it been loaded, this would not run far.
    let size = fs::metadata(&plain).unwrap().len() as usize;
    let mut bytes = fs::read(&fat).unwrap();
    assert!(bytes.len() > size + 4096, "there is native code in it");
    let middle = size + (bytes.len() - size) / 4;
    bytes[middle..middle + (size / 2).min(8192)].fill(0xcc);
    fs::write(&plain, bytes).unwrap();
    How::Interpreted.run(&c).prints("[/view.wasm]\n[args]\n");
}

/// The engine would load a shared object that its compiler has made, and run what it likes in the runtime's own process.
#[test]
fn native_code_as_the_module_is_never_loaded() {
    only!(Runw; "modules are run by our own engine");
    needs!(has_compiler(); "a C compiler");
    let c = wat("(module)").set("annotations", serde_json::json!({"run.oci.handler": "wasm"}));
    let library = c.scrap("library.so");
    let source = c.scrap("library.c");
    fs::write(
        &source,
        "#include <unistd.h>\n__attribute__((constructor)) static void on_load(void) { write(1, \"owned\\n\", 6); _exit(0); }\n",
    )
    .unwrap();
    let compiler = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiler.unwrap().success());
    fs::copy(&library, c.in_rootfs("/module.wasm")).unwrap();
    refused(&c, "is not a WebAssembly module");
}
