//! The `beeline` command: see [`gateway_userspace::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_userspace::cli::main()
}
