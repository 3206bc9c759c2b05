//! `opid sft`: only the warm start.

use std::path::PathBuf;

use opid::recipe::Recipe;
use opid::sft;

use super::{free_folder, print};
use crate::display::Display;

/// Options of `sft`.
#[derive(clap::Args)]
pub struct Args {
    /// Recipe file; without one, the built-in household recipe. Its [warm_start] says what is done.
    recipe: Option<PathBuf>,
    /// Folder of the run [default: runs/NAME-sft, with a number added if it exists].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Change a key, for example --set warm_start.hidden_size=256 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Fine-tune the model in this Hugging Face folder by the stages of the recipe's [warm_start],
    /// instead of making one [default: the recipe's policy.model].
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
}

/// Trains, showing progress, and says where the policy is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let recipe = Recipe::read(args.recipe.as_deref(), &args.changes)?;
    let folder = args.run.unwrap_or_else(|| free_folder(&format!("{}-sft", recipe.name)));
    let named = Some(&recipe.policy.model).filter(|m| !m.is_empty()).map(PathBuf::from);
    let model = args.model.or(named);
    let what = match &model {
        None => "a policy made here".to_owned(),
        Some(folder) => format!("the policy in {}", folder.display()),
    };
    let name = &recipe.environment.name;
    print(&format!(
        "supervised training of {what} on {name}, seed {}, in {}\n",
        recipe.seed,
        folder.display()
    ))?;
    let mut display = Display::new();
    let trained = sft::sft(&recipe, model.as_deref(), &folder, &mut |event| display.show(event))?;
    print(&format!("policy saved in {}\n", trained.checkpoint.display()))
}
