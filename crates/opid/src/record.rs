//! A trajectory as the run folder keeps it: the episode, its skills, and every response token's
//! advantage by component.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::advantage::Advantages;
use crate::packing::Row;
use crate::run::RunError;
use crate::skill::analyzer::Analysis;
use crate::skill::rescore::{Scores, SkillScores};
use crate::trajectory::Trajectory;

/// A line of a file of trajectories.
#[derive(Serialize)]
pub struct Record<'a> {
    #[serde(flatten)]
    trajectory: &'a Trajectory,
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<&'a Analysis>,
    turn_advantages: Vec<TurnAdvantages>,
}

/// Advantages of one turn's response tokens, a number for each, to the seven digits of an f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnAdvantages {
    /// From the outcome of the episode.
    pub outcome: Vec<f32>,
    /// Where the turn was scored under the skill of its episode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode_skill: Option<SkillAdvantage>,
    /// Where it was scored under a skill of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_skill: Option<SkillAdvantage>,
}

/// One skill's part, and the log-probabilities it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillAdvantage {
    /// What the skill adds to the advantage.
    pub advantage: Vec<f32>,
    /// Log-probability under the skill.
    pub logprobs: Vec<f32>,
}

/// The records of a training step's trajectories, in their order.
pub fn records<'a>(
    trajectories: &'a [Trajectory],
    rows: &[Row],
    analyses: &'a [Option<Analysis>],
    parts: &Advantages,
    skills: Option<&SkillScores>,
) -> Vec<Record<'a>> {
    let mut records: Vec<Record<'a>> = trajectories
        .iter()
        .zip(analyses)
        .map(|(trajectory, a)| Record { trajectory, analysis: a.as_ref(), turn_advantages: Vec::new() })
        .collect();
    let digits = |numbers: &[f64]| numbers.iter().map(|&number| number as f32).collect();
    for row in rows {
        let at = row.tokens.clone();
        let skill = |scores: Option<&Scores>, advantage: &[f64]| {
            let scores = scores.filter(|s| s.selected[at.start])?;
            let logprobs = digits(&scores.logprobs[at.clone()]);
            Some(SkillAdvantage { advantage: digits(&advantage[at.clone()]), logprobs })
        };
        records[row.trajectory].turn_advantages.push(TurnAdvantages {
            outcome: digits(&parts.outcome[at.clone()]),
            episode_skill: skill(skills.map(|s| &s.episode), &parts.episode_skill),
            step_skill: skill(skills.map(|s| &s.step), &parts.step_skill),
        });
    }
    records
}

/// What is read back of a line: the episode, its skills and its advantages.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Stored {
    /// The episode.
    #[serde(flatten)]
    pub trajectory: Trajectory,
    /// Its skills; absent if there are none.
    #[serde(default)]
    pub analysis: Option<Analysis>,
    /// By turn.
    #[serde(default)]
    pub turn_advantages: Vec<TurnAdvantages>,
}

/// The training steps whose trajectories a run has kept, in order.
///
/// # Errors
/// The folder is no run.
pub fn stored_steps(run: &Path) -> Result<Vec<u64>, RunError> {
    let folder = run.join("trajectories");
    let fail = |source| RunError::Io { action: "read", path: folder.clone(), source };
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let number = |name: &str| name.strip_prefix("step_")?.strip_suffix(".jsonl.gz")?.parse::<u64>().ok();
        let step = name.to_str().and_then(number);
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The episodes that a run has kept of a training step.
///
/// # Errors
/// The file is missing or damaged.
pub fn stored(run: &Path, step: u64) -> Result<Vec<Stored>, RunError> {
    stored_as(run, step)
}

/// The same as any type that has some of the fields of [`Stored`].
///
/// # Errors
/// As of [`stored`].
pub fn stored_as<T: DeserializeOwned>(run: &Path, step: u64) -> Result<Vec<T>, RunError> {
    let path = stored_file(run, step);
    let fail = |source| RunError::Io { action: "read", path: path.clone(), source };
    let lines = BufReader::new(GzDecoder::new(File::open(&path).map_err(fail)?)).lines();
    let episode = |(number, line): (usize, std::io::Result<String>)| {
        serde_json::from_str(&line.map_err(fail)?).map_err(|error| RunError::Damaged {
            path: path.clone(),
            reason: format!("line {}: {error}", number + 1),
        })
    };
    lines.enumerate().map(episode).collect()
}

/// The file of the episodes of a training step.
pub fn stored_file(run: &Path, step: u64) -> PathBuf {
    run.join(format!("trajectories/step_{step:06}.jsonl.gz"))
}
