//! Runs whose skills come and go with the schedule.

use opid::layout::Layout;
use opid::train::{Control, Event, train};

use crate::micro::saved;

#[test]
fn a_run_without_skills_stops_and_says_so() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = saved(Layout::Transcript, &place.path().join("start"));
    recipe.skill.noise.drop = 1.0;
    let run = place.path().join("run");
    let error = train(&recipe, &run, &Control::default(), &mut |_| ()).expect_err("no skills").to_string();
    assert!(error.contains("step 1: 0 of ") && error.contains("skill.min_coverage = 0.01"), "{error}");
    assert!(run.join("checkpoints/step_0/manifest.json").exists());
}

#[test]
fn a_run_whose_skills_hardly_count_stops_and_says_so() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = saved(Layout::Transcript, &place.path().join("start"));
    recipe.skill.min_step_coverage = 1.0;
    let error = train(&recipe, &place.path().join("steps"), &Control::default(), &mut |_| ())
        .expect_err("too few")
        .to_string();
    assert!(error.contains("a skill of their own") && error.contains("min_step_coverage = 1"), "{error}");
    recipe.skill.min_step_coverage = 0.0;
    recipe.skill.min_advantage_share = 1.0;
    let error = train(&recipe, &place.path().join("share"), &Control::default(), &mut |_| ())
        .expect_err("too little")
        .to_string();
    assert!(error.contains("skills make up 0.") && error.contains("min_advantage_share = 1"), "{error}");
}

#[test]
fn metrics_say_whether_skills_were_scheduled() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = saved(Layout::Transcript, &place.path().join("start"));
    recipe.steps = 3;
    recipe.skill.schedule.start_step = 2;
    recipe.skill.schedule.stop_step = 2;
    let mut seen = Vec::new();
    let mut observe = |event: Event<'_>| {
        if let Event::Step(metrics, _) = event {
            let skills = metrics.skills.as_ref().expect("OPID says what became of skills");
            let share = metrics.advantage.episode_skill_share + metrics.advantage.step_skill_share;
            seen.push((skills.scheduled, skills.analyzed, share > 0.0));
            assert_eq!(skills.covered, skills.entitled);
            let coverage = skills.episode_coverage + skills.step_coverage;
            assert!(!skills.scheduled || (coverage - 1.0).abs() < 1e-12, "every turn has one skill");
            let shifts = [skills.episode_shifts, skills.step_shifts].map(|s| s.tokens).iter().sum::<usize>();
            assert_eq!(shifts, if skills.scheduled { metrics.response_tokens } else { 0 });
            assert!((0.0..=1.0).contains(&skills.agreement));
        }
    };
    train(&recipe, &place.path().join("run"), &Control::default(), &mut observe).expect("a run");
    assert_eq!(seen, [(false, 0, false), (true, 6, true), (false, 0, false)]);
}
