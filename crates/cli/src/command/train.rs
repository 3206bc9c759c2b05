//! `opid train`: a whole run.

use std::path::PathBuf;

use opid::tracking::Trackers;
use opid::train::{self, Control, Event};

use super::{RecipeArgs, free_folder, recipe_of};
use crate::display::Display;
use crate::signal;

/// Options of `train`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Folder of the run [default: runs/NAME, with a number added if it exists].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint that is whole.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["recipe", "run", "changes"])]
    resume: Option<PathBuf>,
}

/// Trains, showing progress, and says where the result is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let control = Control { interrupt: signal::catch()?, ..Control::default() };
    let mut display = Display::new();
    let (recipe, folder) = match &args.resume {
        Some(folder) => (recipe_of(folder, &[])?, folder.clone()),
        None => {
            let recipe = args.recipe.read()?;
            let folder = args.run.unwrap_or_else(|| free_folder(&recipe.name));
            (recipe, folder)
        }
    };
    display.begin(&recipe, &folder);
    let mut trackers = Trackers::new(&recipe, &folder);
    let observe = &mut |event: Event<'_>| {
        trackers.show(&event);
        display.show(event);
    };
    let outcome = match args.resume {
        Some(_) => train::resume(&recipe, &folder, &control, observe)?,
        None => train::train(&recipe, &folder, &control, observe)?,
    };
    display.finish(&outcome);
    trackers.finish(true).iter().for_each(|trouble| eprintln!("{trouble}"));
    Ok(())
}
