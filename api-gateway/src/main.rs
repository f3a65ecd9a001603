//! The gateway as a process of its own. What REST is, is in the library beside it; here is how it starts, reaches the
//! services, and stops.

mod process;

use std::process::ExitCode;

fn main() -> ExitCode {
    process::main()
}
