//! The `opid` program: one file per command, no logic of its own.

mod command;
mod display;
mod live;
mod signal;

use clap::Parser;
use opid::train::TrainError;

/// Trains language-model agents with reinforcement learning and on-policy skill distillation.
#[derive(Parser)]
#[command(name = "opid", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> std::process::ExitCode {
    let command = Cli::parse().command;
    let checked = opid_lm::kernels::tile::check_override().map_err(anyhow::Error::msg);
    match checked.and_then(|()| command.run()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            match error.downcast_ref::<TrainError>().is_some_and(TrainError::is_interrupt) {
                true => std::process::ExitCode::from(signal::INTERRUPTED),
                false => std::process::ExitCode::FAILURE,
            }
        }
    }
}

/// The error and its causes, without those that its own text names already.
fn explain(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
