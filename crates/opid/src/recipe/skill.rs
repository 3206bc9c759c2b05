//! Skills: who writes them, when, where they are used, and what they weigh.

use serde::{Deserialize, Serialize};

use super::{AnalyzerName, OpenAi, SkillNoise, SkillPolicy};
use crate::algo::opid::SignalShaping;
use crate::skill::bank::{Bank, BankSettings};
use crate::skill::critical::Selector;
use crate::skill::route::Routing;
use crate::skill::schedule::SkillSchedule;

/// Skills and skill advantages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Skill {
    /// Who reads finished episodes: `hindsight` (built in, from the text alone), `openai` (a language
    /// model behind a chat endpoint), `policy` (the policy itself, or another local model), `replay` (a
    /// recording) or `bank` (nobody: the episode's skill is the bank's for its task). A warm start always uses
    /// `hindsight`.
    pub analyzer: AnalyzerName,
    /// Whose log-probabilities under a skill count: `policy` (the policy that sampled, as in the paper),
    /// `reference` (the policy that training started from: it does not drift) or `average` (the policy averaged
    /// over the training steps so far: it drifts slowly).
    pub teacher: Teacher,
    /// `average`: share of the average that stays at each training step; the policy after the step makes up the
    /// rest.
    pub teacher_decay: f64,
    /// Which skills a turn is re-scored under: `critical_first` (the step skill if there is one,
    /// otherwise the episode skill) or `additive` (both, separately).
    pub routing: Routing,
    /// Weight of the log-prob shift under the episode skill.
    pub episode_weight: f64,
    /// Weight of the log-prob shift under the step skill.
    pub step_weight: f64,
    /// Shifts are clipped to this many nats either way; 0 does not clip.
    pub clip: f64,
    /// Whether the shifts of a step are standardised before they are clipped.
    pub normalize: bool,
    /// Which steps may have a skill of their own: `analyzer` (those it writes one for, as in the paper) or
    /// `statistics` (of these only those where the returns of the group's episodes spread most).
    pub critical_steps: Selector,
    /// When skills are used, and for which episodes.
    pub schedule: SkillSchedule,
    /// Most step skills of one episode.
    pub max_step_skills: usize,
    /// The run stops when more than this share of a step's episodes could not be analyzed, or of the
    /// turns meant for a skill could not be scored under it.
    pub max_failures: f64,
    /// The run stops when less than this share of the turns that are to get skills were scored under one; 0
    /// never stops it.
    pub min_coverage: f64,
    /// The run stops when less than this share of the turns that are to get skills were scored under a skill of
    /// their own; 0 never stops it.
    pub min_step_coverage: f64,
    /// The run stops when skills make up less than this share of a step's `|A|` (`advantage` in its metrics); 0
    /// never stops it.
    pub min_advantage_share: f64,
    /// `replay`: a file that `opid analyze --record` wrote, or the folder of a run.
    pub replay: String,
    /// `bank`, and wherever a recipe has skills from a bank: which one.
    pub bank: BankSettings,
    /// Noise on the skills, whoever writes them.
    pub noise: SkillNoise,
    /// `openai`: the endpoint, its limits and prices.
    pub openai: OpenAi,
    /// `policy`: the model, and how it is asked.
    pub policy: SkillPolicy,
}

impl Skill {
    /// How shifts become the signal.
    pub fn shaping(&self) -> SignalShaping {
        SignalShaping { normalize: self.normalize, clip: (self.clip > 0.0).then_some(self.clip) }
    }
}

/// Where the skills in the policy's own history come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownSkills {
    /// There are none.
    #[default]
    None,
    /// The bank.
    Bank,
}

impl ShownSkills {
    /// The bank, if it is where the skills come from.
    pub fn of(self, bank: Option<&Bank>) -> Option<&Bank> {
        bank.filter(|_| self == ShownSkills::Bank)
    }
}

/// Who scores responses under a skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// The policy that sampled them, before the update.
    Policy,
    /// The policy that training started from.
    Reference,
    /// An exponential moving average of the policy over training steps.
    Average,
}
