//! `opid config`: a recipe with every key filled in.

use super::{RecipeArgs, print};

/// Options of `config`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Prints the resolved recipe as TOML.
pub fn run(args: Args) -> anyhow::Result<()> {
    print(&args.recipe.read()?.to_toml())
}
