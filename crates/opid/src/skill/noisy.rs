//! Noise on skills: how much does the method depend on its analyzer?
//!
//! Every skill of a step, of episodes and of steps alike, meets one fate, drawn by its place: it is dropped,
//! exchanged with skills of the same kind from elsewhere in the step, or its words are put in random order.

use opid_env::random::Draw;

use super::analyzer::{Analyses, Analysis, Analyzer, StepContext, StopError};
use crate::interrupt::Interrupt;
use crate::recipe::SkillNoise;
use crate::trajectory::Trajectory;

/// Keys that tell the random draws of this file apart.
const FATE: u64 = 301;
const ORDER: u64 = 302;
const WORDS: u64 = 303;

/// An analyzer whose skills are disturbed.
pub struct Noisy {
    inner: Box<dyn Analyzer>,
    noise: SkillNoise,
    seed: u64,
}

/// Where a skill belongs: an episode, and a step of it or the whole.
type Place = (usize, Option<usize>);

/// What becomes of a skill.
enum Fate {
    Kept,
    Dropped,
    Shuffled,
    Corrupted,
}

impl Noisy {
    /// Disturbs the skills of `inner`.
    pub fn new(inner: Box<dyn Analyzer>, noise: SkillNoise, seed: u64) -> Self {
        Noisy { inner, noise, seed }
    }

    /// Draws for a skill; `episode` is its number within the step.
    fn draw(&self, purpose: u64, step: u64, (episode, turn): Place) -> Draw {
        Draw::new(&[self.seed, purpose, step, episode as u64, turn.map_or(0, |t| t as u64 + 1)])
    }

    fn fate(&self, step: u64, place: Place) -> Fate {
        let (n, at) = (&self.noise, self.draw(FATE, step, place).unit());
        match at {
            at if at < n.drop => Fate::Dropped,
            at if at < n.drop + n.shuffle => Fate::Shuffled,
            at if at < n.drop + n.shuffle + n.corrupt => Fate::Corrupted,
            _ => Fate::Kept,
        }
    }
}

impl Analyzer for Noisy {
    fn heed(&mut self, interrupt: &Interrupt) {
        self.inner.heed(interrupt);
    }

    fn prefetch(&self, trajectory: &Trajectory) -> Result<(), StopError> {
        self.inner.prefetch(trajectory)
    }

    fn analyze(&self, context: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError> {
        let Analyses { mut results, mut usage } = self.inner.analyze(context, trajectories)?;
        let step = context.step;
        let mut episodes: Vec<Option<&mut Analysis>> = results.iter_mut().map(|r| r.as_mut().ok()).collect();
        let mut places: Vec<Place> = Vec::new();
        for (i, analysis) in episodes.iter().enumerate() {
            let Some(analysis) = analysis else { continue };
            places.push((i, None));
            places.extend(analysis.step_skills.keys().map(|&turn| (i, Some(turn))));
        }
        let mut exchanged: [Vec<Place>; 2] = Default::default();
        for place @ (episode, turn) in places {
            let Some(analysis) = &mut episodes[episode] else { continue };
            match self.fate(step, place) {
                Fate::Kept => {}
                Fate::Shuffled => exchanged[usize::from(turn.is_some())].push(place),
                Fate::Dropped => {
                    usage.dropped += 1;
                    match turn {
                        None => analysis.episode_skill.clear(),
                        Some(turn) => drop(analysis.step_skills.remove(&turn)),
                    }
                }
                Fate::Corrupted => {
                    usage.corrupted += 1;
                    if let Some(skill) = skill(analysis, turn) {
                        let mut words: Vec<&str> = skill.split_whitespace().collect();
                        self.draw(WORDS, step, place).shuffle(&mut words);
                        *skill = words.join(" ");
                    }
                }
            }
        }
        for (kind, mut places) in exchanged.into_iter().enumerate() {
            // In a random ring every skill moves on to the next place; a lone one has nowhere to go.
            if places.len() < 2 {
                continue;
            }
            usage.shuffled += places.len();
            Draw::new(&[self.seed, ORDER, step, kind as u64]).shuffle(&mut places);
            let mut text = |(episode, turn): Place| {
                episodes[episode]
                    .as_mut()
                    .and_then(|a| skill(a, turn))
                    .map(std::mem::take)
                    .unwrap_or_default()
            };
            let texts: Vec<String> = places.iter().map(|&place| text(place)).collect();
            let next = places.iter().cycle().skip(1);
            for (text, &(episode, turn)) in texts.into_iter().zip(next) {
                if let Some(place) = episodes[episode].as_mut().and_then(|a| skill(a, turn)) {
                    *place = text;
                }
            }
        }
        Ok(Analyses { results, usage })
    }
}

/// The skill at a place.
fn skill(analysis: &mut Analysis, turn: Option<usize>) -> Option<&mut String> {
    match turn {
        None => Some(&mut analysis.episode_skill),
        Some(turn) => analysis.step_skills.get_mut(&turn),
    }
}
