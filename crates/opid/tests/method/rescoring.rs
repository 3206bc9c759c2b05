//! Re-scoring under skills gives what separate sequences with the skill in their history give.

use std::collections::BTreeMap;

use opid::dialogue::Dialogue;
use opid::packing::{Row, rows};
use opid::prompt::Scene;
use opid::rollout::Settings;
use opid::skill::analyzer::Analysis;
use opid::skill::rescore::{Rescorer, SkillScores};
use opid::skill::route::{Route, Routing};
use opid::trajectory::Trajectory;
use opid_lm::graph::Workspace;

use crate::micro::{alone, episodes, policy, recipe};

/// Skills of the first, second and last turn of every episode but one, which has no analysis.
fn analyses(trajectories: &[Trajectory]) -> Vec<Option<Analysis>> {
    let analysis = |(i, t): (usize, &Trajectory)| {
        let step_skills: BTreeMap<usize, String> = [(0, "do: look"), (1, "do: inventory")]
            .into_iter()
            .chain([(t.turns.len() - 1, "do: go to shelf 1")])
            .map(|(turn, skill)| (turn, skill.to_owned()))
            .collect();
        let episode_skill = format!("plan: look in new places for the {}", t.goal);
        (i != 2).then(|| Analysis { summary: String::new(), episode_skill, step_skills })
    };
    trajectories.iter().enumerate().map(analysis).collect()
}

fn routes(routing: Routing, rows: &[Row], analyses: &[Option<Analysis>]) -> Vec<Route> {
    let route = |row: &Row| match &analyses[row.trajectory] {
        None => Route::default(),
        Some(a) => routing.route(a.step_skills.get(&row.turn).map(String::as_str), true, true),
    };
    rows.iter().map(route).collect()
}

fn rescore(
    trajectories: &[Trajectory],
    analyses: &[Option<Analysis>],
    routes: &[Route],
    max_context: usize,
) -> SkillScores {
    let (recipe, policy) = (recipe(), policy());
    let rescorer = Rescorer {
        model: &policy.model,
        dialogue: &policy.dialogue,
        temperature: recipe.rollout.temperature,
        max_context,
        micro_batch_tokens: recipe.optimizer.micro_batch_tokens,
        plain: true,
    };
    let mut workspace = Workspace::new(&policy.model);
    let rows = rows(trajectories);
    rescorer.score(&mut workspace, trajectories, &rows, analyses, routes).expect("scores")
}

fn scene(t: &Trajectory, turn: usize) -> Scene<'_> {
    Scene { observation: &t.turns[turn].observation, ..Scene::default() }
}

/// All tokens before turn `i`, the first message given.
fn history(t: &Trajectory, i: usize, opening: &[u32]) -> Vec<u32> {
    let mut tokens = opening.to_vec();
    for (n, turn) in t.turns[..i].iter().enumerate() {
        if n > 0 {
            tokens.extend(&turn.prompt);
        }
        tokens.extend(&turn.response);
    }
    tokens
}

/// Everything the policy would have read before turn `i`, had its episode skill stood in the task.
fn under_episode_skill(dialogue: &Dialogue, t: &Trajectory, i: usize, skill: &str) -> Vec<u32> {
    let opening = dialogue.opening(Scene { episode_skill: Some(skill), ..scene(t, 0) }).expect("tokens");
    let mut tokens = history(t, i, &opening);
    if i > 0 {
        tokens.extend(&t.turns[i].prompt);
    }
    tokens
}

/// The same with the skill of turn `i` in its own message alone.
fn under_step_skill(dialogue: &Dialogue, t: &Trajectory, i: usize, skill: &str) -> Vec<u32> {
    let scene = Scene { step_skill: Some(skill), ..scene(t, i) };
    if i == 0 {
        return dialogue.opening(scene).expect("tokens");
    }
    let mut tokens = history(t, i, &t.turns[0].prompt);
    tokens.extend(dialogue.continuation(scene, t.turns[i - 1].ended).expect("tokens"));
    tokens
}

/// The context of a row under each skill it is routed to: episode, step.
fn contexts(t: &Trajectory, turn: usize, analysis: &Analysis, route: Route) -> [Option<Vec<u32>>; 2] {
    let dialogue = &policy().dialogue;
    let episode = || under_episode_skill(dialogue, t, turn, &analysis.episode_skill);
    let step = || under_step_skill(dialogue, t, turn, &analysis.step_skills[&turn]);
    [route.episode.then(episode), route.step.then(step)]
}

/// Compares every row with its own sequence; rows whose sequence is longer than `limit` must be left
/// out and counted. Returns how many were scored under each skill.
fn check(trajectories: &[Trajectory], routing: Routing, limit: usize) -> ([usize; 2], SkillScores) {
    let (rows, analyses) = (rows(trajectories), analyses(trajectories));
    let routes = routes(routing, &rows, &analyses);
    let scores = rescore(trajectories, &analyses, &routes, limit);
    let (model, temperature) = (&policy().model, recipe().rollout.temperature);
    let (mut counts, mut too_long) = ([0; 2], 0);
    for (row, route) in rows.iter().zip(&routes) {
        let t = &trajectories[row.trajectory];
        let response = &t.turns[row.turn].response;
        let mut context = history(t, row.turn, &t.turns[0].prompt);
        if row.turn > 0 {
            context.extend(&t.turns[row.turn].prompt);
        }
        let plain = &scores.plain.as_ref().expect("plain scores")[row.tokens.clone()];
        for (got, want) in plain.iter().zip(alone(model, &context, response, temperature)) {
            assert!((got - want).abs() < 2e-5, "{row:?} without a skill: {got}, alone {want}");
        }
        let found = match &analyses[row.trajectory] {
            None => [None, None],
            Some(analysis) => contexts(t, row.turn, analysis, *route),
        };
        for ((context, part), count) in
            found.into_iter().zip([&scores.episode, &scores.step]).zip(&mut counts)
        {
            let selected = &part.selected[row.tokens.clone()];
            let long = |c: &Vec<u32>| c.len() + response.len() > limit;
            too_long += usize::from(context.as_ref().is_some_and(long));
            let Some(context) = context.filter(|c| !long(c)) else {
                assert!(selected.iter().all(|s| !s), "{row:?} was scored");
                continue;
            };
            *count += 1;
            assert!(selected.iter().all(|s| *s), "{row:?} was not scored");
            let want = alone(model, &context, response, temperature);
            for (got, want) in part.logprobs[row.tokens.clone()].iter().zip(want) {
                assert!((got - want).abs() < 2e-5, "{row:?}: {got}, alone {want}");
            }
        }
    }
    assert_eq!([scores.episode.rows, scores.step.rows], counts);
    assert_eq!(scores.too_long, too_long);
    (counts, scores)
}

fn played() -> Vec<Trajectory> {
    episodes(3, &Settings::training(&recipe(), [11, 1, 1]))
}

#[test]
fn rows_are_scored_as_sequences_of_their_own() {
    let trajectories = played();
    let all = rows(&trajectories).len() - trajectories[2].turns.len();
    let (counts, scores) = check(&trajectories, Routing::CriticalFirst, usize::MAX);
    assert!(counts.iter().all(|&n| n > 0), "{counts:?}");
    assert_eq!(counts[0] + counts[1], all, "every row of an analyzed episode, once");
    let twice = scores.episode.selected.iter().zip(&scores.step.selected).any(|(e, s)| *e && *s);
    assert!(!twice, "a token with a step skill was scored with the episode's, too");
    // Without routing every row is scored under the episode's skill, and those with one of their own again.
    let (additive, _) = check(&trajectories, Routing::Additive, usize::MAX);
    assert_eq!(additive, [all, counts[1]]);
}

#[test]
fn histories_that_are_too_long_are_counted() {
    let trajectories = played();
    let longest = trajectories.iter().map(Trajectory::tokens).max().expect("episodes");
    for routing in [Routing::CriticalFirst, Routing::Additive] {
        let (mut scored, mut left_out) = ([0; 2], 0);
        for fifths in 2..=5 {
            let (counts, scores) = check(&trajectories, routing, longest * fifths / 5);
            scored = [scored[0] + counts[0], scored[1] + counts[1]];
            left_out += scores.too_long;
        }
        assert!(left_out > 0 && scored.iter().all(|&n| n > 0), "{scored:?} scored, {left_out} left out");
        let (none, scores) = check(&trajectories, routing, 1);
        assert_eq!(none, [0, 0]);
        assert!(scores.episode.selected.iter().chain(&scores.step.selected).all(|s| !s));
    }
}
