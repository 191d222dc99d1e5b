//! `runw-wasm`: the same program with the engine linked in; called by its own name it takes every bundle as WebAssembly.
fn main() -> std::process::ExitCode {
    runw::cli::main(runw::cli::Program::RunwWasm)
}
