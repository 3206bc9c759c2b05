//! The commands.

mod analyze;
mod bench;
mod config;
mod eval;
mod experiment;
mod export;
mod generate;
mod index;
mod inspect;
mod json_lines;
mod play;
mod report;
mod runs;
mod serve;
mod serve_retriever;
mod sft;
mod track;
mod train;
mod view;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Subcommand;
use opid::recipe::{Recipe, RecipeError};

/// A recipe as the command line names it.
#[derive(clap::Args)]
struct RecipeArgs {
    /// Recipe file; without one, the built-in household recipe.
    recipe: Option<PathBuf>,
    /// Change a key, for example --set rollout.groups=8 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

impl RecipeArgs {
    /// The resolved recipe.
    fn read(&self) -> Result<Recipe, RecipeError> {
        Recipe::read(self.recipe.as_deref(), &self.changes)
    }
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// Train an agent as a recipe says (without a recipe: the built-in household recipe).
    Train(train::Args),
    /// Only make (or fine-tune) the starting policy from expert episodes.
    Sft(sft::Args),
    /// Run several recipes with several seeds side by side, and compare them.
    Experiment(experiment::Args),
    /// Write skills for the stored episodes of a run, with any analyzer.
    Analyze(analyze::Args),
    /// List runs with their state and best success.
    Runs(runs::Args),
    /// Write a page on runs: curves, warnings, episodes, configuration; one file, no network.
    Report(report::Args),
    /// Write a run's metrics for TensorBoard, or send them to an MLflow server.
    Track(track::Args),
    /// Serve the same page while runs go on.
    View(view::Args),
    /// Serve a model over HTTP with OpenAI's interface.
    Serve(serve::Args),
    /// Measure how often a model solves its tasks.
    Eval(eval::Args),
    /// Write a policy as a Hugging Face folder of its own.
    Export(export::Args),
    /// Show what is in a run or model folder, and whether it is whole.
    Inspect(inspect::Args),
    /// Play a game yourself, or let another program play it.
    Play(play::Args),
    /// Write household games as files that opid and the original ALFWorld play.
    Generate(generate::Args),
    /// Encode a corpus of passages for dense retrieval.
    Index(index::Args),
    /// Serve passages over HTTP, as Search-R1's retrieval server does.
    ServeRetriever(serve_retriever::Args),
    /// Measure speed: of environments, of the language model, of whole training steps, of retrieval.
    Bench(bench::Args),
    /// Print what a recipe resolves to.
    Config(config::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(args) => train::run(args),
            Command::Sft(args) => sft::run(args),
            Command::Experiment(args) => experiment::run(args),
            Command::Analyze(args) => analyze::run(args),
            Command::Runs(args) => runs::run(args),
            Command::Report(args) => report::run(args),
            Command::Track(args) => track::run(args),
            Command::View(args) => view::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Export(args) => export::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Play(args) => play::run(args),
            Command::Generate(args) => generate::run(args),
            Command::Index(args) => index::run(args),
            Command::ServeRetriever(args) => serve_retriever::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Config(args) => config::run(args),
        }
    }
}

/// Writes a result to standard output; whoever reads it may have stopped reading.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Reads `MIN,MAX`.
fn parse_range(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once(',')
        .and_then(|(least, most)| Some((least.trim().parse().ok()?, most.trim().parse().ok()?)));
    numbers.ok_or_else(|| "write two whole numbers with a comma, for example 6,9".to_owned())
}

/// The recipe of a run that is there, with `key=value` changes.
fn recipe_of(run: &Path, changes: &[String]) -> anyhow::Result<Recipe> {
    let config = run.join("config.toml");
    ensure!(config.is_file(), "{} is not a run: it has no config.toml", run.display());
    Ok(Recipe::read(Some(&config), changes)?)
}

/// `runs/NAME`, or the first of `runs/NAME-2`, `runs/NAME-3`, ... that does not exist.
fn free_folder(name: &str) -> PathBuf {
    let runs = Path::new("runs");
    let numbered = (2..).map(|n| runs.join(format!("{name}-{n}")));
    std::iter::once(runs.join(name)).chain(numbered).find(|p| !p.exists()).expect("some number is free")
}
