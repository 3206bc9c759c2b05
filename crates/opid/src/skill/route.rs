//! Which skill scores a step: the skill of the step, of the episode, or both.

use serde::{Deserialize, Serialize};

/// How the two sources share the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Critical-first routing of the paper: a step that has a skill of its own is scored with that
    /// alone, every other step with the skill of the episode.
    #[default]
    #[serde(alias = "step_priority")]
    CriticalFirst,
    /// Every step is scored with the skill of the episode, and a step with a skill of its own a second
    /// time with that (the paper's ablation without routing).
    Additive,
}

/// With which skills one step is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// With the skill of the episode.
    pub episode: bool,
    /// With the skill of the step.
    pub step: bool,
}

impl Routing {
    /// The route of one step.
    ///
    /// `step_skill` is the text of its skill, if it has one; blank texts count as none.
    /// `episode_enabled` and `step_enabled` say whether the sources have a positive weight.
    pub fn route(self, step_skill: Option<&str>, episode_enabled: bool, step_enabled: bool) -> Route {
        let step = step_enabled && step_skill.is_some_and(|skill| !skill.trim().is_empty());
        let episode = episode_enabled && (self == Routing::Additive || !step);
        Route { episode, step }
    }
}
