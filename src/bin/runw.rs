//! `runw`: the runtime without an engine; WebAssembly bundles go to its twin, `runw-wasm`.
fn main() -> std::process::ExitCode {
    runw::cli::main(runw::cli::Program::Runw)
}
