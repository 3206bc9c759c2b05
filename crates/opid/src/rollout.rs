//! Sampling episodes: many at once, each at its own pace.
//!
//! Every pass of the model advances all running episodes by whatever they have pending: a sampled
//! token, or the tokens of a new message. Finished episodes leave and waiting groups take their place.
//! The members of a group start from one computation of the task prompt. In the window layout a prompt
//! starts from what it has in common with the prompt before.

use std::ops::ControlFlow;
use std::sync::Arc;

use opid_env::environment::{Episode, Lookup, Step, Task};
use opid_env::random::Draw;
use opid_env::retrieval::Retriever;
use opid_lm::caught;
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::model::Model;
use opid_lm::sampling::{Sampling, choose};
use rayon::prelude::*;

use crate::action::Action;
use crate::dialogue::{Dialogue, DialogueError};
use crate::interrupt::Interrupt;
use crate::layout::{Layout, in_common};
use crate::prompt::Scene;
use crate::recipe::{InvalidMeans, Recipe};
use crate::skill::bank::{Bank, NoSkill};
use crate::trajectory::{Ending, Trajectory, Turn};

/// A group of episodes of one task.
#[derive(Clone)]
pub struct Group {
    /// The task.
    pub task: Arc<dyn Task>,
    /// An episode skill to put into the history.
    pub skill: Option<String>,
}

impl Group {
    /// Groups of tasks, with the skill of `bank` for each, if there is a bank, in the history.
    ///
    /// # Errors
    /// The bank has no skill for a task.
    pub fn of(tasks: &[Arc<dyn Task>], bank: Option<&Bank>) -> Result<Vec<Self>, NoSkill> {
        let group = |task: &Arc<dyn Task>| {
            let skill = bank.map(|bank| bank.skill(task.kind(), task.goal())).transpose()?;
            Ok(Group { task: task.clone(), skill })
        };
        tasks.iter().map(group).collect()
    }
}

/// How episodes are sampled.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Episodes per task.
    pub group_size: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// An episode ends after this many turns.
    pub max_turns: usize,
    /// A response ends after this many tokens.
    pub max_response_tokens: usize,
    /// An episode whose transcript would exceed this many tokens ends.
    pub max_context: usize,
    /// Most episodes at the same time.
    pub concurrency: usize,
    /// Reward of a solved task.
    pub win: f64,
    /// Reward of a score of 1, besides.
    pub score: f64,
    /// What makes an action invalid.
    pub invalid_means: InvalidMeans,
    /// Most episodes, as a share, whose environment may fail.
    pub max_crashes: f64,
    /// Most episodes, as a share, in which a search may fail because of the retriever.
    pub max_failed_lookups: f64,
    /// Ends sampling.
    pub interrupt: Interrupt,
    /// Keys of the random draws: seed, purpose and training step.
    pub keys: [u64; 3],
}

/// Episodes that cannot be sampled.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Prompts or tokens.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// The model is broken.
    #[error(
        "the policy's scores of the next token are not finite numbers (task {task}, turn {turn}): its weights are \
         damaged or have grown without bound. Look at grad_norm and kl in metrics.jsonl; in training, set a lower \
         optimizer.learning_rate in the run's config.toml and go on from the last checkpoint with --resume"
    )]
    NotFinite {
        /// The task.
        task: String,
        /// The turn, from 1.
        turn: usize,
    },
    /// The environment is broken.
    #[error(
        "the environment failed in {crashed} of {episodes} episodes, more than rollout.max_crashes = {most} allows (the \
         first, task {task}: {reason}): this is a fault of the environment or its data, not of the policy; leave the \
         task out, or raise that key to drop such episodes and go on"
    )]
    Crashed {
        /// Episodes that it failed in.
        crashed: usize,
        /// All episodes.
        episodes: usize,
        /// The first task.
        task: String,
        /// What it said.
        reason: String,
        /// The share allowed.
        most: f64,
    },
    /// Too many searches came to nothing because of the retriever.
    #[error(
        "in {failed} of {episodes} episodes a search failed because of the retriever, more than \
         environment.search.max_failures = {most} allows (the agent was shown: {shown:?}): see that the servers of \
         environment.search.http.urls answer; a run goes on with --resume"
    )]
    Retrieval {
        /// Episodes with a failed search.
        failed: usize,
        /// All episodes.
        episodes: usize,
        /// What the agent was shown of the first failure.
        shown: String,
        /// The share allowed.
        most: f64,
    },
    /// A stop was asked for.
    #[error("interrupted")]
    Interrupted,
}

impl Settings {
    /// The settings a recipe trains with.
    pub fn training(recipe: &Recipe, keys: [u64; 3]) -> Self {
        let r = &recipe.rollout;
        Settings {
            group_size: r.group_size,
            sampling: Sampling { temperature: r.temperature, top_p: r.top_p, top_k: r.top_k },
            max_turns: recipe.environment.max_turns,
            max_response_tokens: r.max_response_tokens,
            max_context: recipe.policy.max_context,
            concurrency: r.concurrency,
            win: recipe.reward.win,
            score: recipe.reward.score,
            invalid_means: recipe.reward.invalid_means,
            max_crashes: r.max_crashes,
            max_failed_lookups: recipe.environment.search.max_failures,
            interrupt: Interrupt::default(),
            keys,
        }
    }

    /// The settings a recipe evaluates with: one episode per task, at the given temperature.
    pub fn evaluation(recipe: &Recipe, temperature: f32, keys: [u64; 3]) -> Self {
        let sampling = Sampling { temperature, top_p: 1.0, top_k: 0 };
        Settings { group_size: 1, sampling, ..Settings::training(recipe, keys) }
    }
}

impl Settings {
    /// Refuses episodes of which too many were spoilt by the environment or by the retriever.
    fn check(&self, finished: &[Trajectory]) -> Result<(), SampleError> {
        let episodes = finished.len();
        let is_crashed = |t: &&Trajectory| t.ending == Ending::Crashed;
        let crashed = finished.iter().filter(is_crashed).count();
        let failed = finished.iter().filter(|t| t.lookup_failed()).count();
        if let Some(first) = finished.iter().find(is_crashed)
            && (crashed == episodes || crashed as f64 > self.max_crashes * episodes as f64)
        {
            return Err(SampleError::Crashed {
                crashed,
                episodes,
                task: first.task.clone(),
                reason: first.last_observation.clone(),
                most: self.max_crashes,
            });
        }
        if failed as f64 > self.max_failed_lookups * episodes as f64 {
            let shown = finished.iter().find_map(|t| {
                let turn = t.turns.iter().position(|turn| turn.lookup_failed)?;
                Some(t.answer(turn).trim().to_owned())
            });
            return Err(SampleError::Retrieval {
                failed,
                episodes,
                shown: shown.unwrap_or_default(),
                most: self.max_failed_lookups,
            });
        }
        Ok(())
    }
}

/// A beginning of a prompt is kept if it has this many tokens more than a shorter one: it costs a pass of
/// its own.
const LEAST_KEPT: usize = 8;

/// A running episode.
struct Slot {
    episode: Box<dyn Episode>,
    /// The skill in the history, if there is one.
    skill: Option<String>,
    sequence: Sequence,
    /// Tokens the model has not seen yet.
    pending: Vec<u32>,
    /// Parts of a prompt that come after the tokens pending, the next one last; before each, the sequence
    /// is kept.
    parts: Vec<Vec<u32>>,
    /// Beginnings of the present prompt, the shortest first, for later prompts to start from.
    kept: Vec<Sequence>,
    trajectory: Trajectory,
    /// The turn being sampled.
    turn: Turn,
    /// Its response, once it has ended.
    said: Option<Said>,
    /// Why the environment cannot go on.
    crash: Option<String>,
    finished: bool,
}

/// What becomes of an action: whether it is valid, the environment's answer, and the commands it admits then.
type Response = (bool, Step, Option<Vec<String>>);

/// A response that has ended.
struct Said {
    /// Its last token, which the model has not seen yet.
    last: u32,
    text: String,
    action: Action,
}

/// Samples `settings.group_size` episodes of every group; they come back in order of group and member.
///
/// `ended` is shown every episode as soon as it is over. Where it breaks, sampling ends, and only the episodes that
/// are over come back. An environment that panics ends its episode ([`Ending::Crashed`]) and no other.
///
/// # Errors
/// A prompt or chat template fails, or the tokenizer does; the model's scores are not finite; too many environments
/// fail; or a stop is asked for.
pub fn sample(
    model: &Model,
    dialogue: &Dialogue,
    groups: &[Group],
    settings: &Settings,
    ended: &mut dyn FnMut(&Trajectory) -> ControlFlow<()>,
) -> Result<Vec<Trajectory>, SampleError> {
    let mut decoder = Decoder::new(model);
    let vocab = model.config.vocab_size;
    let mut finished: Vec<Trajectory> = Vec::with_capacity(groups.len() * settings.group_size);
    let mut slots: Vec<Slot> = Vec::new();
    let mut waiting = groups.iter().enumerate();
    loop {
        if settings.interrupt.is_set() {
            return Err(SampleError::Interrupted);
        }
        let first = finished.len();
        // Waiting groups enter while there is room (at least one, or nothing would ever run).
        let mut entering = Vec::new();
        while slots.is_empty() && entering.is_empty()
            || slots.len() + (entering.len() + 1) * settings.group_size <= settings.concurrency
        {
            let Some((number, group)) = waiting.next() else { break };
            match guarded(|| Opening::new(number, group, dialogue)) {
                Ok(opening) => entering.push(opening?),
                Err(reason) => {
                    let begin =
                        |member| Trajectory::begin(group.task.as_ref(), number, member, dialogue.layout());
                    let members = 0..settings.group_size;
                    finished.extend(members.map(|member| crashed(begin(member), &reason)));
                }
            }
        }
        let mut entries: Vec<Entry<'_>> = slots
            .iter_mut()
            .map(|s| Entry { sequence: &mut s.sequence, tokens: &s.pending })
            .chain(entering.iter_mut().map(|o| Entry { sequence: &mut o.sequence, tokens: &o.turn.prompt }))
            .collect();
        if entries.is_empty() {
            break;
        }
        let mut logits = decoder.extend(&mut entries);
        let (running, opened) = logits.split_at_mut(slots.len() * vocab);
        slots
            .par_iter_mut()
            .zip(running.par_chunks_mut(vocab))
            .try_for_each(|(slot, logits)| slot.advance(logits, dialogue, settings))?;
        for (opening, logits) in entering.iter().zip(opened.chunks(vocab)) {
            for member in 0..settings.group_size {
                match guarded(|| opening.member(member, dialogue)) {
                    Ok(mut slot) => {
                        slot.advance(&mut logits.to_vec(), dialogue, settings)?;
                        slots.push(slot);
                    }
                    Err(reason) => finished.push(crashed(opening.begin(member, dialogue), &reason)),
                }
            }
        }
        look_up(&mut slots);
        slots.par_iter_mut().try_for_each(|slot| slot.act(dialogue, settings))?;
        let (done, rest): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|s| s.finished);
        slots = rest;
        finished.extend(done.into_iter().map(|s| s.trajectory));
        if finished[first..].iter().try_for_each(&mut *ended).is_break() {
            break;
        }
    }
    finished.sort_by_key(|t| (t.group, t.member));
    settings.check(&finished)?;
    Ok(finished)
}

/// An episode whose environment panicked.
fn crashed(trajectory: Trajectory, reason: &str) -> Trajectory {
    Trajectory { ending: Ending::Crashed, last_observation: reason.to_owned(), ..trajectory }
}

/// What code of an environment comes to, or what it said when it panicked. What the panic left half done is not looked
/// at again: its episode is over.
fn guarded<T>(environment: impl FnOnce() -> T) -> Result<T, String> {
    caught(environment).map_err(|panic| format!("the environment panicked: {panic}"))
}

/// Looks up what the actions at hand ask for: all that ask the same retriever in one batch.
fn look_up(slots: &mut [Slot]) {
    type Asking = (Arc<dyn Retriever>, usize, Vec<(usize, String)>);
    let mut batches: Vec<Asking> = Vec::new();
    for (number, slot) in slots.iter_mut().enumerate() {
        let Some(said) = &slot.said else { continue };
        let lookup = guarded(|| slot.episode.lookup(&said.action.command));
        let lookup = lookup.unwrap_or_else(|reason| {
            slot.crash = Some(reason);
            None
        });
        let Some(Lookup { retriever, query, most }) = lookup else { continue };
        let same = |batch: &&mut Asking| Arc::ptr_eq(&batch.0, &retriever) && batch.1 == most;
        match batches.iter_mut().find(same) {
            Some(batch) => batch.2.push((number, query)),
            None => batches.push((retriever, most, vec![(number, query)])),
        }
    }
    for (retriever, most, asking) in batches {
        let (numbers, queries): (Vec<usize>, Vec<String>) = asking.into_iter().unzip();
        match guarded(|| retriever.retrieve(&queries, most)) {
            Ok(found) => {
                for (number, found) in numbers.into_iter().zip(found) {
                    slots[number].turn.lookup_failed = found.is_err();
                    slots[number].episode.supply(found);
                }
            }
            Err(reason) => numbers.into_iter().for_each(|number| slots[number].crash = Some(reason.clone())),
        }
    }
}

/// A group whose task prompt is about to be computed.
struct Opening<'a> {
    number: usize,
    group: &'a Group,
    turn: Turn,
    sequence: Sequence,
}

impl<'a> Opening<'a> {
    fn new(number: usize, group: &'a Group, dialogue: &Dialogue) -> Result<Self, DialogueError> {
        let episode = group.task.clone().start();
        let observation = episode.observation().to_owned();
        let admissible = dialogue.lists_admissible().then(|| episode.admissible());
        let prompt = dialogue.prompt(Scene {
            goal: group.task.goal(),
            observation: &observation,
            admissible: admissible.as_deref(),
            episode_skill: group.skill.as_deref(),
            ..Scene::default()
        })?;
        let turn = Turn { cut: prompt.cut, ..Turn::open(observation, admissible, prompt.tokens) };
        Ok(Opening { number, group, turn, sequence: Sequence::default() })
    }

    fn member(&self, member: usize, dialogue: &Dialogue) -> Slot {
        let task = &self.group.task;
        Slot {
            episode: task.clone().start(),
            skill: self.group.skill.clone(),
            sequence: self.sequence.clone(),
            pending: Vec::new(),
            parts: Vec::new(),
            kept: Vec::new(),
            trajectory: self.begin(member, dialogue),
            turn: self.turn.clone(),
            said: None,
            crash: None,
            finished: false,
        }
    }

    /// The record of a member that has done nothing yet.
    fn begin(&self, member: usize, dialogue: &Dialogue) -> Trajectory {
        Trajectory::begin(self.group.task.as_ref(), self.number, member, dialogue.layout())
    }
}

impl Slot {
    /// Samples the next token; when it ends the response, reads it.
    fn advance(
        &mut self,
        logits: &mut [f32],
        dialogue: &Dialogue,
        settings: &Settings,
    ) -> Result<(), SampleError> {
        if let Some(part) = self.parts.pop() {
            self.kept.push(self.sequence.clone());
            self.pending = part;
            return Ok(());
        }
        let [seed, purpose, step] = settings.keys;
        let t = &self.trajectory;
        let (turn, token) = (t.turns.len() as u64, self.turn.response.len() as u64);
        let keys = [seed, purpose, step, t.group as u64, t.member as u64, turn, token];
        let chosen = choose(logits, settings.sampling, Draw::new(&keys).unit());
        if chosen.logprob.is_nan() {
            return Err(SampleError::NotFinite { task: t.task.clone(), turn: t.turns.len() + 1 });
        }
        self.turn.response.push(chosen.token);
        self.turn.logprobs.push(chosen.logprob);
        self.turn.ended = chosen.token == dialogue.end_token();
        if !self.turn.ended && self.turn.response.len() < settings.max_response_tokens {
            self.pending = vec![chosen.token];
            return Ok(());
        }
        let (text, action) = dialogue.read(&self.turn.response)?;
        self.said = Some(Said { last: chosen.token, text, action });
        Ok(())
    }

    /// Sends the action of a response that has ended to the environment, and prepares the next message.
    fn act(&mut self, dialogue: &Dialogue, settings: &Settings) -> Result<(), DialogueError> {
        let Some(Said { last, text, action }) = self.said.take() else { return Ok(()) };
        let crash = self.crash.take().map_or(Ok(()), Err);
        let (valid, step, admissible) = match crash.and_then(|()| self.respond(&action, dialogue, settings)) {
            Ok(response) => response,
            Err(reason) => {
                (self.trajectory.ending, self.trajectory.last_observation) = (Ending::Crashed, reason);
                self.finished = true;
                return Ok(());
            }
        };
        self.turn.valid = valid;
        self.turn.text = text;
        self.turn.action = action.command;
        let next = Turn::open(step.observation, admissible, Vec::new());
        let turn = std::mem::replace(&mut self.turn, next);
        self.trajectory.turns.push(turn);
        self.trajectory.won = step.won;
        self.trajectory.score = f64::from(step.score);
        let ending = if step.done {
            Some(Ending::Done)
        } else if self.trajectory.turns.len() >= settings.max_turns {
            Some(Ending::TurnLimit)
        } else {
            self.go_on(last, dialogue, settings)?
        };
        if let Some(ending) = ending {
            self.trajectory.ending = ending;
            let won = if self.trajectory.won { settings.win } else { 0.0 };
            self.trajectory.reward = won + settings.score * self.trajectory.score;
            self.trajectory.last_observation = std::mem::take(&mut self.turn.observation);
            self.finished = true;
        }
        Ok(())
    }

    /// Whether an action is valid, what the environment makes of it, and the commands it admits then.
    ///
    /// # Errors
    /// The environment panics.
    fn respond(
        &mut self,
        action: &Action,
        dialogue: &Dialogue,
        settings: &Settings,
    ) -> Result<Response, String> {
        let episode = &mut self.episode;
        guarded(|| {
            let refused = settings.invalid_means == InvalidMeans::Refused
                && action.valid
                && !dialogue.grammar().admits(&action.command, &episode.admissible());
            let step = episode.step(&action.command);
            let admissible = dialogue.lists_admissible().then(|| episode.admissible());
            (action.valid && !refused, step, admissible)
        })
    }

    /// Prepares the prompt of the next turn after the response's last token, unless there is no room for it.
    fn go_on(
        &mut self,
        last: u32,
        dialogue: &Dialogue,
        settings: &Settings,
    ) -> Result<Option<Ending>, DialogueError> {
        let t = &self.trajectory;
        let scene = Scene {
            goal: &t.goal,
            past: &t.turns,
            observation: &self.turn.observation,
            admissible: self.turn.admissible.as_deref(),
            episode_skill: self.skill.as_deref(),
            step_skill: None,
        };
        let prompt = dialogue.prompt(scene)?;
        match t.layout {
            Layout::Transcript => {
                let longest = t.tokens() + prompt.tokens.len() + settings.max_response_tokens;
                if longest > settings.max_context {
                    return Ok(Some(Ending::ContextLimit));
                }
                self.pending = std::iter::once(last).chain(prompt.tokens.iter().copied()).collect();
            }
            Layout::Window => {
                // Every prompt from the second on begins alike up to its first earlier turn.
                let head = match t.turns.len() {
                    1 => in_common(&prompt.tokens, &dialogue.prompt_without_history(scene)?),
                    _ => 0,
                };
                self.restart(&prompt.tokens, head);
            }
        }
        (self.turn.prompt, self.turn.cut) = (prompt.tokens, prompt.cut);
        Ok(None)
    }

    /// Starts a prompt from the longest of its beginnings that is kept, and keeps its first `head` tokens
    /// and what it has in common with the prompt before: the next one may begin so, too.
    fn restart(&mut self, prompt: &[u32], head: usize) {
        let before = self.trajectory.turns.last().map_or(&[][..], |turn| &turn.prompt);
        let shared = in_common(prompt, before);
        // The last token must always be computed: what follows it is asked for.
        self.kept.retain(|sequence| sequence.len() <= shared && sequence.len() < prompt.len());
        self.sequence = self.kept.last().cloned().unwrap_or_default();
        self.turn.cached = self.sequence.len();
        let mut from = self.turn.cached;
        for end in [head.min(shared), head.max(shared)] {
            if end >= from + LEAST_KEPT && end < prompt.len() {
                self.parts.insert(0, prompt[from..end].to_vec());
                from = end;
            }
        }
        self.parts.insert(0, prompt[from..].to_vec());
        self.pending = self.parts.pop().unwrap_or_default();
    }
}
