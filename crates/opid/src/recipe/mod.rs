//! Recipes: everything that defines a run, in one TOML file.
//!
//! A recipe is read in two steps: what was said (a TOML table, with `--set` changes applied) and what
//! it resolves to ([`Recipe`], every key filled in). Keys that do not exist are refused with the
//! nearest one that does, and settings that cannot train are refused with the reason.

use std::path::PathBuf;

use opid_lm::checkpoint::StoredDtype;
use opid_lm::kernels::tile::Precision;
use opid_lm::optimizer::MomentFormat;
use opid_lm::tokenizer::Spaces;
use serde::{Deserialize, Serialize};

use crate::algo::Algorithm;
use crate::algo::group::GroupStatistics;
use crate::layout::{Layout, Truncation};
use crate::loss::aggregate::Aggregation;
use crate::loss::policy::Ratio;

mod analyzer;
mod defaults;
mod environment;
mod read;
mod skill;

pub use analyzer::{AnalyzerName, DEFAULT_BASE_URL, OpenAi, SkillNoise, SkillPolicy};
pub use environment::{DenseFiles, Environment, RetrievalServers, RetrieverName, Search, Shop};
pub(crate) use read::with_suggestion;
pub use skill::{ShownSkills, Skill, Teacher};

/// The recipe `opid train` uses when none is named.
pub const HOUSEHOLD: &str = include_str!("../../../../recipes/household.toml");

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, or a key or value is not one a recipe has.
    #[error("{origin}: {reason}")]
    Malformed {
        /// The file, or the option, the text came from.
        origin: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A setting that cannot work.
    #[error("recipe key {key}: {reason}")]
    Invalid {
        /// The key, dotted.
        key: &'static str,
        /// Why it cannot work and what to do.
        reason: String,
    },
}

/// Everything that defines a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Name of the run, and of its folder under `runs/`.
    pub name: String,
    /// Keys every random draw of the run.
    pub seed: u64,
    /// Number of training steps; 0 stops after the warm start.
    pub steps: u64,
    /// Where the agent acts.
    pub environment: Environment,
    /// The language model that is trained.
    pub policy: Policy,
    /// How the history is put into words.
    pub prompt: Prompt,
    /// How episodes are sampled.
    pub rollout: Rollout,
    /// What an episode is worth.
    pub reward: Reward,
    /// The method, by `name`, and its settings: see docs/algorithms.md.
    pub algorithm: Algorithm,
    /// How the episodes of a group are compared.
    pub advantage: Advantage,
    /// Skills, for methods with a teacher; and what they weigh under OPID.
    pub skill: Skill,
    /// The policy loss.
    pub loss: Loss,
    /// The parameter updates.
    pub optimizer: Optimizer,
    /// Evaluation before, during and after training.
    pub evaluation: Evaluation,
    /// What is kept on disk.
    pub checkpoint: Checkpoint,
    /// Other tools that show the run.
    pub log: Tracking,
    /// Makes the starting policy from expert episodes, when there is no pretrained one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<WarmStart>,
}

/// The language model that is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Hugging Face folder to start from; empty with a `[warm_start]`.
    pub model: String,
    /// Whether the model may think before it acts: the prompt asks for it, and an action counts as
    /// valid only after a `<think>` block.
    pub thinking: bool,
    /// Longest history in tokens; an episode that would pass it ends, and is counted.
    pub max_context: usize,
    /// How numbers enter matrix products: `f32`, or `bf16` (weights, keys and values rounded; sums, master
    /// weights and optimizer stay f32; half the memory traffic, and twice the arithmetic where the
    /// processor has fast bf16 instructions).
    pub precision: Precision,
    /// Number format of the checkpoints that are written: `f32` or `bf16`.
    pub save_dtype: StoredDtype,
}

/// How the history is put into words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prompt {
    /// `transcript` (an episode is one conversation that only grows) or `window` (every turn has a prompt
    /// of its own with the last few turns, as the reference; to compare with its models, or to train them
    /// on).
    pub layout: Layout,
    /// `compact` (few tokens, for policies made here), `full` (instructions, for pretrained models),
    /// or a folder with `episode_skill.jinja`, `step_skill.jinja` and, for a transcript, `task.jinja` and
    /// `turn.jinja`, for a window `window.jinja`.
    pub templates: String,
    /// Whether each turn lists the admissible commands.
    pub admissible: bool,
    /// `window`: how many earlier turns a prompt shows.
    pub history: usize,
    /// `window`: longest prompt in tokens.
    pub max_tokens: usize,
    /// `window`: what is left out of a longer one: its beginning (`left`), its end (`right`), its `middle`,
    /// or nothing, and the run stops (`error`). With a skill in it, the oldest turns are left out instead.
    pub truncation: Truncation,
}

/// How episodes are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// Tasks per training step.
    pub groups: usize,
    /// Episodes per task.
    pub group_size: usize,
    /// Sampling temperature; log-probabilities are taken at it everywhere.
    pub temperature: f32,
    /// Nucleus; 1 samples from the whole distribution.
    pub top_p: f32,
    /// Most likely tokens to sample from; 0 samples from all.
    pub top_k: usize,
    /// A response ends after this many tokens.
    pub max_response_tokens: usize,
    /// Most episodes sampled at the same time.
    pub concurrency: usize,
    /// Most episodes of a step, as a share, whose environment may fail (panic); they are dropped and counted. More
    /// stop the run.
    pub max_crashes: f64,
    /// Skills in the policy's own history while it trains: `none`, or `bank` (that of `skill.bank` for the
    /// task).
    pub skills: ShownSkills,
}

/// What an episode is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reward {
    /// Reward of a solved task (the reference uses 10).
    pub win: f64,
    /// Added for a score of 1 where an episode ends, and as much less for less: for environments that score what is not
    /// solved, such as WebShop. The reference has 0.
    pub score: f64,
    /// Taken from the score of every turn whose action is invalid.
    pub invalid_penalty: f64,
    /// What makes an action invalid: `format` (as the reference: the tags are missing) or `refused`
    /// (strict: that, or the environment does not admit the command).
    pub invalid_means: InvalidMeans,
}

/// What makes an action invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidMeans {
    /// The response lacks the required tags.
    Format,
    /// That, or the environment does not admit the command.
    Refused,
}

/// How the episodes of a group are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advantage {
    /// Whether the advantage is divided by the group's standard deviation.
    pub normalize_std: bool,
    /// Group statistics over each `trajectory` once (the paper) or over each `row`, that is turn (the
    /// reference: long episodes weigh more).
    pub statistics: GroupStatistics,
}

/// The policy loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// Weight of the clipped policy loss; 0 leaves distillation and KL alone.
    pub policy: f64,
    /// The ratio that is clipped: of each `token`, or of the whole response (`sequence`: the mean over its
    /// tokens).
    pub ratio: Ratio,
    /// How the losses of tokens are averaged: `token-mean`, `seq-mean-token-sum`, `seq-mean-token-mean` or
    /// `seq-mean-token-sum-norm`, where a sequence is a turn.
    pub aggregation: Aggregation,
    /// The ratio is clipped below at `1 - clip_low`.
    pub clip_low: f64,
    /// The ratio is clipped above at `1 + clip_high`.
    pub clip_high: f64,
    /// Bound of the loss, in units of `-advantage`, where the advantage is negative; 0 sets none.
    pub dual_clip: f64,
    /// Weight of the KL divergence (k3) to the reference: the policy that training started from.
    pub kl: f64,
    /// Weight of the entropy bonus.
    pub entropy: f64,
}

/// The parameter updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Training steps over which the learning rate rises to its peak.
    pub warmup_steps: u64,
    /// After the warm-up: `constant`, `linear` (to zero) or `cosine` (to zero).
    pub schedule: Schedule,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Format of AdamW's moments: `f32`, or `bf16` with stochastic rounding (4 bytes less per parameter).
    pub moments: MomentFormat,
    /// Global norm that gradients are clipped to.
    pub grad_clip: f64,
    /// Parameter updates per training step, each on a share of the groups.
    pub mini_batches: usize,
    /// Most updates of a run that may be skipped because their gradient is not finite; one more stops it. The same
    /// for its warm start.
    pub max_skipped: usize,
    /// Tokens computed at once; bounds the memory of activations.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes every layer again from its input instead of keeping its
    /// activations: about a fifth more time for a fraction of their memory, and the same result.
    pub recompute: bool,
}

/// How the learning rate changes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays at its peak.
    Constant,
    /// Falls to zero along a line.
    Linear,
    /// Falls to zero along half a cosine.
    Cosine,
}

/// Evaluation before, during and after training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Training steps between evaluations; 0 evaluates only before and after.
    pub every: u64,
    /// Split whose tasks are played.
    pub split: String,
    /// Number of tasks, from the start of the split; 0 plays all of a finite split.
    pub games: usize,
    /// Sampling temperatures; each is an evaluation of its own. 0 is greedy.
    pub temperatures: Vec<f32>,
    /// Skills in the policy's history, `none` or `bank`; each is an evaluation of its own.
    pub skills: Vec<ShownSkills>,
}

/// What is kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// Training steps between checkpoints; the last step always makes one. 0 makes no other.
    pub every: u64,
    /// Checkpoints kept; older ones are removed. 0 keeps all.
    pub keep: usize,
    /// Checkpoints kept besides because their evaluation (the first of the recipe's ways) was best; of equals the
    /// later. A step counts if it has a checkpoint and an evaluation: `every` and `evaluation.every`.
    pub keep_best: usize,
    /// Training steps between the steps whose trajectories are written; 0 writes none.
    pub trajectories_every: u64,
}

/// Other tools that show the run, besides `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracking {
    /// Whether event files for TensorBoard are written into `tensorboard/` of the run's folder.
    pub tensorboard: bool,
    /// URL of an MLflow tracking server; empty tells none. A token is taken from MLFLOW_TRACKING_TOKEN.
    pub mlflow: String,
    /// The experiment of that server which the run becomes part of.
    pub mlflow_experiment: String,
}

/// Makes a starting policy: a tokenizer and a small model, trained on expert episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmStart {
    /// Tokens of the vocabulary that is trained.
    pub vocab_size: usize,
    /// Where spaces go in it: `joined` to the word behind them (short texts; for environments with few names), or
    /// `apart` (a word has the same tokens wherever it stands; for environments whose names have no end).
    pub spaces: Spaces,
    /// Whether each of the names that the environment has in great but fixed number (in a shop the numbers of its
    /// products, such as `B09QQP3356`) is one token, learnt by heart, or spelt like any other word.
    pub whole_names: bool,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Training stages, one after the other.
    pub stages: Vec<Stage>,
    /// Tasks on which success with and without skills is compared afterwards; 0 skips that.
    pub probe_games: usize,
    /// Least gain in success (0 to 1) that a good episode skill must bring before training starts;
    /// 0 does not check.
    pub min_skill_gain: f64,
}

impl WarmStart {
    /// Number of tasks of the training split that the stages play.
    pub fn tasks(&self) -> usize {
        self.stages.iter().map(|stage| stage.updates as usize * stage.tasks()).sum()
    }
}

impl Stage {
    /// The fewest tokens that copying is practised with.
    pub const LEAST_COPYING: usize = 8;

    /// Number of tasks that an update plays.
    pub fn tasks(&self) -> usize {
        if self.copying == 0 { self.episodes } else { 0 }
    }
}

/// One stage of supervised training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stage {
    /// Parameter updates.
    pub updates: u64,
    /// Episodes per update, or other examples.
    pub episodes: usize,
    /// Above 0, the examples are no episodes: up to so many random tokens, and the same once more, to practise copying.
    pub copying: usize,
    /// Peak learning rate; rises over `warmup` updates, then falls to zero along a line.
    pub learning_rate: f64,
    /// Updates over which the learning rate rises.
    pub warmup: u64,
    /// Weight of the loss on the environment's tokens; the response's tokens weigh 1.
    pub observation_weight: f64,
    /// How the expert that plays the episodes is disturbed.
    pub noise: Noise,
    /// Whether disturbed commands are learnt, too, where no skill is in the history; if not, they only
    /// lead to states from which the right responses are learnt.
    pub imitate_noise: bool,
    /// Share of episodes whose history holds an episode skill; all their turns are answered as a
    /// faultless expert would.
    pub episode_skills: f64,
    /// Expected number of turns per plain episode that are also shown with a step skill and answered
    /// as it says.
    pub step_skills: f64,
}

/// How an expert is disturbed, each a probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// While searching: goes back to a place already seen.
    pub revisit: f64,
    /// While it knows what to do next: goes somewhere pointless.
    pub wander: f64,
    /// Says a command the environment does not accept.
    pub invalid: f64,
    /// Per episode: leaves out a required step until the end.
    pub forget: f64,
    /// Says any admissible command.
    pub chance: f64,
    /// Says a command again that was just refused.
    pub repeat: f64,
}

impl From<Noise> for crate::demonstration::Noise {
    fn from(n: Noise) -> Self {
        let slips = opid_env::environment::Slips {
            revisit: n.revisit,
            wander: n.wander,
            invalid: n.invalid,
            forget: n.forget,
        };
        Self { slips, chance: n.chance, repeat: n.repeat }
    }
}
