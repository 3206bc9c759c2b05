//! Who reads finished episodes and writes skills.

pub use super::hindsight::Analysis;
use super::hindsight::{self, HindsightError, Step};
use crate::recipe::{AnalyzerName, Skill};
use crate::trajectory::Trajectory;

/// An episode that could not be analyzed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzerError {
    /// The built-in analyzer.
    #[error(transparent)]
    Hindsight(#[from] HindsightError),
}

/// Writes skills from a finished episode.
pub trait Analyzer: Send + Sync {
    /// The skills of one episode.
    ///
    /// # Errors
    /// The episode cannot be analyzed; it then gets no skill advantage, and is counted.
    fn analyze(&self, trajectory: &Trajectory) -> Result<Analysis, AnalyzerError>;
}

/// The analyzer a recipe names.
pub fn open(skill: &Skill) -> Box<dyn Analyzer> {
    match skill.analyzer {
        AnalyzerName::Hindsight => Box::new(Hindsight { most: skill.max_step_skills }),
    }
}

/// The built-in analyzer.
struct Hindsight {
    /// Most step skills of an episode.
    most: usize,
}

impl Analyzer for Hindsight {
    fn analyze(&self, t: &Trajectory) -> Result<Analysis, AnalyzerError> {
        let step = |(i, turn): (usize, &crate::trajectory::Turn)| Step {
            before: turn.observation.clone(),
            action: turn.action.clone(),
            after: t.answer(i).to_owned(),
        };
        let steps: Vec<Step> = t.turns.iter().enumerate().map(step).collect();
        Ok(hindsight::analyze(&t.goal, t.won, &steps, self.most)?)
    }
}
