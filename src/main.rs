//! The `crossfade` command. Everything it does is in the library; see `src/lib.rs` for the journey.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    crossfade::cli::main()
}
