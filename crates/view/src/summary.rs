//! What a page shows first: runs, their metrics as columns, evaluations, warnings, and the index of their episodes.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opid::experiment::statistics::student;
use opid::log::scalars;
use serde_json::{Map, Value, json};

use crate::config;
use crate::episodes::Index;
use crate::run::{Run, State};
use crate::warnings::warnings;

/// The parts of an evaluation that a page shows.
const EVALUATION: [&str; 8] =
    ["overall", "kinds", "turns", "invalid", "score", "context_limited", "truncated_prompts", "skills"];

/// Significant digits of numbers in a page.
const DIGITS: i32 = 6;

/// Everything that a page knows without the episodes themselves; `indices` are those of the runs.
pub fn summary(runs: &[Run], indices: &[Value]) -> Value {
    let groups = config::groups(runs);
    let short: Vec<String> = runs.iter().map(Run::name).collect();
    let name = |(run, name): (&Run, &String)| match short.iter().filter(|other| *other == name).count() {
        1 => name.clone(),
        _ => run.path.display().to_string(),
    };
    let names: Vec<String> = runs.iter().zip(&short).map(name).collect();
    let of = |(i, run): (usize, &Run)| describe(run, &names[i], &indices[i]);
    let largest = groups.iter().map(|group| group.runs.len()).max().unwrap_or(1);
    json!({
        "made": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        "runs": runs.iter().enumerate().map(of).collect::<Vec<_>>(),
        "groups": groups.iter().map(|g| json!({ "name": g.name, "runs": g.runs })).collect::<Vec<_>>(),
        "differences": config::differences(runs),
        // Half widths of 95 % intervals over n seeds, in standard errors, from n = 2 on.
        "student": (2..=largest.max(2)).map(|n| rounded(student(0.95, n - 1))).collect::<Vec<_>>(),
    })
}

/// One run.
fn describe(run: &Run, name: &str, index: &Value) -> Value {
    let text = |key: &str| run.setting(key).and_then(toml::Value::as_str).unwrap_or("?");
    let (state, silent) = match run.state {
        State::Finished => ("finished", 0),
        State::Running => ("running", 0),
        State::Silent(silent) => ("silent", silent.as_secs()),
    };
    let method = match &run.recipe {
        Some(recipe) => recipe.algorithm.method().title().to_string(),
        None => text("algorithm.name").to_owned(),
    };
    let best = run.best().map(|best| {
        json!({
            "success": best.success, "low": best.low, "high": best.high, "step": best.step,
            "temperature": rounded(best.temperature),
        })
    });
    json!({
        "name": name,
        "path": run.path.display().to_string(),
        "state": state,
        "silent": silent,
        "done": run.done(),
        "planned": run.planned(),
        "step_seconds": run.step_seconds(),
        "method": method,
        "environment": text("environment.name"),
        "seed": run.setting("seed").and_then(toml::Value::as_integer),
        "best": best,
        "config": config::flat(&run.config),
        "columns": columns(run),
        "evaluations": run.evaluations().map(evaluation).collect::<Vec<_>>(),
        "probe": run.lines.iter().find_map(|line| line.get("probe")),
        "warnings": warnings(run),
        "episodes": index,
    })
}

/// The numbers of training steps, a list for every field.
fn columns(run: &Run) -> Value {
    let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut length = 0;
    for line in run.steps() {
        for (place, number) in scalars(line) {
            let column = columns.entry(place).or_default();
            column.resize(length, Value::Null);
            column.push(json!(rounded(number)));
        }
        length += 1;
    }
    columns.values_mut().for_each(|column| column.resize(length, Value::Null));
    json!(columns)
}

/// What is shown of an evaluation: all but the list of tasks.
fn evaluation(evaluation: &Value) -> Value {
    let mut shown = Map::new();
    for key in ["step", "split", "temperature", "skills"] {
        shown.insert(key.to_owned(), evaluation[key].clone());
    }
    // Stored as f32.
    shown["temperature"] = json!(evaluation["temperature"].as_f64().map(rounded));
    let report = &evaluation["report"];
    let parts = EVALUATION.iter().filter_map(|key| Some(((*key).to_owned(), report.get(*key)?.clone())));
    shown.insert("report".to_owned(), Value::Object(parts.collect()));
    Value::Object(shown)
}

/// A number with few digits.
pub fn rounded(number: f64) -> f64 {
    significant(number, DIGITS)
}

/// A number with so many significant digits.
pub fn significant(number: f64, digits: i32) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let scale = 10f64.powi(digits - 1 - number.abs().log10().floor() as i32);
    if scale.is_finite() { (number * scale).round() / scale } else { 0.0 }
}

/// Keeps the indices of runs, which are read again only where a file has changed.
#[derive(Default)]
pub struct Indices(Vec<Index>);

impl Indices {
    /// The indices of runs, in their order; a file that cannot be read is named in its run's index.
    pub fn of(&mut self, runs: &[Run]) -> Vec<Value> {
        self.0.resize_with(runs.len(), Index::default);
        self.0.iter_mut().zip(runs).map(|(index, run)| index.update(&run.path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_first_digits() {
        for (number, digits, expected) in [
            (1234.5678, 3, 1230.0),
            (-0.001_234_567, 4, -0.001_235),
            (0.0, 3, 0.0),
            (1e-320, 3, 0.0),
            (10.0, 6, 10.0),
        ] {
            assert_eq!(significant(number, digits), expected, "{number}");
        }
        assert!(significant(f64::NAN, 3).is_nan());
    }
}
