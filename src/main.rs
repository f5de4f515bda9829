//! The `crossfade` command. Everything it does is in the library; see `src/lib.rs` for the journey.
#![forbid(unsafe_code)]

/// Threads give memory to each other all the time: rows of a copy, trees of a linted file.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    crossfade::cli::main()
}
