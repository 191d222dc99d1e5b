//! `runw-wasm`: the same program with an engine, which it loads when a module is to run; called by its own name it takes every bundle
//! as WebAssembly.
fn main() -> std::process::ExitCode {
    runw::cli::main(runw::cli::Program::RunwWasm)
}
