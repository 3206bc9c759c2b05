//! `opid sft`: only the warm start.

use std::path::PathBuf;

use opid::sft;
use opid::train::{Control, Event};

use super::{RecipeArgs, free_folder, print, recipe_of};
use crate::display::Display;
use crate::signal;

/// Options of `sft`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Folder of the run [default: runs/NAME-sft, with a number added if it exists].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Fine-tune the model in this Hugging Face folder by the stages of the recipe's [warm_start],
    /// instead of making one.
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Continue the one in this folder that was stopped.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["recipe", "run", "changes", "model"])]
    resume: Option<PathBuf>,
}

/// Trains, showing progress, and says where the policy is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let control = Control { interrupt: signal::catch()?, ..Control::default() };
    let mut display = Display::new();
    let observe = &mut |event: Event<'_>| display.show(event);
    let trained = match &args.resume {
        Some(folder) => sft::resume(&recipe_of(folder, &[])?, folder, &control, observe)?,
        None => {
            let recipe = args.recipe.read()?;
            let folder = args.run.unwrap_or_else(|| free_folder(&format!("{}-sft", recipe.name)));
            let what = match &args.model {
                None => "a policy made here".to_owned(),
                Some(folder) => format!("the policy in {}", folder.display()),
            };
            let (name, seed, place) = (&recipe.environment.name, recipe.seed, folder.display());
            print(&format!("supervised training of {what} on {name}, seed {seed}, in {place}\n"))?;
            sft::sft(&recipe, args.model.as_deref(), &folder, &control, observe)?
        }
    };
    print(&format!("policy saved in {}\n", trained.checkpoint.display()))
}
