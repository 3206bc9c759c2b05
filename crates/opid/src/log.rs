//! What a run has measured, read back from its `metrics.jsonl`.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::advantage::Shares;
use crate::metrics::Seconds;
use crate::run::{RunError, io};
use crate::train::Evaluated;

/// The lines of a run's `metrics.jsonl`, by what they are.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Training steps, in order.
    pub steps: Vec<StepLine>,
    /// Evaluations, in order.
    pub evaluations: Vec<Evaluated>,
    /// What skills are worth to the starting policy, if that was measured.
    pub probe: Option<ProbeLine>,
}

/// What is read back of a training step; the fields are those of [`crate::metrics::StepMetrics`].
#[derive(Clone, Debug, Deserialize)]
pub struct StepLine {
    /// Training step, from 1.
    pub step: u64,
    /// Share of episodes that solved their task.
    pub success: f64,
    /// Mean reward.
    pub reward: f64,
    /// Mean number of turns.
    pub turns: f64,
    /// Share of turns with an invalid action.
    pub invalid: f64,
    /// Share of groups whose episodes all have the same reward.
    pub zero_variance_groups: f64,
    /// All tokens of the episodes.
    pub episode_tokens: u64,
    /// Parts of the advantage.
    pub advantage: Shares,
    /// The update.
    pub update: UpdateLine,
    /// Seconds by phase.
    pub seconds: Seconds,
}

/// What is read back of an update.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct UpdateLine {
    /// Divergence from the starting policy, in nats per token; NaN where it is none.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// Entropy, in nats per token; NaN where it is none.
    #[serde(deserialize_with = "number")]
    pub entropy: f64,
    /// Mini-batches whose gradient was not finite.
    #[serde(default)]
    pub skipped: usize,
}

/// A number, or NaN, which JSON writes as null.
fn number<'de, D: serde::Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(value)?.unwrap_or(f64::NAN))
}

/// What is read back of a probe.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ProbeLine {
    /// Without a skill.
    pub plain: crate::evaluate::Rate,
    /// With a plan from an expert's success.
    pub workflow: crate::evaluate::Rate,
}

/// A line, by the field that says what it is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Evaluation {
        evaluation: Box<Evaluated>,
    },
    Probe {
        probe: ProbeLine,
    },
    WarmStart {
        #[serde(rename = "warm_start")]
        _update: serde::de::IgnoredAny,
    },
    Step(Box<StepLine>),
}

/// Seconds of all phases of a line of `metrics.jsonl`; nothing of a line that is no training step's.
pub fn seconds(line: &Value) -> Option<f64> {
    Some(line["seconds"].as_object()?.values().filter_map(Value::as_f64).sum())
}

/// The numbers of a line of `metrics.jsonl`, each by its place: `update.kl`. What is no finite number is left out, and
/// of a list all is.
pub fn scalars(line: &Value) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    collect(line, String::new(), &mut found);
    found
}

fn collect(value: &Value, place: String, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(
                    value,
                    if place.is_empty() { name.clone() } else { format!("{place}.{name}") },
                    found,
                );
            }
        }
        Value::Bool(yes) => found.push((place, f64::from(u8::from(*yes)))),
        Value::Number(number) => found.extend(number.as_f64().map(|number| (place, number))),
        _ => {}
    }
}

impl Log {
    /// Reads the lines of a run. A last line that was cut off, by a crash or because it is being written, is left
    /// out.
    ///
    /// # Errors
    /// The file cannot be read, or a complete line is none that a run writes.
    pub fn read(run: &Path) -> Result<Log, RunError> {
        let path = run.join("metrics.jsonl");
        let text = io("read", &path, fs::read_to_string(&path))?;
        let mut log = Log::default();
        for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n'))
        {
            let parsed = serde_json::from_str(line).map_err(|error| RunError::Damaged {
                path: path.clone(),
                reason: format!("line {}: {error}", number + 1),
            })?;
            match parsed {
                Line::Evaluation { evaluation } => log.evaluations.push(*evaluation),
                Line::Probe { probe } => log.probe = Some(probe),
                Line::WarmStart { .. } => {}
                Line::Step(step) => log.steps.push(*step),
            }
        }
        Ok(log)
    }

    /// The evaluations after a training step.
    pub fn evaluations_after(&self, step: u64) -> impl Iterator<Item = &Evaluated> {
        self.evaluations.iter().filter(move |e| e.step == step)
    }
}
