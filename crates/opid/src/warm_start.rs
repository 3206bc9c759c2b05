//! The starting policy: a tokenizer and a small model made from expert episodes.
//!
//! There is no pretrained checkpoint to start a laptop run from, so a recipe can make its own. The
//! policy is taught to act as an expert that errs, and to act well where its history holds a skill: an
//! instruction-tuned model follows advice too. Without that, skills could not tell a good response from
//! a bad one, and there would be nothing to distil.

use std::ops::ControlFlow;
use std::sync::Arc;

use opid_env::environment::Slips;
use opid_env::random::Draw;
use opid_lm::chat::ChatTemplate;
use opid_lm::config::{Family, ModelConfig};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::{TokenGrad, TokenStats};
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, global_norm};
use opid_lm::tokenizer::{Tokenizer, TokenizerError, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::action::Grammar;
use crate::demonstration::{LookupError, Noise, play};
use crate::dialogue::{Dialogue, DialogueError};
use crate::layout::window;
use crate::prompt::{PromptError, Prompts, Scene};
use crate::recipe::{Recipe, Stage, WarmStart};
use crate::skill::{hindsight, phrases};
use crate::tasks::{Tasks, TasksError};
use lesson::Lesson;

mod copying;
pub(crate) mod course;
mod imitation;
mod lesson;

/// Tokens of a vocabulary made here that are not text.
const SPECIAL: [&str; 6] = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>"];
/// Expert episodes that a tokenizer is trained on.
const TOKENIZER_EPISODES: usize = 400;
/// Gradients of supervised training are clipped to this global norm.
const GRAD_CLIP: f64 = 1.0;

/// Keys that tell the random draws of this file apart.
const TOKENIZER: u64 = 101;
const WEIGHTS: u64 = 102;
const STAGES: u64 = 103;
const COPYING: u64 = 104;

/// A warm start that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WarmStartError {
    /// The tasks.
    #[error(transparent)]
    Tasks(#[from] TasksError),
    /// Prompts or tokens.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// Prompts.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The environment has no names of that kind.
    #[error("warm_start.whole_names: {0} has no names that could be tokens of their own; leave the key out")]
    NoNames(String),
    /// The expert's searches come to nothing.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Training does not go on.
    #[error(
        "stage {stage}, update {update}: {skipped} updates were skipped because their gradient or a log-probability was \
         not a finite number, more than optimizer.max_skipped = {most}: lower the stage's learning_rate"
    )]
    NotFinite {
        /// Stage, from 1.
        stage: usize,
        /// Update, from 1.
        update: u64,
        /// Updates skipped.
        skipped: usize,
        /// The number allowed.
        most: usize,
    },
}

/// A policy in supervised training, between two updates. Whoever writes it down shares it; what changes meanwhile is
/// copied.
#[derive(Clone, Debug)]
pub struct Pupil {
    /// The policy.
    pub model: Arc<Model>,
    /// The optimizer of the stage under way; none before the first update.
    pub optimizer: Option<Arc<AdamW>>,
    /// How far it is.
    pub standing: Standing,
}

impl Pupil {
    /// A policy before its first update.
    pub fn new(model: Model) -> Self {
        Pupil { model: Arc::new(model), optimizer: None, standing: Standing::default() }
    }
}

/// How far supervised training is, and what it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Updates done, of all stages.
    pub updates: u64,
    /// Updates skipped because they were not finite.
    pub skipped: usize,
    /// Prompts of this stage that were too long and lost some tokens.
    pub truncated_prompts: usize,
    /// Tokens that copying is practised with, where it is.
    #[serde(default)]
    pub alphabet: usize,
}

/// What an update came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Stage, from 0.
    pub stage: usize,
    /// Updates done in this stage.
    pub update: u64,
    /// Updates of this stage.
    pub updates: u64,
    /// Mean negative log-probability of the response tokens of the last update.
    pub loss: f64,
    /// Tokens trained on in the last update.
    pub tokens: usize,
    /// Prompts of this stage that were too long and lost some tokens.
    pub truncated_prompts: usize,
    /// Where copying is practised: with how many tokens, of how many. Few are left only when they are learnt.
    pub alphabet: Option<(usize, usize)>,
}

/// Trains a tokenizer on what is said in expert episodes.
///
/// # Errors
/// The tasks cannot be had, or the vocabulary is too small.
pub fn train_tokenizer(
    recipe: &Recipe,
    warm: &WarmStart,
    tasks: &Tasks,
) -> Result<Tokenizer, WarmStartError> {
    let p = &recipe.prompt;
    let prompts = Prompts::new(&recipe.environment.name, &p.templates, p.layout, recipe.policy.thinking)?;
    let episodes = tasks.training(&recipe.environment.split, 0, TOKENIZER_EPISODES)?;
    let texts: Vec<Vec<String>> = episodes
        .par_iter()
        .enumerate()
        .map(|(i, task)| {
            let slips = Slips { revisit: 0.2, wander: 0.1, invalid: 0.05, forget: 0.2 };
            let noise = Noise { slips, chance: 0.1, repeat: 0.0 };
            let keys = [recipe.seed, TOKENIZER, i as u64];
            let t = play(task, noise, recipe.environment.max_turns, keys)?.trajectory;
            let analysis = hindsight::read(&t, recipe.skill.max_step_skills).ok();
            let mut texts = Vec::new();
            for (i, turn) in t.turns.iter().enumerate() {
                let scene = Scene {
                    admissible: turn.admissible.as_deref().filter(|_| p.admissible),
                    episode_skill: analysis.as_ref().map(|a| a.episode_skill.as_str()),
                    step_skill: analysis.as_ref().and_then(|a| a.step_skills.get(&i)).map(String::as_str),
                    ..Scene::of(&t, i)
                };
                texts.push(prompts.message(scene, window(i, p.history))?.text());
                texts.push(turn.action.clone());
            }
            Ok(texts)
        })
        .collect::<Result<_, WarmStartError>>()?;
    let mut fixed: Vec<String> = tasks.source().phrases().iter().map(|p| p.to_string()).collect();
    fixed.extend(phrases::of(&recipe.environment.name).iter().map(|p| p.to_string()));
    let tags = Grammar::of(&recipe.environment.name).map_or(&[][..], Grammar::tags);
    let special = [&SPECIAL, tags].concat();
    // Tags are tokens of their own, wherever a text shows some.
    let plain = |text: String| tags.iter().fold(text, |text, tag| text.replace(tag, " "));
    let names = if warm.whole_names { tasks.source().names() } else { Vec::new() };
    if warm.whole_names && names.is_empty() {
        return Err(WarmStartError::NoNames(recipe.environment.name.clone()));
    }
    let vocabulary = Vocabulary {
        size: warm.vocab_size,
        phrases: &fixed,
        names: &names,
        special: &special,
        spaces: warm.spaces,
    };
    Ok(Tokenizer::train(texts.into_iter().flatten().map(plain), &vocabulary)?)
}

/// A new model with random weights for a vocabulary.
pub fn new_model(recipe: &Recipe, warm: &WarmStart, tokenizer: &Tokenizer, dialogue: &Dialogue) -> Model {
    let config = ModelConfig {
        family: Family::Qwen3,
        vocab_size: tokenizer.vocab_size(),
        hidden_size: warm.hidden_size,
        intermediate_size: warm.intermediate_size,
        num_layers: warm.layers,
        num_heads: warm.heads,
        num_kv_heads: warm.kv_heads,
        head_dim: warm.head_dim,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        max_position_embeddings: recipe.policy.max_context,
        eos_token_ids: vec![dialogue.end_token()],
    };
    let mut model = Model::random(config, |i| Draw::new(&[recipe.seed, WEIGHTS, i]).unit());
    model.precision = recipe.policy.precision;
    model
}

/// The chat template of models made here.
pub fn chat_template() -> ChatTemplate {
    ChatTemplate::compact()
}

/// How the optimizer of a stage is set.
pub(crate) fn optimizer() -> AdamWConfig {
    AdamWConfig { beta2: 0.99, ..AdamWConfig::default() }
}

/// Supervised training of a policy on expert episodes, stage after stage, from where it stands, unless `progress`
/// breaks it off.
///
/// # Errors
/// The tasks cannot be had, or a prompt or the tokenizer fails.
pub fn train(
    pupil: &mut Pupil,
    dialogue: &Dialogue,
    tasks: &Tasks,
    stages: &[Stage],
    recipe: &Recipe,
    progress: &mut dyn FnMut(Progress, &Pupil) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, WarmStartError> {
    let mut workspace = Workspace::new(&pupil.model).recomputing(recipe.optimizer.recompute);
    let mut grad = vec![0.0; pupil.model.len()];
    let (mut first, mut before) = (0, 0);
    for (number, stage) in stages.iter().enumerate() {
        let done = pupil.standing.updates.saturating_sub(before).min(stage.updates);
        before += stage.updates;
        first += done as usize * stage.tasks();
        if done == 0 {
            pupil.optimizer = None;
            pupil.standing.truncated_prompts = 0;
            pupil.standing.alphabet = copying::FEW.min(pupil.model.config.vocab_size);
        }
        for update in done..stage.updates {
            let Lesson { packs, weights } = match stage.copying {
                0 => {
                    let batch = tasks.training(&recipe.environment.split, first, stage.episodes)?;
                    let (lesson, truncated) = imitation::lesson(&batch, first, stage, dialogue, recipe)?;
                    pupil.standing.truncated_prompts += truncated;
                    first += stage.episodes;
                    lesson
                }
                length => {
                    let keys = [recipe.seed, COPYING, pupil.standing.updates];
                    let budget = recipe.optimizer.micro_batch_tokens;
                    copying::lesson(stage.episodes, length, pupil.standing.alphabet, budget, keys)
                }
            };
            let standing = &mut pupil.standing;
            let total: f64 = weights.iter().sum();
            grad.fill(0.0);
            let (mut loss, mut responses, mut tokens, mut finite) = (0.0, 0usize, 0, true);
            for p in &packs {
                let slope = |i: usize, _: TokenStats| TokenGrad {
                    logprob: (-weights[p.numbers[i]] / total) as f32,
                    entropy: 0.0,
                };
                let stats = workspace.forward_backward(&pupil.model, &p.batch, 1.0, &slope, &mut grad);
                finite &= stats.iter().all(TokenStats::is_finite);
                for (s, &n) in stats.iter().zip(&p.numbers).filter(|(_, n)| weights[**n] == 1.0) {
                    loss -= s.logprob as f64 * weights[n];
                    responses += 1;
                }
                tokens += p.batch.rows();
            }
            let norm = global_norm(&grad);
            let rise = ((update + 1) as f64 / (stage.warmup + 1) as f64).min(1.0);
            let fall = 1.0 - update as f64 / stage.updates as f64;
            let lr = stage.learning_rate * rise * fall;
            if finite && norm.is_finite() {
                let scale = (GRAD_CLIP / norm.max(1e-12)).min(1.0);
                let model = Arc::make_mut(&mut pupil.model);
                let new = || Arc::new(AdamW::new(model.len(), optimizer()));
                let optimizer = Arc::make_mut(pupil.optimizer.get_or_insert_with(new));
                optimizer.step(&mut model.weights, &grad, lr as f32, scale as f32);
            } else {
                standing.skipped += 1;
                let (skipped, most) = (standing.skipped, recipe.optimizer.max_skipped);
                if skipped > most {
                    return Err(WarmStartError::NotFinite {
                        stage: number + 1,
                        update: update + 1,
                        skipped,
                        most,
                    });
                }
            }
            let loss = loss / responses.max(1) as f64;
            let vocabulary = pupil.model.config.vocab_size;
            let alphabet = (stage.copying > 0).then(|| {
                standing.alphabet = copying::grown(standing.alphabet, loss, vocabulary);
                (standing.alphabet, vocabulary)
            });
            standing.updates += 1;
            let update = Progress {
                stage: number,
                update: update + 1,
                updates: stage.updates,
                loss,
                tokens,
                truncated_prompts: standing.truncated_prompts,
                alphabet,
            };
            let told = progress(update, pupil);
            if told.is_break() {
                return Ok(told);
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
