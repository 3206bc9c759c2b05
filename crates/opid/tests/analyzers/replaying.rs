//! The `replay` analyzer on files made by hand.

use std::io::Write;
use std::sync::Arc;

use opid::recipe::{AnalyzerName, Recipe};
use opid::skill::analyzer::{self, Analysis, StepContext};
use opid::skill::replay::Recorded;
use opid::trajectory::Trajectory;
use opid_lm::storage::Disk;

use crate::{all, episode, episodes};

fn analysis(skill: &str) -> Analysis {
    let step_skills = [(1, format!("{skill} now"))].into();
    Analysis { summary: String::new(), episode_skill: skill.into(), step_skills }
}

fn recipe(path: &std::path::Path) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.skill.analyzer = AnalyzerName::Replay;
    recipe.skill.replay = path.display().to_string();
    recipe
}

/// What the recording with these lines gives for episodes of step 7.
fn replayed(lines: &[String], played: &[Trajectory]) -> Vec<Result<String, String>> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.join("\n").as_bytes()).expect("a file");
    let analyzer = analyzer::open(&recipe(file.path()), None, Arc::new(Disk)).expect("a recording");
    let results = analyzer.analyze(StepContext::stored(7), &all(played)).expect("no reason to stop").results;
    let skill = |r: Result<Analysis, analyzer::AnalyzerError>| match r {
        Ok(analysis) => Ok(analysis.episode_skill),
        Err(error) => Err(format!("{}: {error}", error.cause())),
    };
    results.into_iter().map(skill).collect()
}

#[test]
fn skills_go_to_the_episodes_they_were_recorded_for() {
    let played = episodes(4);
    let line = |r: &Recorded| serde_json::to_string(r).expect("JSON");
    let mut recorded: Vec<Recorded> = played
        .iter()
        .enumerate()
        .rev()
        .map(|(i, t)| Recorded::new(7, t, (i != 2).then(|| analysis(&format!("skill {i}"))).as_ref()))
        .collect();
    recorded.retain(|r| (r.group, r.member) != (1, 1));
    let lines: Vec<String> = recorded.iter().map(line).collect();
    let results = replayed(&lines, &played);
    assert_eq!(results[..2], [Ok("skill 0".to_owned()), Ok("skill 1".to_owned())]);
    assert!(results[2].as_ref().is_err_and(|e| e.starts_with("recorded_failure: ")), "{results:?}");
    let missing = results[3].as_ref().expect_err("a failure");
    for part in ["not_recorded: ", "episode 1 of group 1 in step 7", "task-1"] {
        assert!(missing.contains(part), "{missing}");
    }
    // Another episode took the place; without a fingerprint its task is enough.
    let changed = [episode(0, 0, "other")];
    let results = replayed(&lines, &changed);
    assert!(results[0].as_ref().is_err_and(|e| e.starts_with("other_episode: ")), "{results:?}");
    recorded.iter_mut().for_each(|r| r.episode = None);
    let lines: Vec<String> = recorded.iter().map(line).collect();
    assert_eq!(replayed(&lines, &changed), [Ok("skill 0".to_owned())]);
}

#[test]
fn what_is_no_recording_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "\n{\"step\": 1}\n").expect("a file");
    for (path, says) in [
        (folder.path().join("none.jsonl"), "cannot read the recorded skills in"),
        (broken, "line 2: missing field"),
        (folder.path().to_owned(), "trajectories"),
    ] {
        let error = analyzer::open(&recipe(&path), None, Arc::new(Disk)).err().expect("an error").to_string();
        assert!(error.contains(says), "{error}");
    }
}
