//! Re-scoring: the log-probability of the same response, by the same policy, with a skill in the
//! history.
//!
//! A step skill changes only its own turn's message, so its context is a short branch off the plain
//! history. An episode skill stands after the task, so its context is a second history of the episode
//! that shares the tokens of the task.

use opid_lm::graph::Workspace;
use opid_lm::model::Model;

use super::hindsight::Analysis;
use super::route::Route;
use crate::dialogue::{Dialogue, DialogueError};
use crate::packing::{Packer, Row};
use crate::prompt::Scene;
use crate::trajectory::Trajectory;

/// Log-probabilities of response tokens under one kind of skill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// By token number; meaningful where `selected`.
    pub logprobs: Vec<f64>,
    /// Tokens that were scored.
    pub selected: Vec<bool>,
    /// Rows that were scored.
    pub rows: usize,
}

/// Log-probabilities under episode skills and under step skills.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SkillScores {
    /// Under the episode's skill.
    pub episode: Scores,
    /// Under the step's skill.
    pub step: Scores,
    /// Without a skill, by token number, if asked for.
    pub plain: Option<Vec<f64>>,
    /// Rows left out because the history with the skill is longer than the policy's context.
    pub too_long: usize,
    /// Tokens computed.
    pub computed: usize,
}

/// What re-scoring needs besides the trajectories.
pub struct Rescorer<'a> {
    /// The teacher: the policy the responses were sampled from, not yet updated, or a frozen one.
    pub model: &'a Model,
    /// Makes the messages with skills.
    pub dialogue: &'a Dialogue,
    /// Temperature of the rollout.
    pub temperature: f32,
    /// Longest history in tokens.
    pub max_context: usize,
    /// Tokens computed at once.
    pub micro_batch_tokens: usize,
    /// Whether every response is scored without a skill, too: step skills branch off the plain history,
    /// so where both are needed of one model, the history is computed once.
    pub plain: bool,
}

impl Rescorer<'_> {
    /// Scores every row that `routes` sends to a skill; `analyses` and `routes` are by trajectory and
    /// by row.
    ///
    /// # Errors
    /// A prompt or chat template fails, or the tokenizer does.
    pub fn score(
        &self,
        workspace: &mut Workspace,
        trajectories: &[Trajectory],
        rows: &[Row],
        analyses: &[Option<Analysis>],
        routes: &[Route],
    ) -> Result<SkillScores, DialogueError> {
        let total = rows.last().map_or(0, |r| r.tokens.end);
        let empty = Scores { logprobs: vec![0.0; total], selected: vec![false; total], rows: 0 };
        let mut result = SkillScores { episode: empty.clone(), step: empty, ..SkillScores::default() };
        if self.plain {
            result.plain = Some(vec![0.0; total]);
        }
        let mut packer = Packer::new(self.micro_batch_tokens);
        let mut group = None;
        let mut first = 0;
        while first < rows.len() {
            let t = &trajectories[rows[first].trajectory];
            let end = first + t.turns.len();
            if group != Some(t.group) {
                packer.end_tree();
                group = Some(t.group);
            }
            let (rows, routes) = (&rows[first..end], &routes[first..end]);
            if self.plain {
                add_plain(&mut packer, t, rows, 2 * total);
            }
            if let Some(analysis) = &analyses[rows[0].trajectory] {
                self.add_step_branches(&mut packer, &mut result, t, rows, routes, analysis)?;
                self.add_episode_branch(&mut packer, &mut result, t, rows, routes, analysis)?;
            }
            first = end;
        }
        for pack in packer.finish() {
            result.computed += pack.batch.rows();
            let stats = workspace.score(self.model, &pack.batch, self.temperature);
            for (stats, number) in stats.iter().zip(&pack.numbers) {
                // The second and third `total` numbers are those under step skills and without any.
                let (part, n) = (number / total, number % total);
                let logprob = stats.logprob as f64;
                match (part, &mut result.plain) {
                    (2, Some(plain)) => plain[n] = logprob,
                    (part, _) => {
                        let scores = if part == 0 { &mut result.episode } else { &mut result.step };
                        scores.logprobs[n] = logprob;
                        scores.selected[n] = true;
                    }
                }
            }
        }
        Ok(result)
    }

    /// The episode once more with its skill after the task, up to the last row routed to it.
    fn add_episode_branch(
        &self,
        packer: &mut Packer,
        result: &mut SkillScores,
        t: &Trajectory,
        rows: &[Row],
        routes: &[Route],
        analysis: &Analysis,
    ) -> Result<(), DialogueError> {
        let Some(last) = routes.iter().rposition(|r| r.episode) else { return Ok(()) };
        let opening = self.dialogue.opening(Scene {
            observation: &t.turns[0].observation,
            admissible: t.turns[0].admissible.as_deref(),
            episode_skill: Some(&analysis.episode_skill),
            step_skill: None,
        })?;
        let mut length = 0;
        let mut node = packer.start();
        for (i, turn) in t.turns[..=last].iter().enumerate() {
            let prompt = if i == 0 { &opening } else { &turn.prompt };
            length += prompt.len() + turn.response.len();
            if length > self.max_context {
                result.too_long += routes[i..=last].iter().filter(|r| r.episode).count();
                return Ok(());
            }
            node = packer.extend(node, prompt);
            node = if routes[i].episode {
                result.episode.rows += 1;
                packer.score(node, &turn.response, rows[i].tokens.clone())
            } else {
                packer.extend(node, &turn.response)
            };
        }
        Ok(())
    }

    /// A branch for every row routed to a step skill.
    fn add_step_branches(
        &self,
        packer: &mut Packer,
        result: &mut SkillScores,
        t: &Trajectory,
        rows: &[Row],
        routes: &[Route],
        analysis: &Analysis,
    ) -> Result<(), DialogueError> {
        let total = result.step.logprobs.len();
        let mut node = packer.start();
        // Turns of the history that the tree holds: up to the last branch that fits, not beyond.
        let mut held = 0;
        let mut length = 0;
        let Some(last) = routes.iter().rposition(|r| r.step) else { return Ok(()) };
        for (i, turn) in t.turns[..=last].iter().enumerate() {
            if routes[i].step {
                let scene = Scene {
                    observation: &turn.observation,
                    admissible: turn.admissible.as_deref(),
                    episode_skill: None,
                    step_skill: analysis.step_skills.get(&i).map(String::as_str),
                };
                let prompt = match i.checked_sub(1) {
                    None => self.dialogue.opening(scene)?,
                    Some(before) => self.dialogue.continuation(scene, t.turns[before].ended)?,
                };
                if length + prompt.len() + turn.response.len() > self.max_context {
                    result.too_long += 1;
                } else {
                    for turn in &t.turns[held..i] {
                        node = packer.extend(node, &turn.prompt);
                        node = packer.extend(node, &turn.response);
                    }
                    held = i;
                    let numbers = rows[i].tokens.start + total..rows[i].tokens.end + total;
                    let branch = packer.extend(node, &prompt);
                    packer.score(branch, &turn.response, numbers);
                    result.step.rows += 1;
                }
            }
            length += turn.prompt.len() + turn.response.len();
        }
        Ok(())
    }
}

/// The episode as it was played; its tokens go by their numbers plus `offset`.
fn add_plain(packer: &mut Packer, t: &Trajectory, rows: &[Row], offset: usize) {
    let mut node = packer.start();
    for (turn, row) in t.turns.iter().zip(rows) {
        node = packer.extend(node, &turn.prompt);
        node = packer.score(node, &turn.response, row.tokens.start + offset..row.tokens.end + offset);
    }
}
