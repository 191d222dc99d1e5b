//! `runw-aot`: compiles WebAssembly modules ahead of time; the only program that loads LLVM.
fn main() -> std::process::ExitCode {
    runw::aot::main()
}
