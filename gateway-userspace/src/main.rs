//! The `beeline` command: see [`gateway_userspace::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request is made of many small allocations, on several threads; musl's allocator has one lock for all of them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gateway_userspace::cli::main()
}
