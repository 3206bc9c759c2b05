//! Advantages, returns, routing and schedules.

use std::collections::HashMap;

use opid::algo::Method;
use opid::algo::gigpo::{Gigpo, states, step_advantages};
use opid::algo::group::GroupStatistics;
use opid::algo::opid::{Shares, SignalShaping, SkillWeights, skill_advantage, token_signal, total_advantage};
use opid::algo::reinforce::{returns, whiten};
use opid::algo::returns::step_returns;
use opid::algo::{dapo, grpo, rloo};
use opid::skill::route::Routing;
use opid::skill::schedule::SkillSchedule;
use opid_env::difflib::ratio;
use serde_json::{Value, from_value};

use crate::recordings::{
    Comparison, Outcome, PLAIN, SCALED, flags, matrix, number, numbers, spread, texts, valid,
};

/// Names as numbers, in the order of their first appearance.
fn numbered(names: &Value) -> Vec<usize> {
    let mut known = HashMap::new();
    let number = |name| {
        let next = known.len();
        *known.entry(name).or_insert(next)
    };
    texts(names).into_iter().map(number).collect()
}

/// Groups, trajectories (as numbers) and scores of the rows.
fn rows(input: &Value) -> (Vec<usize>, Vec<usize>, Vec<f64>) {
    let scores = matrix(&input["token_level_rewards"]).iter().map(|row| row.iter().sum()).collect();
    (numbered(&input["index"]), numbered(&input["traj_index"]), scores)
}

/// Group-relative advantages.
pub fn check_grpo(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let (groups, trajectories, scores) = rows(input);
    let statistics = match input["across_steps"] == true {
        true => GroupStatistics::Row,
        false => GroupStatistics::Trajectory,
    };
    let divide = input["norm_by_std"] == true;
    let found = grpo::advantages(&groups, &trajectories, &scores, statistics, divide);
    let expected = valid(&case["expected"]["ok"], &input["response_mask"]);
    let tolerance = if divide { SCALED } else { PLAIN };
    comparison.close("advantages", &spread(&found, &expected), &expected.concat(), tolerance);
    Outcome::Compared
}

/// Leave-one-out advantages, and group means whitened over the batch.
pub fn check_rloo(case: &Value, comparison: &mut Comparison) -> Outcome {
    let (by_row, expected) = by_group(case, |groups, trajectories, scores, statistics| {
        rloo::advantages(groups, trajectories, scores, statistics)
    });
    comparison.close("advantages", &spread(&by_row, &expected), &expected.concat(), PLAIN);
    Outcome::Compared
}

/// REINFORCE++ with a baseline.
pub fn check_reinforce_baseline(case: &Value, comparison: &mut Comparison) -> Outcome {
    let (by_row, expected) = by_group(case, |groups, trajectories, scores, statistics| {
        grpo::advantages(groups, trajectories, scores, statistics, false)
    });
    comparison.close("advantages", &whiten(&spread(&by_row, &expected)), &expected.concat(), SCALED);
    Outcome::Compared
}

/// Advantages by row, and the recorded ones by row and token.
fn by_group(
    case: &Value,
    advantages: impl Fn(&[usize], &[usize], &[f64], GroupStatistics) -> Vec<f64>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let input = &case["input"];
    let (groups, trajectories, scores) = rows(input);
    let statistics = match input["across_steps"] == true {
        true => GroupStatistics::Row,
        false => GroupStatistics::Trajectory,
    };
    let expected = valid(&case["expected"]["ok"], &input["response_mask"]);
    (advantages(&groups, &trajectories, &scores, statistics), expected)
}

/// REINFORCE++: returns of tokens, and the same whitened.
pub fn check_reinforce(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let mask = &input["response_mask"];
    let rewards = valid(&input["token_level_rewards"], mask);
    let rows: Vec<&[f64]> = rewards.iter().map(Vec::as_slice).collect();
    let found = returns(&rows, number(&input["gamma"]));
    let expected = &case["expected"]["ok"];
    comparison.close("returns", &found, &valid(&expected["returns"], mask).concat(), PLAIN);
    comparison.close("advantages", &whiten(&found), &valid(&expected["advantages"], mask).concat(), SCALED);
    Outcome::Compared
}

/// GiGPO: episode and step advantages.
pub fn check_gigpo(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let (groups, trajectories, scores) = rows(input);
    let divide = input["mode"] == "mean_std_norm";
    let episodes = grpo::advantages(&groups, &trajectories, &scores, GroupStatistics::Row, divide);
    let anchors = texts(&input["anchor_obs"]);
    let anchors: Vec<&str> = anchors.iter().map(String::as_str).collect();
    let states = states(&groups, &anchors, 1.0);
    let steps = step_advantages(&states, &numbers(&input["step_rewards"]), divide);
    let weight = number(&input["step_advantage_w"]);
    let by_row: Vec<f64> = episodes.iter().zip(steps).map(|(e, s)| e + weight * s).collect();
    let expected = valid(&case["expected"]["ok"], &input["response_mask"]);
    let tolerance = if divide { SCALED } else { PLAIN };
    comparison.close("advantages", &spread(&by_row, &expected), &expected.concat(), tolerance);
    Outcome::Compared
}

/// Which steps share a state.
pub fn check_states(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let groups = numbered(&input["index"]);
    let anchors = texts(&input["anchor_obs"]);
    let anchors: Vec<&str> = anchors.iter().map(String::as_str).collect();
    let threshold = input["threshold"].as_f64().unwrap_or(1.0);
    if case["expected"].get("error").is_some() {
        if threshold == 1.0 {
            return Outcome::Excluded("a similarity of 1, which here means equal observations");
        }
        let settings = Gigpo { similarity: threshold, ..Gigpo::default() };
        comparison.same("refused", settings.fault().is_some(), true);
        return Outcome::Compared;
    }
    let found = states(&groups, &anchors, threshold);
    let expected: Vec<usize> = numbers(&case["expected"]["ok"]).iter().map(|n| *n as usize).collect();
    // The numbers themselves mean nothing: they are compared by order of first appearance.
    let canonical = |numbers: &[usize]| {
        let mut seen = Vec::new();
        let place = |n: &usize| {
            let at = seen.iter().position(|s| s == n);
            at.unwrap_or_else(|| {
                seen.push(*n);
                seen.len() - 1
            })
        };
        numbers.iter().map(place).collect::<Vec<_>>()
    };
    comparison.same("states", canonical(&found), canonical(&expected));
    Outcome::Compared
}

/// How alike two texts are.
pub fn check_similarity(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
    let found = ratio(&text("a"), &text("b"));
    comparison.close("ratio", &[found], &[number(&case["expected"]["ok"])], PLAIN);
    Outcome::Compared
}

/// Which groups dynamic sampling keeps.
pub fn check_filter(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let size = number(&input["group"]) as usize;
    let rewards = numbers(&input["rewards"]);
    let last = input["last_try"] == true;
    let kept: Vec<f64> = rewards
        .chunks(size)
        .enumerate()
        .filter(|(_, group)| last || dapo::differ(group))
        .flat_map(|(group, members)| (0..members.len()).map(move |i| (group * size + i) as f64))
        .collect();
    comparison.close("kept", &kept, &numbers(&case["expected"]["ok"]["kept"]), PLAIN);
    Outcome::Compared
}

/// The parts of the OPID advantage and their shares.
pub fn check_components(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if case["expected"].get("error").is_some() {
        return Outcome::Excluded("the mode is an enum here, so there is no unknown one");
    }
    if input["step_advantage_w"] != 0.0 {
        return Outcome::Excluded("step advantages of GiGPO; OPID requires their weight to be 0");
    }
    let expected = &case["expected"]["ok"];
    let mask = &input["response_mask"];
    let (groups, trajectories, scores) = rows(input);
    let divide = input["mode"] == "mean_std_norm";
    let by_row = grpo::advantages(&groups, &trajectories, &scores, GroupStatistics::Row, divide);
    let lengths = valid(mask, mask);
    let outcome = spread(&by_row, &lengths);
    let old = valid(&input["old_log_prob"], mask).concat();
    let shaping = SignalShaping { normalize: input["normalize"] == true, clip: input["clip"].as_f64() };
    let signal = |log_probs: &Value, selected: &Value| {
        if log_probs.is_null() {
            return vec![0.0; old.len()];
        }
        let selected = match selected.is_null() {
            true => vec![true; lengths.len()],
            false => flags(selected),
        };
        let selected: Vec<bool> =
            lengths.iter().zip(selected).flat_map(|(row, chosen)| row.iter().map(move |_| chosen)).collect();
        token_signal(&valid(log_probs, mask).concat(), &old, &selected, &shaping)
    };
    // The single teacher of an older interface stands for the skill of the episode.
    let episode = match input["episode_teacher_log_prob"].is_null() {
        true => signal(&input["teacher_log_prob"], &Value::Null),
        false => signal(&input["episode_teacher_log_prob"], &input["critical_step_mask"]),
    };
    let step = signal(&input["step_teacher_log_prob"], &input["step_skill_mask"]);
    let weights = SkillWeights { episode: number(&input["episode_w"]), step: number(&input["step_w"]) };
    let skill = skill_advantage(&episode, &step, &weights);
    let scaled = if divide || shaping.normalize { SCALED } else { PLAIN };
    comparison.close("episode", &outcome, &valid(&expected["episode"], mask).concat(), scaled);
    comparison.close("teacher", &skill, &valid(&expected["teacher"], mask).concat(), scaled);
    let total = total_advantage(&outcome, &skill);
    comparison.close("total", &total, &valid(&expected["total"], mask).concat(), scaled);
    let shares = Shares::of(&outcome, &skill);
    let metrics = &expected["metrics"];
    for (name, found) in [
        ("episode_mean", shares.outcome_mean),
        ("teacher_mean", shares.skill_mean),
        ("episode_abs_mean", shares.outcome_abs_mean),
        ("teacher_abs_mean", shares.skill_abs_mean),
        ("total_abs_mean", shares.total_abs_mean),
        ("episode_share", shares.outcome_share),
        ("teacher_share", shares.skill_share),
    ] {
        for level in ["adv", "adv_raw"] {
            let recorded = number(&metrics[format!("opid/{level}/{name}")]);
            comparison.close(name, &[found], &[recorded], scaled);
        }
    }
    let active = number(&metrics["opid/adv/teacher_active_token_ratio"]);
    comparison.close("active tokens", &[shares.skill_active_tokens], &[active], PLAIN);
    Outcome::Compared
}

/// Skill token signals.
pub fn check_signal(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if case["expected"].get("error").is_some() {
        return Outcome::Excluded("masks of a wrong shape, which slices of tokens cannot have");
    }
    if input["teacher_log_prob"].is_null() {
        return Outcome::Excluded("no teacher at all, which here means that there is no call");
    }
    let mask = matrix(&input["response_mask"]);
    let teacher = matrix(&input["teacher_log_prob"]).concat();
    let old = matrix(&input["old_log_prob"]).concat();
    let chosen = |row: usize, column: usize| match input["mask_kind"].as_str() {
        Some("row") => input["mask"][row] == true,
        Some("col") => truthy(&input["mask"][row][0]),
        Some("token") => truthy(&input["mask"][row][column]),
        _ => true,
    };
    let selected: Vec<bool> = mask
        .iter()
        .enumerate()
        .flat_map(|(row, values)| {
            values.iter().enumerate().map(move |(column, valid)| *valid != 0.0 && chosen(row, column))
        })
        .collect();
    let shaping = SignalShaping { normalize: input["normalize"] == true, clip: input["clip"].as_f64() };
    let found = token_signal(&teacher, &old, &selected, &shaping);
    let tolerance = if shaping.normalize { SCALED } else { PLAIN };
    comparison.close("signal", &found, &matrix(&case["expected"]["ok"]).concat(), tolerance);
    Outcome::Compared
}

fn truthy(value: &Value) -> bool {
    value == true || value.as_f64().is_some_and(|value| value != 0.0)
}

/// Discounted step returns.
pub fn check_returns(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if case["expected"].get("error").is_some() {
        return Outcome::Excluded("rows of inactive steps are never recorded (docs/deviations.md)");
    }
    let trajectories = numbered(&input["traj_uid"]);
    let found = step_returns(&trajectories, &numbers(&input["rewards"]), number(&input["gamma"]));
    comparison.close("returns", &found, &numbers(&case["expected"]["ok"]), PLAIN);
    Outcome::Compared
}

/// Which skill scores a step.
pub fn check_route(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let routing: Result<Routing, _> = from_value(input["mode"].clone());
    if case["expected"].get("error").is_some() {
        comparison.same("refused", routing.is_err(), true);
        return Outcome::Compared;
    }
    let step_skill = input["step_skill"].as_str();
    if step_skill.is_none() && input["step_enabled"] == true {
        return Outcome::Excluded("step skills that are null or a number (docs/deviations.md)");
    }
    let Ok(routing) = routing else {
        comparison.same("known", false, true);
        return Outcome::Compared;
    };
    let route = routing.route(step_skill, input["episode_enabled"] == true, input["step_enabled"] == true);
    comparison.same("route", vec![route.episode, route.step], flags(&case["expected"]["ok"]));
    Outcome::Compared
}

/// At which steps there are skills; the recordings are of steps 1 to 7.
pub fn check_schedule(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if input["enable_analysis"].as_str().is_some_and(|word| word != "on") {
        return Outcome::Excluded("analysis switched off, which here is algorithm.name = \"grpo\"");
    }
    let stop_step = input["stop"].as_u64();
    if stop_step == Some(0) {
        return Outcome::Excluded("no step at all, which here is algorithm.name = \"grpo\"; 0 sets no end");
    }
    let after = input["start"].as_u64().or(input["legacy_start"].as_u64()).unwrap_or(0);
    let only_failed = input["failed_only"] == true;
    let schedule = SkillSchedule { start_step: after + 1, stop_step: stop_step.unwrap_or(0), only_failed };
    let recorded: Vec<Vec<bool>> = case["expected"].as_array().into_iter().flatten().map(flags).collect();
    let enabled: Vec<bool> = recorded.iter().map(|step| step[0]).collect();
    comparison.same("enabled", (1..=7).map(|step| schedule.is_on(step)).collect(), enabled);
    if !input["failed_only_after"].is_null() {
        return Outcome::Deviates("only_failed holds for the whole run, it has no first step of its own");
    }
    comparison.same("only failed", recorded.iter().all(|step| step[1] == only_failed), true);
    Outcome::Compared
}
