//! What every environment offers: tasks that start episodes, and experts that solve them.

use std::any::Any;
use std::sync::Arc;

use crate::retrieval::{Found, Retriever};

/// One problem an agent can be given, parsed once and shared by every episode of it.
pub trait Task: Send + Sync {
    /// A stable name, unique within its split.
    fn id(&self) -> &str;
    /// The kind of task, by which success is reported (for example `pick_and_place_simple`).
    fn kind(&self) -> &str;
    /// What the agent is asked to do, as one line of text.
    fn goal(&self) -> &str;
    /// Begins a new episode at the initial state.
    fn start(self: Arc<Self>) -> Box<dyn Episode>;
}

/// What one action led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The environment's answer, as text.
    pub observation: String,
    /// The environment's own score after the action.
    pub score: f32,
    /// Whether the task is solved in the present state.
    pub won: bool,
    /// Whether the episode has ended.
    pub done: bool,
}

/// What an action needs to have looked up before its step, by somebody whom other episodes ask as well.
pub struct Lookup {
    /// Who is asked.
    pub retriever: Arc<dyn Retriever>,
    /// What for.
    pub query: String,
    /// Passages wanted at the most.
    pub most: usize,
}

impl Lookup {
    /// Asks for this one alone.
    pub fn find(self) -> Found {
        self.retriever.retrieve(&[self.query], self.most).pop().unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// A running episode: a plain state machine, with no threads and no locks.
pub trait Episode: Send {
    /// The text of the initial state or of the last step.
    fn observation(&self) -> &str;
    /// Commands the environment accepts now, in the environment's own order.
    fn admissible(&self) -> Vec<String>;
    /// Whether the environment accepts an action now: one of the admissible commands, or one that fits the pattern of
    /// one, where commands hold words of the agent's own.
    fn admits(&self, action: &str) -> bool {
        self.admissible().iter().any(|command| command == action)
    }
    /// An admissible command, spelt as the observation spells what it names; experts and noise say commands that way, for
    /// a name can be copied from where it was read only as it stands there.
    fn as_shown(&self, command: &str) -> String {
        command.to_owned()
    }
    /// What the step of an action would look up. Whoever runs many episodes may look up all of theirs together, and
    /// [`supply`](Self::supply) each with its own before its step; a step without does so itself.
    fn lookup(&self, _action: &str) -> Option<Lookup> {
        None
    }
    /// What was found for the lookup of the next step.
    fn supply(&mut self, _found: Found) {}
    /// Applies an action; an action that is not admissible changes nothing but is answered.
    fn step(&mut self, action: &str) -> Step;
    /// An expert that starts at the present state and has seen only what the agent has been shown.
    ///
    /// `seed` keys every random choice of the expert; `slips` says how often it errs.
    fn expert(&self, seed: u64, slips: Slips) -> Box<dyn Expert>;
    /// A copy that continues independently.
    fn fork(&self) -> Box<dyn Episode>;
    /// The episode itself, for an expert that needs more of it than this trait offers.
    fn as_any(&self) -> &dyn Any;
}

/// How often an expert errs, each a probability in `[0, 1]`; all zero is a faultless expert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slips {
    /// While searching: goes back to a place already seen.
    pub revisit: f64,
    /// While it knows what to do next: goes somewhere pointless instead.
    pub wander: f64,
    /// Says a command the environment does not accept.
    pub invalid: f64,
    /// Per episode: leaves out a required step (for example cleaning) until the end.
    pub forget: f64,
}

/// A policy that is not a language model.
pub trait Expert: Send {
    /// The next action in the present state of `episode`, which must be the episode it was made for,
    /// advanced by any actions (its own or others').
    fn act(&mut self, episode: &dyn Episode) -> String;
    /// What the last action goes by, in words that were shown; nothing where it goes by none, or is a slip. A policy that
    /// thinks aloud learns to say it first.
    fn reason(&self) -> &str {
        ""
    }
}
