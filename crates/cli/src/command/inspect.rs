//! `opid inspect`: what is in a folder, and whether it is whole.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::bail;
use opid::inspect::{Inspection, ModelFacts, inspect};
use opid::memory::human;

use super::print;

/// Options of `inspect`.
#[derive(clap::Args)]
pub struct Args {
    /// A run, a checkpoint inside a run, or any Hugging Face folder.
    folder: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Looks into the folder; what is not whole makes the command fail.
pub fn run(args: Args) -> anyhow::Result<()> {
    let found = inspect(&args.folder)?;
    match args.json {
        true => print(&format!("{}\n", serde_json::to_string(&found)?))?,
        false => print(&table(&found))?,
    }
    match &found.faults[..] {
        [] => Ok(()),
        [one] => bail!("not whole: {one}"),
        [first, rest @ ..] => bail!("not whole: {first}; and {} more", rest.len()),
    }
}

fn table(found: &Inspection) -> String {
    let mut text = format!("{}\n", found.path.display());
    if let Some(run) = &found.run {
        let _ = writeln!(
            text,
            "  run {}: {} on {}, seed {}, {} of {} steps measured, trajectories of {}",
            run.name, run.algorithm, run.environment, run.seed, run.measured, run.steps, run.trajectories
        );
    }
    for model in &found.models {
        let _ = writeln!(text, "  {}", line(model));
    }
    for fault in &found.faults {
        let _ = writeln!(text, "  not whole: {fault}");
    }
    if let Some(run) = found.run.as_ref().filter(|run| run.saved.is_some_and(|saved| saved < run.steps)) {
        let saved = run.saved.unwrap_or(0);
        let _ = writeln!(text, "  goes on after step {saved}: opid train --resume {}", found.path.display());
    }
    if let Some(updates) = found.run.as_ref().and_then(|run| run.taught) {
        let path = found.path.display();
        let _ = writeln!(
            text,
            "  its warm start goes on after {updates} updates: opid train (or sft) --resume {path}"
        );
    }
    text
}

/// A model in one line.
fn line(model: &ModelFacts) -> String {
    let mut text = match model.step {
        Some(step) => format!("step {step}: "),
        None => "model: ".to_owned(),
    };
    if model.fault.is_some() {
        return text + "not whole";
    }
    let _ = write!(
        text,
        "{}, {:.2} M parameters in {}, vocabulary {}",
        model.family,
        model.parameters as f64 / 1e6,
        model.dtypes.join(" and "),
        model.vocabulary
    );
    if model.optimizer {
        text.push_str(", with optimizer");
    }
    if let Some(bytes) = model.bytes {
        let _ = write!(text, ", whole ({})", human(bytes));
    }
    if !model.success.is_empty() {
        let success: Vec<String> = model.success.iter().map(|rate| format!("{rate:.3}")).collect();
        let _ = write!(text, ", success {}", success.join(" / "));
    }
    text
}
