//! The `crossfade` command. Everything it does is in the library; see `src/lib.rs` for the journey.
#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    crossfade::cli::main()
}
