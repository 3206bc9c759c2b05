//! Runs whose skills come and go with the schedule.

use opid::layout::Layout;
use opid::train::{Event, train};

use crate::micro::saved;

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
        }
    };
    train(&recipe, &place.path().join("run"), &mut observe).expect("a run");
    assert_eq!(seen, [(false, 0, false), (true, 6, true), (false, 0, false)]);
}
