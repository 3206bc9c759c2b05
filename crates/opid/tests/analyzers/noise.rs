//! Noise on the skills of an analyzer that always has some.

use std::collections::BTreeMap;

use opid::recipe::SkillNoise;
use opid::skill::analyzer::{Analyses, Analysis, Analyzer, AnalyzerError, StepContext, StopError, Usage};
use opid::skill::noisy::Noisy;
use opid::skill::reply::ReplyError;
use opid::trajectory::Trajectory;

use crate::{all, episodes};

/// Gives every episode skills of its own, and fails on the last.
struct Named;

impl Analyzer for Named {
    fn analyze(&self, _: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError> {
        let last = trajectories.len() - 1;
        let result = |i: usize| {
            if i == last {
                return Err(AnalyzerError::Reply(ReplyError::NoObject));
            }
            let step_skills = (0..2).map(|turn| (turn, format!("step {i} {turn} one two three"))).collect();
            Ok(Analysis { summary: "s".into(), episode_skill: format!("episode {i} a b c d"), step_skills })
        };
        Ok(Analyses { results: (0..=last).map(result).collect(), usage: Usage::default() })
    }
}

const N: usize = 401;

fn run(noise: SkillNoise, seed: u64, step: u64) -> (Vec<Option<Analysis>>, Usage) {
    let Analyses { results, usage } = Noisy::new(Box::new(Named), noise, seed)
        .analyze(StepContext::stored(step), &all(&episodes(N)))
        .expect("skills");
    assert!(results[N - 1].is_err(), "failures stay failures");
    (results.into_iter().map(Result::ok).collect(), usage)
}

/// All skills with their places.
fn skills(analyses: &[Option<Analysis>]) -> BTreeMap<(usize, Option<usize>), String> {
    let mut skills = BTreeMap::new();
    for (i, analysis) in analyses.iter().enumerate() {
        let Some(analysis) = analysis else { continue };
        skills.insert((i, None), analysis.episode_skill.clone());
        skills.extend(analysis.step_skills.iter().map(|(turn, skill)| ((i, Some(*turn)), skill.clone())));
    }
    skills.retain(|_, skill| !skill.is_empty());
    skills
}

fn share(count: usize) -> f64 {
    count as f64 / (3 * (N - 1)) as f64
}

#[test]
fn every_kind_of_noise_hits_its_share() {
    let plain = skills(&run(SkillNoise::default(), 1, 1).0);
    let mixed = SkillNoise { drop: 0.2, shuffle: 0.3, corrupt: 0.1 };
    let (analyses, usage) = run(mixed, 1, 1);
    for (count, expected) in [(usage.dropped, 0.2), (usage.shuffled, 0.3), (usage.corrupted, 0.1)] {
        assert!((share(count) - expected).abs() < 0.05, "{usage:?}");
    }
    let found = skills(&analyses);
    assert_eq!(plain.len() - found.len(), usage.dropped);
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.sort();
        words
    };
    let (mut moved, mut kept) = (0, 0);
    for (place, skill) in &found {
        match skill {
            skill if *skill == plain[place] => kept += 1,
            skill if sorted(skill) == sorted(&plain[place]) => {}
            skill => {
                moved += 1;
                let origin = plain.iter().find(|(_, text)| *text == skill).expect("a skill of the step").0;
                assert_eq!(origin.1.is_some(), place.1.is_some(), "skills move within their kind");
            }
        }
    }
    assert_eq!(moved, usage.shuffled, "every exchanged skill is at a new place");
    assert!((share(kept) - 0.4).abs() < 0.06, "{kept}");
}

#[test]
fn noise_is_fixed_by_seed_and_step() {
    let noise = SkillNoise { drop: 0.2, shuffle: 0.3, corrupt: 0.1 };
    assert_eq!(run(noise, 1, 1).0, run(noise, 1, 1).0);
    assert_ne!(run(noise, 1, 1).0, run(noise, 2, 1).0);
    assert_ne!(run(noise, 1, 1).0, run(noise, 1, 2).0);
    let (analyses, usage) = run(SkillNoise { drop: 1.0, ..SkillNoise::default() }, 1, 1);
    assert!(skills(&analyses).is_empty() && usage.dropped == 3 * (N - 1));
}
