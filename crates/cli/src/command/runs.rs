//! `opid runs`: the runs in a folder, with their state and best success.

use std::path::PathBuf;
use std::time::Duration;

use opid_view::{Run, State, ViewError, find};
use serde_json::{Value, json};

use super::print;
use crate::display::duration;

/// Options of `runs`.
#[derive(clap::Args)]
pub struct Args {
    /// Folders with runs in them, experiments, or runs.
    #[arg(value_name = "FOLDER", default_value = "runs")]
    folders: Vec<PathBuf>,
    /// Print a JSON object for every run.
    #[arg(long)]
    json: bool,
}

/// Lists runs in order of name.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for folder in &args.folders {
        for path in find(folder)? {
            rows.push((path.display().to_string(), Run::read(&path)));
        }
    }
    if args.json {
        return print(
            &rows.iter().map(|(path, run)| format!("{}\n", as_json(path, run))).collect::<String>(),
        );
    }
    let head = ["run", "state", "steps", "best success", "method", "environment", "seed"].map(str::to_owned);
    let table: Vec<[String; 7]> =
        std::iter::once(head).chain(rows.iter().map(|(path, run)| row(path, run))).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    print(&table.iter().map(line).collect::<String>())
}

fn row(path: &str, run: &Result<Run, ViewError>) -> [String; 7] {
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            let mut row = [const { String::new() }; 7];
            (row[0], row[6]) = (path.to_owned(), error.to_string());
            return row;
        }
    };
    let text = |key: &str| run.setting(key).and_then(|value| value.as_str()).unwrap_or("?").to_owned();
    let best = run.best().map_or("-".to_owned(), |b| {
        format!("{:.3} [{:.3}, {:.3}] step {} T {:.1}", b.success, b.low, b.high, b.step, b.temperature)
    });
    let left = run.step_seconds().filter(|_| run.state == State::Running).map(|each| {
        let left = run.planned().saturating_sub(run.done()) as f64;
        format!(", {} left", duration(Duration::from_secs_f64((each * left).min(1e9))))
    });
    let state = match run.state {
        State::Finished => "finished".to_owned(),
        State::Running => format!("running{}", left.unwrap_or_default()),
        State::Silent(silent) => format!("silent for {}", duration(silent)),
    };
    let method = match &run.recipe {
        Some(recipe) => recipe.algorithm.method().title().to_owned(),
        None => text("algorithm.name"),
    };
    let seed = run.setting("seed").map_or("?".to_owned(), ToString::to_string);
    [
        path.to_owned(),
        state,
        format!("{}/{}", run.done(), run.planned()),
        best,
        method,
        text("environment.name"),
        seed,
    ]
}

fn as_json(path: &str, run: &Result<Run, ViewError>) -> Value {
    match run {
        Err(error) => json!({ "path": path, "error": error.to_string() }),
        Ok(run) => {
            let best = run.best().map(|b| {
                json!({ "success": b.success, "low": b.low, "high": b.high, "step": b.step, "temperature": b.temperature })
            });
            let (state, silent) = match run.state {
                State::Finished => ("finished", None),
                State::Running => ("running", None),
                State::Silent(silent) => ("silent", Some(silent.as_secs())),
            };
            json!({
                "path": path, "state": state, "silent_seconds": silent, "done": run.done(), "steps": run.planned(),
                "best": best, "step_seconds": run.step_seconds(),
            })
        }
    }
}
