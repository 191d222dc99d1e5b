//! Real WASI programs of others, with files in and out through mounts: an interpreter, two compilers, a graphics tool. Ours alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Bundle, Output};
use crate::wasm_cache::Cache;

/// The folder of the programs, which `scripts/fetch-guests` fetches if they are not there yet; `None` without a network.
fn programs() -> Option<&'static Path> {
    static FETCHED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let fetched = FETCHED.get_or_init(|| {
        let folder = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| {
                let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
                Path::new(&home).join(".cache")
            });
        let folder = folder.join("runw/guests");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-guests");
        let output = Command::new(script).arg(&folder).output().unwrap();
        let fetched = output.status.success();
        if !fetched {
            eprintln!("fetch-guests: {}", String::from_utf8_lossy(&output.stderr));
        }
        fetched.then_some(folder)
    });
    fetched.as_deref()
}

/// A container with one of the programs, a read-only `/in` and an `/out`.
struct Guest {
    bundle: Bundle,
    input: PathBuf,
    output: PathBuf,
}

impl Guest {
    fn new(program: &str) -> Guest {
        let bundle = Bundle::scratch();
        let bundle = ["/proc", "/dev", "/sys", "/in", "/out"]
            .into_iter()
            .fold(bundle, Bundle::folder);
        let (input, output) = (bundle.scrap_folder("input"), bundle.scrap_folder("output"));
        fs::copy(programs().unwrap().join(program), bundle.in_rootfs("/guest.wasm")).unwrap();
        let bundle = bundle
            .bind(&input, "/in", &["bind", "ro"])
            .bind(&output, "/out", &["bind"])
            .set("root.readonly", true);
        Guest { bundle, input, output }
    }

    /// Puts a file into `/in`.
    fn with(self, name: &str, content: &str) -> Guest {
        fs::write(self.input.join(name), content).unwrap();
        self
    }

    /// Interprets the program.
    fn run(&self, args: &[&str]) -> Output {
        let args: Vec<&str> = ["/guest.wasm"].iter().chain(args).copied().collect();
        self.bundle.call("run").flag("--wasm-aot=off").runs(&args).output()
    }

    /// A file in `/out`.
    fn made(&self, name: &str) -> Vec<u8> {
        fs::read(self.output.join(name)).unwrap_or_else(|e| panic!("/out/{name}: {e}"))
    }
}

/// The first bytes of every PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const DRAWING: &str =
    r#"<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><circle cx="32" cy="24" r="20"/></svg>"#;

#[test]
fn a_graphics_tool_draws_the_same_picture_interpreted_and_natively() {
    only!(Runw; "modules are run by our own engine");
    needs!(programs().is_some(); "programs of others: scripts/fetch-guests could not fetch them");
    let guest = Guest::new("resvg.wasm").with("a.svg", DRAWING);
    guest.run(&["/in/a.svg", "/out/a.png"]).ok();
    let png = guest.made("a.png");
    assert!(png.starts_with(PNG));
    // Width and height of the header.
    assert_eq!(png[16..24], [0, 0, 0, 64, 0, 0, 0, 48]);
    let (cache, log) = (Cache::new(), guest.bundle.scrap("log"));
    let call = guest.bundle.call("run").global("--debug").global("--log").global(&log);
    let call = call.flag("--wasm-aot=wait").flag("--wasm-cache").flag(&cache.0);
    call.runs(&["/guest.wasm", "/in/a.svg", "/out/b.png"]).output().ok();
    assert_eq!(guest.made("b.png"), png);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("native code\""), "{log}");
}

#[test]
fn an_interpreter_reads_its_program_and_writes_a_file() {
    only!(Runw; "modules are run by our own engine");
    needs!(programs().is_some(); "programs of others: scripts/fetch-guests could not fetch them");
    let program = "import json, os, sys\n\
        words = open('/in/words').read().split()\n\
        json.dump({w: len(w) for w in words}, open('/out/lengths', 'w'), sort_keys=True)\n\
        print(sys.platform, sys.version_info[:2], os.environ['NAME'], sys.argv[1:])\n\
        try:\n    open('/in/words', 'w')\nexcept OSError as e:\n    print(type(e).__name__)\n\
        sys.exit(3)\n";
    let mut guest = Guest::new("python.wasm")
        .with("main.py", program)
        .with("words", "a bc def\n");
    guest.bundle = guest.bundle.set("process.env", serde_json::json!(["NAME=value"]));
    let output = guest.run(&["/in/main.py", "x", "y z"]).exits(3);
    assert!(
        output.stdout.starts_with("wasi (3, 12) value ['x', 'y z']\n") && output.stdout.lines().count() == 2,
        "{}",
        output.story()
    );
    assert_eq!(guest.made("lengths"), br#"{"a": 1, "bc": 2, "def": 3}"#);
}

#[test]
fn a_c_compiler_makes_assembly_and_complains() {
    only!(Runw; "modules are run by our own engine");
    needs!(programs().is_some(); "programs of others: scripts/fetch-guests could not fetch them");
    let guest = Guest::new("cc1.wasm")
        .with("good.i", "int add(int a, int b) { return a + b; }\n")
        .with("bad.i", "int add(int a, int b) { return a + c; }\n");
    let flags = ["-quiet", "-O2", "-mmcu=avr5"];
    let compile = |source, object| guest.run(&[&flags[..], &[source, "-o", object]].concat());
    compile("/in/good.i", "/out/good.s").ok();
    let assembly = String::from_utf8(guest.made("good.s")).unwrap();
    assert!(
        assembly.contains("add:") && assembly.contains("add r24,r22"),
        "{assembly}"
    );
    let output = compile("/in/bad.i", "/out/bad.s").exits(1);
    assert!(output.stderr.contains("'c' undeclared"), "{}", output.story());
}

/// It is written in C++ with exceptions, which the engine does not take unless it is told to.
#[test]
fn a_synthesis_tool_with_exceptions_works() {
    only!(Runw; "modules are run by our own engine");
    needs!(programs().is_some(); "programs of others: scripts/fetch-guests could not fetch them");
    let guest = Guest::new("yosys.wasm")
        .with(
            "good.v",
            "module gate(input a, b, output y); assign y = a & b; endmodule\n",
        )
        .with("bad.v", "module gate(input a, output y); assign y = ; endmodule\n");
    let synthesise = |source: &str| {
        let script = format!("read_verilog {source}; proc; write_json /out/netlist");
        guest.run(&["-q", "-p", &script])
    };
    synthesise("/in/good.v").ok();
    let netlist: Value = serde_json::from_slice(&guest.made("netlist")).unwrap();
    assert_eq!(netlist["modules"]["gate"]["ports"]["y"]["direction"], "output");
    let output = synthesise("/in/bad.v").exits(1);
    assert!(output.stderr.contains("syntax error"), "{}", output.story());
}
