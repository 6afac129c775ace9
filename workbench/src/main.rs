//! The `deltascope` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    deltascope::cli::main(std::env::args_os())
}
