//! The commands.

mod config;
mod train;

use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Train an agent as a recipe says (without a recipe: the built-in household recipe).
    Train(train::Args),
    /// Print what a recipe resolves to.
    Config(config::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(args) => train::run(args),
            Command::Config(args) => config::run(args),
        }
    }
}
