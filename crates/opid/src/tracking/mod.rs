//! Other tools that show runs: event files of TensorBoard, and a tracking server of MLflow.
//!
//! Both are told what `metrics.jsonl` has, line by line, while a run goes on or afterwards. Nothing of it ever stops a
//! run.

mod mlflow;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

pub use mlflow::Mlflow;
pub use tensorboard::TensorBoard;

use crate::log::{scalars, seconds};
use crate::recipe::Recipe;
use crate::train::Event;

/// Updates of a warm start between those that are shown.
const WARM_START_EVERY: u64 = 20;

/// A number of a run at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name, with parts between slashes.
    pub name: String,
    /// Training step; of a warm start the update.
    pub step: u64,
    /// The number.
    pub value: f64,
}

/// The points of a line of `metrics.jsonl`.
pub fn points(line: &Value) -> Vec<Point> {
    let step = line["step"].as_u64().unwrap_or(0);
    let named = |prefix: &str, value: &Value, step: u64| -> Vec<Point> {
        let point = |(place, value): (String, f64)| Point {
            name: format!("{prefix}/{}", place.replace('.', "/")),
            step,
            value,
        };
        scalars(value).into_iter().map(point).collect()
    };
    if let Some(evaluation) = line.get("evaluation") {
        let report = &evaluation["report"];
        // Stored as f32.
        let temperature = evaluation["temperature"].as_f64().map_or(f64::NAN, |t| (t * 1e6).round() / 1e6);
        let split = evaluation["split"].as_str().unwrap_or("?");
        let skills = evaluation["skills"].as_str().filter(|skills| *skills != "none");
        let shown = skills.map_or(String::new(), |skills| format!("-{skills}"));
        return named(&format!("evaluation-{split}-T{temperature}{shown}"), report, step);
    }
    if let Some(probe) = line.get("probe") {
        return named("probe", probe, step);
    }
    if let Some(warm) = line.get("warm_start") {
        let (stage, update) = (warm["stage"].as_u64().unwrap_or(0), warm["update"].as_u64().unwrap_or(0));
        let shown = json!({ "loss": warm["loss"], "tokens": warm["tokens"] });
        return named(&format!("warm_start-{}", stage + 1), &shown, update);
    }
    let mut points = Vec::new();
    for (place, value) in scalars(line).into_iter().filter(|(place, _)| place != "step") {
        let name = match place.split_once('.') {
            Some((part, rest)) => format!("{part}/{}", rest.replace('.', "/")),
            None => format!("train/{place}"),
        };
        points.push(Point { name, step, value });
    }
    points
}

/// The line of `metrics.jsonl` that an event of a run makes.
fn line(event: &Event<'_>) -> Option<Value> {
    match event {
        Event::WarmStart(p) if p.update.is_multiple_of(WARM_START_EVERY) || p.update == p.updates => {
            Some(json!({
                "step": 0,
                "warm_start": { "stage": p.stage, "update": p.update, "loss": p.loss, "tokens": p.tokens },
            }))
        }
        Event::Probe(probe) => Some(json!({ "step": 0, "probe": probe })),
        Event::Evaluation(evaluation) => Some(json!({ "step": evaluation.step, "evaluation": evaluation })),
        Event::Step(metrics, _) => serde_json::to_value(metrics).ok(),
        _ => None,
    }
}

/// The tools that a recipe names (`[log]`), told of a run as it goes on.
pub struct Trackers {
    folder: PathBuf,
    /// Whether an event file is wanted; it is begun with the first line.
    wanted: bool,
    board: Option<TensorBoard>,
    mlflow: Option<Mlflow>,
    /// Why event files are not written any more.
    fault: Option<String>,
}

impl Trackers {
    /// Those of a recipe, for a run in a folder. Nothing is written or sent yet.
    pub fn new(recipe: &Recipe, folder: &Path) -> Trackers {
        let log = &recipe.log;
        let name = folder.file_name().map_or(recipe.name.clone(), |name| name.to_string_lossy().into_owned());
        let mlflow = (!log.mlflow.is_empty())
            .then(|| Mlflow::start(&log.mlflow, &log.mlflow_experiment, recipe, &name, Some(folder)));
        Trackers { folder: folder.to_owned(), wanted: log.tensorboard, board: None, mlflow, fault: None }
    }

    /// Tells of an event.
    pub fn show(&mut self, event: &Event<'_>) {
        if let Some(line) = line(event) {
            let now = SystemTime::now();
            self.board(&line, now);
            if let Some(mlflow) = &mut self.mlflow {
                mlflow.add(points(&line), now);
            }
        }
    }

    fn board(&mut self, line: &Value, now: SystemTime) {
        if !self.wanted {
            return;
        }
        let step = line["step"].as_u64().unwrap_or(0);
        let mut write = || -> std::io::Result<()> {
            if self.board.is_none() {
                self.board = Some(TensorBoard::create(&self.folder.join("tensorboard"), step, now)?);
            }
            self.board.as_mut().map_or(Ok(()), |board| board.add(&points(line), now))
        };
        if let Err(error) = write() {
            (self.wanted, self.fault) = (false, Some(error.to_string()));
        }
    }

    /// Sends what is left; `finished` says that the run came to its end. Says what did not arrive, one line each.
    pub fn finish(mut self, finished: bool) -> Vec<String> {
        let board = self.fault.take().map(|fault| format!("TensorBoard event files stopped: {fault}"));
        let mlflow = self.mlflow.take().and_then(|mlflow| mlflow.finish(finished));
        board.into_iter().chain(mlflow).collect()
    }
}

/// When the lines of a finished run were written, as far as can be told: the last when `metrics.jsonl` was changed last,
/// those before it earlier by what the steps in between took.
pub fn times(lines: &[Value], changed: SystemTime) -> Vec<SystemTime> {
    let mut at = changed;
    let mut times: Vec<SystemTime> = lines
        .iter()
        .rev()
        .map(|line| {
            let time = at;
            at = at
                .checked_sub(Duration::from_secs_f64(seconds(line).unwrap_or(0.0).clamp(0.0, 1e8)))
                .unwrap_or(at);
            time
        })
        .collect();
    times.reverse();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_line_has_a_name() {
        let named = |line: Value| -> Vec<(String, u64, f64)> {
            points(&line).into_iter().map(|p| (p.name, p.step, p.value)).collect()
        };
        let step =
            json!({ "step": 3, "success": 0.5, "update": { "kl": 0.1, "entropy": null }, "collapse": ["x"] });
        assert_eq!(named(step), [("train/success".to_owned(), 3, 0.5), ("update/kl".to_owned(), 3, 0.1)]);
        let evaluation = json!({ "step": 2, "evaluation": {
            "split": "s", "temperature": 0.4f32, "skills": "none",
            "report": { "overall": { "success": 0.25 }, "solved": [1, 0] },
        } });
        assert_eq!(named(evaluation), [("evaluation-s-T0.4/overall/success".to_owned(), 2, 0.25)]);
        let warm = json!({ "step": 0, "warm_start": { "stage": 1, "update": 40, "loss": 2.0, "tokens": 9 } });
        assert_eq!(named(warm)[0], ("warm_start-2/loss".to_owned(), 40, 2.0));
    }
}
