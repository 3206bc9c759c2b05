//! The `opid` program: one file per command, no logic of its own.

mod command;
mod display;

use clap::Parser;

/// Trains language-model agents with reinforcement learning and on-policy skill distillation.
#[derive(Parser)]
#[command(name = "opid", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
