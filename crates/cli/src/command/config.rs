//! `opid config`: a recipe with every key filled in.

use std::path::PathBuf;

use opid::recipe::Recipe;

use super::print;

/// Options of `config`.
#[derive(clap::Args)]
pub struct Args {
    /// Recipe file; without one, the built-in household recipe.
    recipe: Option<PathBuf>,
    /// Change a key, for example --set rollout.groups=8 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

/// Prints the resolved recipe as TOML.
pub fn run(args: Args) -> anyhow::Result<()> {
    print(&Recipe::read(args.recipe.as_deref(), &args.changes)?.to_toml())
}
