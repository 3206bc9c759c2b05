//! Re-scoring under skills gives what separate sequences with the skill in their history give.

use std::collections::BTreeMap;

use opid::dialogue::{Dialogue, DialogueError};
use opid::layout::{Layout, Truncation};
use opid::packing::{Row, rows};
use opid::prompt::Scene;
use opid::rollout::Settings;
use opid::skill::analyzer::Analysis;
use opid::skill::rescore::{Rescorer, Routed, SkillScores};
use opid::skill::route::{Route, Routing};
use opid::trajectory::Trajectory;
use opid_lm::chat::ChatTemplate;
use opid_lm::graph::Workspace;
use opid_lm::tokenizer::Tokenizer;

use crate::micro::{LAYOUTS, alone, episodes, policy, recipe};

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
    let layout = trajectories[0].layout;
    let (recipe, policy) = (recipe(layout), policy(layout));
    let rescorer = |awaited| Rescorer {
        model: &policy.model,
        dialogue: &policy.dialogue,
        temperature: recipe.rollout.temperature,
        max_context,
        micro_batch_tokens: recipe.optimizer.micro_batch_tokens,
        plain: true,
        awaited,
    };
    let mut workspace = Workspace::new(&policy.model);
    let rows = rows(trajectories);
    let skills = |episode: usize| -> Result<Option<Routed>, DialogueError> {
        let own = rows.iter().zip(routes).filter(|(row, _)| row.trajectory == episode);
        let routes = own.map(|(_, route)| *route).collect();
        Ok(analyses[episode].clone().map(|analysis| Routed { analysis, routes }))
    };
    let scores = rescorer(false).score(&mut workspace, trajectories, &rows, skills).expect("scores");
    let awaited = rescorer(true).score(&mut workspace, trajectories, &rows, skills).expect("scores");
    assert_eq!(awaited, scores, "the order in which things are done shows");
    scores
}

/// The scene of a turn under a skill of its episode, or its own.
fn scene<'a>(t: &'a Trajectory, turn: usize, analysis: &'a Analysis, own: bool) -> Scene<'a> {
    let plain = Scene::of(t, turn);
    match own {
        false => Scene { episode_skill: Some(&analysis.episode_skill), ..plain },
        true => Scene { step_skill: Some(&analysis.step_skills[&turn]), ..plain },
    }
}

/// Everything the policy would have read before turn `i` of a transcript under a skill, without the turns
/// from the second to the one before `from` (1 leaves nothing out).
fn history(t: &Trajectory, i: usize, from: usize, analysis: &Analysis, own: bool) -> Vec<u32> {
    let dialogue = &policy(t.layout).dialogue;
    let mut tokens = Vec::new();
    for n in std::iter::once(0).chain(from.max(1)..=i).filter(|&n| n <= i) {
        // An episode's skill stands in the first message, a turn's own in its own.
        let skilled = if own { n == i } else { n == 0 };
        let scene = if skilled { scene(t, n, analysis, own) } else { Scene::of(t, n) };
        let past = if n == from { &t.turns[..1] } else { scene.past };
        tokens.extend(dialogue.prompt(Scene { past, ..scene }).expect("tokens").tokens);
        if n < i {
            tokens.extend(&t.turns[n].response);
        }
    }
    tokens
}

/// Everything before the response of turn `i` of a transcript, as it was played.
fn played_history(t: &Trajectory, i: usize) -> Vec<u32> {
    let said = t.turns[..i].iter().flat_map(|turn| turn.prompt.iter().chain(&turn.response));
    said.chain(&t.turns[i].prompt).copied().collect()
}

/// The context of turn `i` under a skill with as much history as fits, and whether it lacks anything (above
/// 0).
fn context(
    t: &Trajectory,
    i: usize,
    analysis: &Analysis,
    own: bool,
    limit: usize,
) -> Option<(Vec<u32>, usize)> {
    let fits = |tokens: &Vec<u32>| tokens.len() + t.turns[i].response.len() <= limit;
    match t.layout {
        Layout::Transcript => {
            let mut histories = (1..=i.max(1)).map(|from| (history(t, i, from, analysis, own), from - 1));
            histories.find(|(tokens, _)| fits(tokens))
        }
        Layout::Window => {
            let dialogue = &policy(t.layout).dialogue;
            let prompt = dialogue.prompt_with_skill(scene(t, i, analysis, own)).expect("a prompt")?;
            Some((prompt.tokens, prompt.cut)).filter(|(tokens, _)| fits(tokens))
        }
    }
}

/// Compares every row with its own sequence; rows whose sequence is longer than `limit` must be shortened
/// or left out, and counted. Returns how many were scored under each skill.
fn check(trajectories: &[Trajectory], routing: Routing, limit: usize) -> ([usize; 2], SkillScores) {
    let (rows, analyses) = (rows(trajectories), analyses(trajectories));
    let routes = routes(routing, &rows, &analyses);
    let scores = rescore(trajectories, &analyses, &routes, limit);
    let layout = trajectories[0].layout;
    let (model, temperature) = (&policy(layout).model, recipe(layout).rollout.temperature);
    let (mut counts, mut shortened, mut too_long) = ([0; 2], 0, 0);
    for (row, route) in rows.iter().zip(&routes) {
        let t = &trajectories[row.trajectory];
        let response = &t.turns[row.turn].response;
        let played = match layout {
            Layout::Transcript => played_history(t, row.turn),
            Layout::Window => t.turns[row.turn].prompt.clone(),
        };
        let plain = &scores.plain.as_ref().expect("plain scores")[row.tokens.clone()];
        for (got, want) in plain.iter().zip(alone(model, &played, response, temperature)) {
            assert!((got - want).abs() < 2e-5, "{row:?} without a skill: {got}, alone {want}");
        }
        for (own, part) in [(false, &scores.episode), (true, &scores.step)] {
            let selected = &part.selected[row.tokens.clone()];
            let routed = if own { route.step } else { route.episode };
            let analysis = analyses[row.trajectory].as_ref().filter(|_| routed);
            let context = analysis.and_then(|a| context(t, row.turn, a, own, limit));
            too_long += usize::from(analysis.is_some() && context.is_none());
            let Some((context, lacking)) = context else {
                assert!(selected.iter().all(|s| !s), "{row:?} was scored");
                continue;
            };
            counts[usize::from(own)] += 1;
            shortened += usize::from(lacking > 0);
            assert!(selected.iter().all(|s| *s), "{row:?} was not scored");
            let want = alone(model, &context, response, temperature);
            for (got, want) in part.logprobs[row.tokens.clone()].iter().zip(want) {
                assert!((got - want).abs() < 2e-5, "{row:?}: {got}, alone {want}");
            }
        }
    }
    assert_eq!([scores.episode.rows, scores.step.rows], counts);
    assert_eq!((scores.shortened, scores.too_long), (shortened, too_long));
    (counts, scores)
}

fn played(layout: Layout) -> Vec<Trajectory> {
    episodes(layout, 3, &Settings::training(&recipe(layout), [11, 1, 1]))
}

#[test]
fn rows_are_scored_as_sequences_of_their_own() {
    for layout in LAYOUTS {
        let trajectories = played(layout);
        let all = rows(&trajectories).len() - trajectories[2].turns.len();
        let (counts, scores) = check(&trajectories, Routing::CriticalFirst, usize::MAX);
        assert!(counts.iter().all(|&n| n > 0), "{counts:?}");
        assert_eq!(counts[0] + counts[1], all, "every row of an analyzed episode, once");
        let twice = scores.episode.selected.iter().zip(&scores.step.selected).any(|(e, s)| *e && *s);
        assert!(!twice, "a token with a step skill was scored with the episode's, too");
        // Without routing every row is scored under the episode's skill, and those with one of their own
        // again.
        let (additive, _) = check(&trajectories, Routing::Additive, usize::MAX);
        assert_eq!(additive, [all, counts[1]]);
    }
}

#[test]
fn histories_that_are_too_long_lose_their_oldest_turns() {
    for layout in LAYOUTS {
        let trajectories = played(layout);
        let longest = trajectories.iter().flat_map(Trajectory::contexts).max().expect("episodes");
        for routing in [Routing::CriticalFirst, Routing::Additive] {
            let (mut scored, mut shortened, mut left_out) = ([0; 2], 0, 0);
            for tenths in 4..=10 {
                let (counts, scores) = check(&trajectories, routing, longest * tenths / 10);
                scored = [scored[0] + counts[0], scored[1] + counts[1]];
                shortened += scores.shortened;
                left_out += scores.too_long;
            }
            assert!(left_out > 0 && scored.iter().all(|&n| n > 0), "{scored:?} scored, {left_out} left out");
            assert_eq!(
                shortened > 0,
                layout == Layout::Transcript,
                "windows are shortened by their own limit"
            );
            let (none, scores) = check(&trajectories, routing, 1);
            assert_eq!(none, [0, 0]);
            assert!(scores.episode.selected.iter().chain(&scores.step.selected).all(|s| !s));
        }
    }
}

#[test]
fn windows_with_a_skill_lose_their_oldest_turns() {
    let mut recipe = recipe(Layout::Window);
    let policy = policy(Layout::Window);
    let json = policy.text.tokenizer.as_bytes();
    let mut dialogue = |most: usize| {
        recipe.prompt.max_tokens = most;
        let tokenizer = Tokenizer::from_json(json).expect("a tokenizer");
        Dialogue::new(tokenizer, ChatTemplate::compact(), &recipe).expect("a dialogue")
    };
    let trajectories = played(Layout::Window);
    let t = trajectories.iter().find(|t| t.turns.len() == 4).expect("four turns");
    let scene = Scene { episode_skill: Some("plan: look in new places"), ..Scene::of(t, 3) };
    let whole = dialogue(2048).prompt(scene).expect("a prompt");
    assert_eq!(whole.cut, 0);
    let mut most = whole.tokens.len();
    for dropped in 1..=2 {
        most -= 1;
        let prompt = dialogue(most).prompt(scene).expect("a prompt");
        assert_eq!(prompt.cut, whole.tokens.len() - prompt.tokens.len());
        assert!(prompt.cut > 0 && prompt.tokens.len() <= most);
        let text = policy.dialogue.text(&prompt.tokens).expect("text");
        assert!(
            text.contains("plan: look in new places") && text.contains(&t.turns[3].observation),
            "{text}"
        );
        for turn in 1..=2 {
            let shown = text.contains(&format!("{}. {}", turn + 1, t.turns[turn].observation));
            assert_eq!(shown, turn > dropped, "turn {turn} with {dropped} left out: {text}");
        }
        most = prompt.tokens.len();
    }
    assert_eq!(dialogue(most - 1).prompt_with_skill(scene).expect("no failure"), None);
    let error = dialogue(most - 1).prompt(scene).unwrap_err().to_string();
    assert!(error.contains("turn 4") && error.contains("prompt.max_tokens"), "{error}");
    // Without a skill, tokens are cut as the recipe says.
    let plain = dialogue(2048).prompt(Scene::of(t, 3)).expect("a prompt").tokens;
    let cut = dialogue(plain.len() - 5).prompt(Scene::of(t, 3)).expect("a prompt");
    assert_eq!((cut.cut, &cut.tokens[..]), (5, &plain[5..]));
    recipe.prompt.truncation = Truncation::Error;
    recipe.prompt.max_tokens = plain.len() - 5;
    let tokenizer = Tokenizer::from_json(json).expect("a tokenizer");
    let strict = Dialogue::new(tokenizer, ChatTemplate::compact(), &recipe).expect("a dialogue");
    let error = strict.prompt(Scene::of(t, 3)).unwrap_err().to_string();
    assert!(error.contains(&format!("has {} tokens", plain.len())), "{error}");
}
