//! What makes a container a WebAssembly one: annotations, the runtime's name, the image's platform, or the file itself.

use std::fs;

use serde_json::json;

use crate::harness::{Act, Bundle, Output, Payload, guest, has_compiler};

const MODULE: &[&str] = &["/view.wasm", "args"];

fn annotated(c: Bundle, pairs: &[(&str, &str)]) -> Bundle {
    let map: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    c.set("annotations", map)
}

/// Runs the container by the runtime's other name.
#[track_caller]
fn run_by_twin(c: &Bundle, args: &[&str]) -> Output {
    let twin = "twin=${1%/*}/runw-wasm; shift; set -- \"$twin\" \"$@\"";
    c.call("run").runs(args).before(twin).output()
}

/// Annotations of others than ours, alone or in company, that must not keep a module from running.
const HARMLESS: &[&[(&str, &str)]] = &[
    &[("run.oci.handler", "wasm")],
    &[("run.oci.handler", "wasm-smart")],
    &[("run.oci.handler", "wasmedge")],
    &[("run.oci.handler", "wasmtime")],
    &[("run.oci.handler", "wasmer")],
    &[("run.oci.handler", "wamr")],
    &[("module.wasm.image/variant", "compat")],
    &[("module.wasm.image/variant", "compat-smart")],
    &[
        ("org.opencontainers.image.os", "wasi"),
        ("org.opencontainers.image.architecture", "wasm32"),
    ],
    &[
        ("org.opencontainers.image.os", "linux"),
        ("org.opencontainers.image.architecture", "amd64"),
    ],
    &[
        ("io.kubernetes.cri.container-type", "container"),
        ("module.wasm.image/variant", "compat-smart"),
    ],
    &[("io.kubernetes.cri-o.ContainerType", "container")],
];

/// Those that say it outright: then a native program is an error, not a surprise.
const OUTRIGHT: &[&[(&str, &str)]] = &[
    &[("run.oci.handler", "wasm")],
    &[("run.oci.handler", "wasmedge")],
    &[("module.wasm.image/variant", "compat")],
    &[("org.opencontainers.image.os", "wasip1")],
    &[("org.opencontainers.image.architecture", "wasm")],
];

/// The letters are what runw goes by when it starts its twin early; they decide nothing.
#[test]
fn a_native_program_may_speak_of_wasm() {
    let c = Bundle::busybox().set("process.env", json!(["PATH=/bin", "TARGET=wasm32-wasi"]));
    c.run(&["sh", "-c", "echo /app.wasm $TARGET"])
        .prints("/app.wasm wasm32-wasi\n");
    let c = Bundle::sleeper().set("hostname", json!("wasm"));
    c.launch_ready();
    assert_eq!(c.state()["payload"], json!(null));
}

#[test]
fn a_module_runs_with_every_annotation_of_the_field() {
    only!(Runw; "modules are run by our own engine");
    for pairs in HARMLESS {
        let c = annotated(guest("view"), pairs);
        c.run(MODULE).prints("[/view.wasm]\n[args]\n");
    }
}

#[test]
fn who_says_wasm_gets_no_native_program() {
    only!(Runw; "modules are run by our own engine");
    for pairs in OUTRIGHT {
        let c = annotated(Bundle::busybox(), pairs);
        c.run(&["/bin/busybox", "true"])
            .fails("\"/bin/busybox\" is not a WebAssembly module")
            .at("process.args[0]");
        c.assert_no_trace();
    }
}

#[test]
fn smart_annotations_leave_it_to_the_file() {
    only!(Runw; "modules are run by our own engine");
    for pairs in [
        [("run.oci.handler", "wasm-smart")],
        [("module.wasm.image/variant", "compat-smart")],
    ] {
        let c = annotated(Bundle::busybox(), &pairs);
        c.run(&["echo", "a side-car"]).prints("a side-car\n");
    }
}

#[test]
fn the_sandbox_container_of_a_pod_is_native_whatever_the_pod_says() {
    only!(Runw; "modules are run by our own engine");
    for key in ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"] {
        let pairs = [
            (key, "sandbox"),
            ("run.oci.handler", "wasm"),
            ("module.wasm.image/variant", "compat"),
        ];
        let c = annotated(Bundle::busybox(), &pairs);
        c.run(&["echo", "pause"]).prints("pause\n");
        run_by_twin(&c, &["echo", "pause"]).prints("pause\n");
    }
}

#[test]
fn the_runtimes_other_name_means_wasm() {
    only!(Runw; "modules are run by our own engine");
    run_by_twin(&guest("view"), MODULE).prints("[/view.wasm]\n[args]\n");
    run_by_twin(&Bundle::busybox(), &["/bin/busybox", "true"]).fails("is not a WebAssembly module");
}

/// Whoever schedules containers may ask before there is one.
#[test]
fn the_features_tell_whether_modules_run() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view");
    let features = c.call("features").no_id().no_bundle_flag().output().json();
    assert_eq!(features["annotations"]["run.oci.runw.wasm"], "true");
    // A copy alone in its folder has no twin.
    let alone = c.scrap_folder("alone").join("runw");
    std::fs::copy(&crate::harness::runtime().path, &alone).unwrap();
    let call = c.call("features").no_id().no_bundle_flag();
    let features = call
        .before(&format!("shift; set -- {} \"$@\"", alone.display()))
        .output()
        .json();
    assert_eq!(features["annotations"]["run.oci.runw.wasm"], "false");
    let call = c.call("run").runs(MODULE);
    call.before(&format!("shift; set -- {} \"$@\"", alone.display()))
        .output()
        .fails("lib/runw/runw-wasm is missing: install runw-wasm beside runw");
}

#[test]
fn the_file_is_found_where_the_container_will_see_it() {
    only!(Runw; "modules are run by our own engine");
    let c = guest("view")
        .symlink("/bin/tool", "../view.wasm")
        .set("process.env", json!(["PATH=/none:/bin"]));
    c.run(&["tool", "args"]).prints("[tool]\n[args]\n");
    // A mount covers what lies below it, be it a module or not.
    let c = guest("view").folder("/mods");
    let folder = c.scrap_folder("mods");
    std::fs::rename(c.in_rootfs("/view.wasm"), folder.join("app")).unwrap();
    std::fs::write(c.in_rootfs("/mods/app"), "no module").unwrap();
    let c = c.bind(&folder, "/mods", &["bind", "ro"]);
    c.run(&["/mods/app", "args"]).prints("[/mods/app]\n[args]\n");
    // A tmpfs that begins as a copy of what lies below it covers nothing.
    let c = guest("view")
        .folder("/mods")
        .mount("/mods", "tmpfs", "tmpfs", &["tmpcopyup"]);
    std::fs::rename(c.in_rootfs("/view.wasm"), c.in_rootfs("/mods/app")).unwrap();
    c.run(&["/mods/app", "args"]).prints("[/mods/app]\n[args]\n");
    let c = guest("view").folder("/mods").mount("/mods", "tmpfs", "tmpfs", &[]);
    std::fs::rename(c.in_rootfs("/view.wasm"), c.in_rootfs("/mods/app")).unwrap();
    c.run(&["/mods/app", "args"]).fails("no such file");
    // A link out of the root stays inside.
    let c = guest("view").symlink("/escape", "/../../../../../../view.wasm");
    c.run(&["/escape", "args"]).prints("[/escape]\n[args]\n");
}

#[test]
fn a_file_needs_no_execute_permission_but_has_to_be_readable() {
    only!(Runw; "modules are run by our own engine");
    use std::os::unix::fs::PermissionsExt;
    let c = guest("view").set("process.user", json!({ "uid": 1000, "gid": 1000 }));
    let mode =
        |mode| std::fs::set_permissions(c.in_rootfs("/view.wasm"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o444);
    c.run(MODULE).prints("[/view.wasm]\n[args]\n");
    mode(0o600);
    c.run(MODULE).fails("permission denied");
    c.assert_no_trace();
}

/// An engine that lacks a function: which version would do, and how to have another.
#[test]
fn an_engine_of_another_version_is_said_to_be_one() {
    only!(Runw; "modules are run by our own engine");
    needs!(has_compiler(); "a C compiler");
    let libraries = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let installed = libraries
        .map(|folder| folder.join("libwasmedge.so.0"))
        .find(|file| file.exists());
    let installed = installed.unwrap().canonicalize().unwrap();
    let c = Payload::Wasm.bundle(&Act::Print("hello"));
    let (source, made) = (c.scrap("engine.c"), c.scrap("engine.so"));
    fs::write(&source, "const char *WasmEdge_VersionGet(void) { return \"0.0.1\"; }\n").unwrap();
    let compiled = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libwasmedge.so.0", "-o"])
        .args([&made, &source])
        .status();
    assert!(compiled.unwrap().success());
    let over = format!("mount --bind {} {}", made.display(), installed.display());
    let output = c
        .call("run")
        .among_own_mounts(&over)
        .output()
        .fails("the WebAssembly engine is another one");
    let told = output.stderr.contains("install libwasmedge0") && output.stderr.contains("scripts/build");
    assert!(told, "{}", output.story());
    c.assert_no_trace();
}
