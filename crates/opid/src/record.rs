//! A trajectory as the run folder keeps it: the episode, its skills, and every response token's
//! advantage by component.

use serde::Serialize;

use crate::advantage::Advantages;
use crate::packing::Row;
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

/// Advantages of one turn's response tokens.
#[derive(Serialize)]
struct TurnAdvantages {
    outcome: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    episode_skill: Option<SkillAdvantage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_skill: Option<SkillAdvantage>,
}

/// One skill's part, and the log-probabilities it came from.
#[derive(Serialize)]
struct SkillAdvantage {
    advantage: Vec<f64>,
    logprobs: Vec<f64>,
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
    for row in rows {
        let at = row.tokens.clone();
        let skill = |scores: Option<&Scores>, advantage: &[f64]| {
            let scores = scores.filter(|s| s.selected[at.start])?;
            let logprobs = scores.logprobs[at.clone()].to_vec();
            Some(SkillAdvantage { advantage: advantage[at.clone()].to_vec(), logprobs })
        };
        records[row.trajectory].turn_advantages.push(TurnAdvantages {
            outcome: parts.outcome[at.clone()].to_vec(),
            episode_skill: skill(skills.map(|s| &s.episode), &parts.episode_skill),
            step_skill: skill(skills.map(|s| &s.step), &parts.step_skill),
        });
    }
    records
}
