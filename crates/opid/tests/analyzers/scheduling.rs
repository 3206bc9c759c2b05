//! When an analyzer is asked, and about which episodes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use opid::skill::analyzer::{Analyses, Analysis, Analyzer, StepContext, StopError, Usage};
use opid::skill::schedule::SkillSchedule;
use opid::trajectory::Trajectory;

use crate::episodes;

/// Remembers which episodes it was asked about, call by call.
#[derive(Default)]
struct Counting {
    calls: Mutex<Vec<Vec<(usize, usize)>>>,
}

impl Analyzer for Counting {
    fn analyze(&self, _: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError> {
        let asked = trajectories.iter().map(|t| (t.group, t.member)).collect();
        self.calls.lock().expect("no panic").push(asked);
        let skills = |t: &&Trajectory| Analysis {
            summary: String::new(),
            episode_skill: format!("{} {}", t.group, t.member),
            step_skills: BTreeMap::new(),
        };
        Ok(Analyses {
            results: trajectories.iter().map(|t| Ok(skills(t))).collect(),
            usage: Usage::default(),
        })
    }
}

/// The episodes of each call, and for every episode its skill, if it has one.
type Asked = (Vec<Vec<(usize, usize)>>, Vec<Option<String>>);

fn ask(schedule: SkillSchedule, step: u64, trajectories: &[Trajectory]) -> Asked {
    let analyzer = Counting::default();
    let scheduled = schedule.analyze(&analyzer, StepContext::stored(step), trajectories).expect("skills");
    let skill = |result: Option<Result<Analysis, _>>| result.map(|r| r.expect("an analysis").episode_skill);
    let skills = scheduled.results.into_iter().map(skill).collect();
    (analyzer.calls.into_inner().expect("no panic"), skills)
}

#[test]
fn an_analyzer_is_asked_at_scheduled_steps_only() {
    let schedule = SkillSchedule { start_step: 3, stop_step: 4, only_failed: false };
    let calls: Vec<usize> = (1..=6).map(|step| ask(schedule, step, &episodes(4)).0.len()).collect();
    assert_eq!(calls, [0, 0, 1, 1, 0, 0]);
    let (_, skills) = ask(schedule, 2, &episodes(4));
    assert_eq!(skills, [None, None, None, None]);
    let endless = SkillSchedule { start_step: 2, ..SkillSchedule::default() };
    assert!(!endless.is_on(1) && endless.is_on(2) && endless.is_on(u64::MAX));
}

#[test]
fn won_episodes_are_not_shown_where_only_failed_ones_get_skills() {
    let schedule = SkillSchedule { only_failed: true, ..SkillSchedule::default() };
    let mut episodes = episodes(4);
    episodes[0].won = true;
    episodes[2].won = true;
    let (calls, skills) = ask(schedule, 1, &episodes);
    assert_eq!(calls, [[(0, 1), (1, 1)]]);
    assert_eq!(skills, [None, Some("0 1".into()), None, Some("1 1".into())]);
    for episode in &mut episodes {
        episode.won = true;
    }
    let (calls, skills) = ask(schedule, 1, &episodes);
    assert!(calls.is_empty() && skills == [None, None, None, None]);
}
