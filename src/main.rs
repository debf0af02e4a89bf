//! The `windlass` program; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _armed = windlass::crash::arm();
    windlass::cli::main()
}
