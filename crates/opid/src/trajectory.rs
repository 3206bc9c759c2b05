//! The record of an episode: what the rollout makes, the analyzer reads, the algorithm weighs, the
//! trainer learns from and the disk keeps.

use opid_env::environment::Task;
use serde::{Deserialize, Serialize};

use crate::layout::Layout;

/// One turn: a message, the response sampled after it, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// What the environment said before the response.
    pub observation: String,
    /// Commands the environment admitted, if the message listed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admissible: Option<Vec<String>>,
    /// In a transcript the tokens between the previous response (or the start) and this response; in a
    /// window all tokens that the policy saw before it.
    pub prompt: Vec<u32>,
    /// Tokens left out of the prompt, because it was too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: usize,
    /// Window only: tokens of the prompt that were not computed again, because the prompt of the turn
    /// before begins alike.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached: usize,
    /// The sampled tokens.
    pub response: Vec<u32>,
    /// Log-probability of each sampled token when it was sampled, at the rollout's temperature.
    pub logprobs: Vec<f32>,
    /// The response as text.
    pub text: String,
    /// The command sent to the environment.
    pub action: String,
    /// Whether the action counts as valid.
    pub valid: bool,
    /// Whether what it searched for could not be looked up, because the retriever failed: the answer is an error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lookup_failed: bool,
    /// Whether the response ends with the end-of-turn token (it was not cut off).
    pub ended: bool,
}

/// Whether a count is left unsaid in records.
pub(crate) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Whether a flag is left unsaid in records.
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Turn {
    /// A turn without a response yet.
    pub fn open(observation: String, admissible: Option<Vec<String>>, prompt: Vec<u32>) -> Turn {
        Turn {
            observation,
            admissible,
            prompt,
            cut: 0,
            cached: 0,
            response: Vec::new(),
            logprobs: Vec::new(),
            text: String::new(),
            action: String::new(),
            valid: false,
            lookup_failed: false,
            ended: false,
        }
    }
}

/// Why an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The environment said so.
    Done,
    /// The limit of turns was reached.
    TurnLimit,
    /// The limit of the history's length was reached.
    ContextLimit,
    /// The environment panicked; what it said is the last observation.
    Crashed,
}

/// A finished episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Number of the task group within the training step.
    pub group: usize,
    /// Number of the episode within its group.
    pub member: usize,
    /// The task's name.
    pub task: String,
    /// The kind of task.
    pub kind: String,
    /// What the agent was asked to do.
    pub goal: String,
    /// How the history was laid out for the policy.
    #[serde(default, skip_serializing_if = "Layout::is_transcript")]
    pub layout: Layout,
    /// The turns, in order.
    pub turns: Vec<Turn>,
    /// What the environment said last.
    pub last_observation: String,
    /// Whether the task was solved.
    pub won: bool,
    /// The environment's own score at the end, 0 to 1: how much of the task was done.
    #[serde(default)]
    pub score: f64,
    /// The episode's reward (without penalties).
    pub reward: f64,
    /// Why it ended.
    pub ending: Ending,
}

impl Trajectory {
    /// The record of an episode of `task` that is about to begin.
    pub fn begin(task: &dyn Task, group: usize, member: usize, layout: Layout) -> Self {
        Trajectory {
            group,
            member,
            task: task.id().to_owned(),
            kind: task.kind().to_owned(),
            goal: task.goal().to_owned(),
            layout,
            turns: Vec::new(),
            last_observation: String::new(),
            won: false,
            score: 0.0,
            reward: 0.0,
            ending: Ending::TurnLimit,
        }
    }

    /// What the environment answered to the action of turn `t`.
    pub fn answer(&self, t: usize) -> &str {
        self.turns.get(t + 1).map_or(&self.last_observation, |next| &next.observation)
    }

    /// Whether any search failed because of the retriever.
    pub fn lookup_failed(&self) -> bool {
        self.turns.iter().any(|turn| turn.lookup_failed)
    }

    /// Number of sampled tokens.
    pub fn response_tokens(&self) -> usize {
        self.turns.iter().map(|t| t.response.len()).sum()
    }

    /// Number of all tokens of the episode: of the conversation, or of all prompts and responses.
    pub fn tokens(&self) -> usize {
        self.turns.iter().map(|t| t.prompt.len() + t.response.len()).sum()
    }

    /// For every turn, the number of tokens the policy has seen at its end.
    pub fn contexts(&self) -> impl Iterator<Item = usize> {
        let mut seen = 0;
        self.turns.iter().map(move |turn| {
            let own = turn.prompt.len() + turn.response.len();
            seen = own + if self.layout.is_transcript() { seen } else { 0 };
            seen
        })
    }
}
