//! Re-scoring: the log-probability of the same response, by the same policy, with a skill in the
//! history.
//!
//! In a transcript a step skill changes only its own turn's message, so its context is a short branch off the
//! plain history. An episode skill stands after the task, so its context is a second history of the episode
//! that shares the tokens of the task. Windows are made afresh, with the skill in them.
//!
//! Where a history with a skill is too long, its oldest turns are left out, never the skill: of a
//! transcript those after the first turn, which holds the task. A turn that has no such room is left out
//! and counted.
//!
//! Episodes are laid out in their order, about a batch of them at a time. Batches that are full are scored before the
//! skills of later episodes are awaited, or, where all are known, while the messages of later episodes are made.

use std::collections::{BTreeMap, BTreeSet};

use opid_lm::batch::Node;
use opid_lm::graph::{Scorer, Workspace};
use opid_lm::model::Model;
use rayon::prelude::*;

use super::hindsight::Analysis;
use super::route::Route;
use crate::dialogue::{Dialogue, DialogueError, Prompt};
use crate::layout::Layout;
use crate::packing::{Pack, Packer, Row};
use crate::passage::Block;
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
    /// Rows scored with a shorter history, because the whole one with the skill is too long.
    pub shortened: usize,
    /// Rows left out because not even the shortest history with the skill fits.
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
    /// Longest history and response in tokens.
    pub max_context: usize,
    /// Tokens computed at once.
    pub micro_batch_tokens: usize,
    /// Whether every response is scored without a skill, too: step skills branch off the plain history,
    /// so where both are needed of one model, the history is computed once.
    pub plain: bool,
    /// Whether the skills of each episode are waited for, instead of those of all being known from the start.
    pub awaited: bool,
}

/// The skills of an episode, and which of them each of its turns is scored under.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The skills.
    pub analysis: Analysis,
    /// By turn.
    pub routes: Vec<Route>,
}

impl Rescorer<'_> {
    /// Scores every row that is routed to a skill. `skills` gives those of an episode, by its number; it is called
    /// for one after the other, and may wait for them while nothing else can be computed.
    ///
    /// # Errors
    /// Those of `skills`; or a prompt or chat template fails, or the tokenizer does.
    pub fn score<E: From<DialogueError>>(
        &self,
        workspace: &mut Workspace,
        trajectories: &[Trajectory],
        rows: &[Row],
        mut skills: impl FnMut(usize) -> Result<Option<Routed>, E>,
    ) -> Result<SkillScores, E> {
        let total = rows.last().map_or(0, |r| r.tokens.end);
        let empty = Scores { logprobs: vec![0.0; total], selected: vec![false; total], rows: 0 };
        let mut result = SkillScores { episode: empty.clone(), step: empty, ..SkillScores::default() };
        if self.plain {
            result.plain = Some(vec![0.0; total]);
        }
        let mut scorer = workspace.scorer(self.model);
        let mut packer = Packer::new(self.micro_batch_tokens);
        let mut group = None;
        let mut rest = rows;
        let mut ready: Vec<Pack> = Vec::new();
        while !rest.is_empty() {
            if self.awaited {
                self.score_packs(&mut scorer, std::mem::take(&mut ready), &mut result);
            }
            // A batch of episodes, so that their messages can be made at once.
            let (mut batch, mut tokens) = (Vec::new(), 0);
            while tokens < self.micro_batch_tokens
                && let Some(row) = rest.first()
            {
                let t = &trajectories[row.trajectory];
                let (own, later) = rest.split_at(t.turns.len());
                batch.push((t, own, skills(row.trajectory)?));
                tokens += t.turns.iter().map(|turn| turn.prompt.len() + turn.response.len()).sum::<usize>();
                rest = later;
            }
            let messages = |(t, _, routed): &(&Trajectory, &[Row], Option<Routed>)| {
                routed.as_ref().map_or_else(|| Ok(Messages::new()), |routed| self.messages(t, routed))
            };
            // Either leaves threads idle for moments, which the other takes.
            let ((), messages) = rayon::join(
                || self.score_packs(&mut scorer, std::mem::take(&mut ready), &mut result),
                || batch.par_iter().map(messages).collect::<Result<Vec<Messages>, DialogueError>>(),
            );
            for ((t, own, routed), messages) in batch.iter().zip(&messages?) {
                if group != Some(t.group) {
                    packer.end_tree();
                    group = Some(t.group);
                }
                packer.start();
                if self.plain {
                    add_plain(&mut packer, t, own, 2 * total);
                }
                if let Some(routed) = routed {
                    let played = Played { t, rows: own, routed, messages };
                    match t.layout {
                        Layout::Transcript => {
                            let mut long = self.add_step_branches(&mut packer, &mut result, &played);
                            long.extend(self.add_episode_branch(&mut packer, &mut result, &played));
                            self.add_shortened(&mut packer, &mut result, &played, &long)?;
                        }
                        Layout::Window => self.add_windows(&mut packer, &mut result, &played),
                    }
                }
                ready.append(&mut packer.full());
            }
        }
        ready.append(&mut packer.finish());
        self.score_packs(&mut scorer, ready, &mut result);
        Ok(result)
    }

    /// The messages with skills that an episode's turns are scored after.
    fn messages(&self, t: &Trajectory, routed: &Routed) -> Result<Messages, DialogueError> {
        // A transcript has the episode's skill in its first message alone.
        let in_first = |kind| t.layout.is_transcript() && kind == Block::Episode;
        let turns = routed.turns().map(|(turn, kind)| (if in_first(kind) { 0 } else { turn }, kind));
        let messages: BTreeSet<(usize, Block)> = turns.collect();
        let message = |(turn, kind)| {
            let scene = routed.scene(t, turn, kind);
            let prompt = match t.layout {
                Layout::Transcript => Some(self.dialogue.prompt(scene)?),
                Layout::Window => self.dialogue.prompt_with_skill(scene)?,
            };
            Ok(prompt.map(|prompt| ((turn, kind), prompt)))
        };
        messages.into_iter().filter_map(|key| message(key).transpose()).collect()
    }

    fn score_packs(&self, scorer: &mut Scorer<'_>, packs: Vec<Pack>, result: &mut SkillScores) {
        for pack in packs {
            let total = result.step.logprobs.len();
            result.computed += pack.batch.rows();
            let stats = scorer.score(&pack.batch, self.temperature);
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
    }

    /// The episode once more with its skill after the task, up to the last row routed to it. Returns the
    /// rows whose history is too long.
    fn add_episode_branch(
        &self,
        packer: &mut Packer,
        result: &mut SkillScores,
        played: &Played<'_>,
    ) -> Vec<(usize, Block)> {
        let (t, routes) = (played.t, &played.routed.routes);
        let Some(last) = routes.iter().rposition(|r| r.episode) else { return Vec::new() };
        let opening = &played.messages[&(0, Block::Episode)].tokens;
        let mut length = 0;
        let mut node = packer.again();
        for (i, turn) in t.turns[..=last].iter().enumerate() {
            let prompt = if i == 0 { opening } else { &turn.prompt };
            length += prompt.len() + turn.response.len();
            if length > self.max_context {
                let long = (i..=last).filter(|&i| routes[i].episode);
                return long.map(|i| (i, Block::Episode)).collect();
            }
            node = packer.extend(node, prompt);
            node = if routes[i].episode {
                result.add(packer, node, played, i, Block::Episode)
            } else {
                packer.extend(node, &turn.response)
            };
        }
        Vec::new()
    }

    /// A branch for every row routed to a step skill. Returns the rows whose history is too long.
    fn add_step_branches(
        &self,
        packer: &mut Packer,
        result: &mut SkillScores,
        played: &Played<'_>,
    ) -> Vec<(usize, Block)> {
        let (t, routes) = (played.t, &played.routed.routes);
        let mut node = packer.again();
        // Turns of the history that the tree holds: up to the last branch that fits, not beyond.
        let mut held = 0;
        let mut length = 0;
        let mut long = Vec::new();
        let Some(last) = routes.iter().rposition(|r| r.step) else { return long };
        for (i, turn) in t.turns[..=last].iter().enumerate() {
            if routes[i].step {
                let prompt = &played.messages[&(i, Block::Step)].tokens;
                if length + prompt.len() + turn.response.len() > self.max_context {
                    long.push((i, Block::Step));
                } else {
                    for turn in &t.turns[held..i] {
                        node = packer.extend(node, &turn.prompt);
                        node = packer.extend(node, &turn.response);
                    }
                    held = i;
                    let branch = packer.extend(node, prompt);
                    result.add(packer, branch, played, i, Block::Step);
                }
            }
            length += turn.prompt.len() + turn.response.len();
        }
        long
    }

    /// Rows of a transcript whose history is too long: with the first turn and as many of the last as fit.
    fn add_shortened(
        &self,
        packer: &mut Packer,
        result: &mut SkillScores,
        played: &Played<'_>,
        long: &[(usize, Block)],
    ) -> Result<(), DialogueError> {
        for &(i, kind) in long {
            match self.shortened(played, i, kind)? {
                None => result.too_long += 1,
                Some(context) => {
                    let start = packer.start();
                    let node = packer.extend(start, &context);
                    result.add(packer, node, played, i, kind);
                    result.shortened += 1;
                }
            }
        }
        Ok(())
    }

    /// The tokens before the response of turn `i` with as few of the oldest turns left out as necessary.
    fn shortened(
        &self,
        played: &Played<'_>,
        i: usize,
        kind: Block,
    ) -> Result<Option<Vec<u32>>, DialogueError> {
        let turns = &played.t.turns;
        let room = self.max_context.saturating_sub(turns[i].response.len());
        let Some(first) = turns.first().filter(|_| i > 1) else { return Ok(None) };
        let scene = |n: usize| match kind {
            Block::Step if n != i => Scene::of(played.t, n),
            _ => played.routed.scene(played.t, n, kind),
        };
        let mut head = self.dialogue.prompt(scene(0))?.tokens;
        head.extend(&first.response);
        for from in 2..=i {
            // The first message shown after the gap follows the first response.
            let mut context = head.clone();
            context.extend(self.dialogue.prompt(Scene { past: &turns[..1], ..scene(from) })?.tokens);
            for n in from + 1..=i {
                context.extend(&turns[n - 1].response);
                match n == i {
                    true => context.extend(self.dialogue.prompt(scene(i))?.tokens),
                    false => context.extend(&turns[n].prompt),
                }
            }
            if context.len() <= room {
                return Ok(Some(context));
            }
        }
        Ok(None)
    }

    /// A sequence of its own for every row routed to a skill.
    fn add_windows(&self, packer: &mut Packer, result: &mut SkillScores, played: &Played<'_>) {
        for (i, kind) in played.routed.turns() {
            let prompt = played.messages.get(&(i, kind));
            let room = self.max_context.saturating_sub(played.t.turns[i].response.len());
            match prompt.filter(|prompt| prompt.tokens.len() <= room) {
                None => result.too_long += 1,
                Some(prompt) => {
                    let start = packer.start();
                    let node = packer.extend(start, &prompt.tokens);
                    result.add(packer, node, played, i, kind);
                    result.shortened += usize::from(prompt.cut > 0);
                }
            }
        }
    }
}

/// Messages with a skill, by their turn and the kind of the skill; those of windows that do not fit are left out.
type Messages = BTreeMap<(usize, Block), Prompt>;

/// A finished episode, its rows, its skills, and its messages with them.
#[derive(Clone, Copy)]
struct Played<'a> {
    t: &'a Trajectory,
    rows: &'a [Row],
    routed: &'a Routed,
    messages: &'a Messages,
}

impl Routed {
    /// The turns that are scored under a skill, and its kind, in their order.
    fn turns(&self) -> impl Iterator<Item = (usize, Block)> {
        self.routes.iter().enumerate().flat_map(|(turn, route)| {
            let kinds = [(Block::Episode, route.episode), (Block::Step, route.step)];
            kinds.into_iter().filter(|(_, routed)| *routed).map(move |(kind, _)| (turn, kind))
        })
    }

    /// The scene of a turn of its episode with one of its skills.
    fn scene<'a>(&'a self, t: &'a Trajectory, turn: usize, kind: Block) -> Scene<'a> {
        let plain = Scene::of(t, turn);
        match kind {
            Block::Episode => Scene { episode_skill: Some(&self.analysis.episode_skill), ..plain },
            Block::Step => {
                Scene { step_skill: self.analysis.step_skills.get(&turn).map(String::as_str), ..plain }
            }
        }
    }
}

impl SkillScores {
    /// Adds the response of turn `i` after `node` as a row scored under a skill; returns where it ends.
    fn add(&mut self, packer: &mut Packer, node: Node, played: &Played<'_>, i: usize, kind: Block) -> Node {
        let total = self.step.logprobs.len();
        let tokens = played.rows[i].tokens.clone();
        let (scores, numbers) = match kind {
            Block::Episode => (&mut self.episode, tokens),
            Block::Step => (&mut self.step, tokens.start + total..tokens.end + total),
        };
        scores.rows += 1;
        packer.score(node, &played.t.turns[i].response, numbers)
    }
}

/// The episode as it was played; its tokens go by their numbers plus `offset`.
fn add_plain(packer: &mut Packer, t: &Trajectory, rows: &[Row], offset: usize) {
    let mut node = packer.start();
    for (turn, row) in t.turns.iter().zip(rows) {
        if t.layout == Layout::Window {
            node = packer.start();
        }
        node = packer.extend(node, &turn.prompt);
        node = packer.score(node, &turn.response, row.tokens.start + offset..row.tokens.end + offset);
    }
}
