//! The `shop` binary. What it does is in the library beside it.

use std::process::ExitCode;

use clap::Parser;
use shop::commands::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The chain of causes, without a backtrace: it says what to do and not where in the code.
            #[expect(clippy::print_stderr, reason = "the last word of a command line")]
            {
                eprintln!("shop: {error:#}");
            }
            ExitCode::from(2)
        }
    }
}
