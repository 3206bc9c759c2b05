//! Advantages, losses, rewards and routing against recordings of the reference's own functions
//! (`goldens/opid` of the shared folder; without it the trials are reported as ignored).
//!
//! The recordings are float32: tolerance rtol 2e-5, atol 2e-6, and 3e-4 for values that were divided
//! by a standard deviation. Every recorded case of a function is compared or listed as excluded.

mod recordings;

use std::collections::HashMap;

use libtest_mimic::{Arguments, Failed, Trial};
use opid::algo::group::GroupStatistics;
use opid::algo::grpo;
use opid::algo::opid::{Shares, SignalShaping, SkillWeights, skill_advantage, token_signal, total_advantage};
use opid::algo::returns::step_returns;
use opid::algo::reward::{AdaptiveBeta, penalize_invalid_actions, subtract_divergence};
use opid::loss::aggregate::Aggregation;
use opid::loss::kl::Divergence;
use opid::loss::logits::{entropy, log_prob};
use opid::loss::policy::{ClipRange, policy_loss};
use opid::skill::route::Routing;
use recordings::{
    Comparison, Outcome, PLAIN, SCALED, flags, matrix, number, numbers, recorded, recorded_file, spread,
    texts, valid,
};
use serde_json::{Value, from_value};

fn main() {
    let arguments = Arguments::from_args();
    type Check = fn(&Value, &mut Comparison) -> Outcome;
    let checks: [(&str, &str, Check); 12] = [
        ("advantages", "grpo", check_grpo),
        ("advantages", "opid_components", check_components),
        ("advantages", "teacher_token_advantage", check_signal),
        ("advantages", "adaptive_kl", check_adaptive_beta),
        ("policy_loss", "policy_loss", check_policy_loss),
        ("policy_loss", "kl", check_divergence),
        ("policy_loss", "agg_loss", check_aggregation),
        ("policy_loss", "entropy_from_logits", check_entropy),
        ("policy_loss", "logprobs_from_logits", check_log_prob),
        ("reward_shaping", "invalid_action_penalty", check_penalty),
        ("reward_shaping", "kl_in_reward", check_divergence_in_reward),
        ("step_returns", "", check_returns),
    ];
    let mut trials: Vec<Trial> =
        checks.into_iter().map(|(file, function, check)| recorded_trial(file, function, check)).collect();
    trials.push(recorded_trial("teacher_source", "", check_route));
    libtest_mimic::run(&arguments, trials).exit();
}

fn recorded_trial(
    file: &'static str,
    function: &'static str,
    check: fn(&Value, &mut Comparison) -> Outcome,
) -> Trial {
    let name = if function.is_empty() { file.to_owned() } else { format!("{file}::{function}") };
    let absent = !recorded_file(file).exists();
    let run = move || -> Result<(), Failed> {
        let mut comparison = Comparison::default();
        let mut excluded = HashMap::<&str, usize>::new();
        for case in recorded(file, function)? {
            comparison.begin(&case);
            match check(&case, &mut comparison) {
                Outcome::Compared => comparison.end(),
                Outcome::Excluded(reason) => *excluded.entry(reason).or_default() += 1,
            }
        }
        println!("{name}: {} cases compared", comparison.cases());
        for (reason, count) in excluded {
            println!("{name}: {count} cases excluded: {reason}");
        }
        comparison.result()
    };
    let title = if function.is_empty() { file.to_owned() } else { format!("{file}::{function}") };
    Trial::test(title, run).with_ignored_flag(absent)
}

/// Groups, trajectories (as numbers) and scores of the rows.
fn rows(input: &Value) -> (Vec<usize>, Vec<usize>, Vec<f64>) {
    let number_of = |names: Vec<String>| {
        let mut known = HashMap::new();
        names
            .into_iter()
            .map(|name| {
                let next = known.len();
                *known.entry(name).or_insert(next)
            })
            .collect::<Vec<usize>>()
    };
    let scores = matrix(&input["token_level_rewards"]).iter().map(|row| row.iter().sum()).collect();
    (number_of(texts(&input["index"])), number_of(texts(&input["traj_index"])), scores)
}

fn check_grpo(case: &Value, comparison: &mut Comparison) -> Outcome {
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

fn check_components(case: &Value, comparison: &mut Comparison) -> Outcome {
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

fn check_signal(case: &Value, comparison: &mut Comparison) -> Outcome {
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

fn check_adaptive_beta(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let mut beta = AdaptiveBeta {
        beta: number(&input["init"]),
        target: number(&input["target"]),
        horizon: number(&input["horizon"]),
    };
    let mut found = Vec::new();
    for divergence in numbers(&input["kls"]) {
        beta.update(divergence, number(&input["n_steps"]) as usize);
        found.push(beta.beta);
    }
    comparison.close("beta", &found, &numbers(&case["expected"]["ok"]), PLAIN);
    Outcome::Compared
}

/// The way of averaging by its name in the reference.
fn aggregation(input: &Value) -> Option<Aggregation> {
    from_value(input["agg"].clone()).ok()
}

fn check_policy_loss(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if input["mode"] != "vanilla" {
        return Outcome::Excluded("GSPO is not implemented");
    }
    let fallback = number(&input["clip"]);
    let clip = ClipRange {
        low: input["clip_low"].as_f64().unwrap_or(fallback),
        high: input["clip_high"].as_f64().unwrap_or(fallback),
        dual: number(&input["clip_c"]),
    };
    if case["expected"].get("error").is_some() {
        comparison.same("refused", clip.check().is_err(), true);
        return Outcome::Compared;
    }
    let mask = &input["response_mask"];
    let log_probs = valid(&input["log_prob"], mask);
    let lengths: Vec<usize> = log_probs.iter().map(Vec::len).collect();
    let Some(aggregation) = aggregation(input) else {
        return Outcome::Excluded("unknown aggregation");
    };
    let expected = &case["expected"]["ok"];
    if expected["loss"] == "NaN" {
        return Outcome::Excluded("rows without tokens (docs/deviations.md)");
    }
    let longest = matrix(mask).first().map_or(0, Vec::len);
    let weights = spread(&aggregation.row_weights(&lengths, longest), &log_probs);
    let old = valid(&input["old_log_prob"], mask).concat();
    let advantages = valid(&input["advantages"], mask).concat();
    let losses: Vec<_> = log_probs
        .concat()
        .into_iter()
        .zip(old)
        .zip(advantages)
        .map(|((log_prob, old), advantage)| policy_loss(log_prob, old, advantage, &clip))
        .collect();
    let loss: f64 = losses.iter().zip(&weights).map(|(token, weight)| token.loss * weight).sum();
    let gradient: Vec<f64> =
        losses.iter().zip(&weights).map(|(token, weight)| token.gradient * weight).collect();
    let tokens = losses.len().max(1) as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / tokens;
    let share = |flag: bool| if flag { 1.0 } else { 0.0 };
    comparison.close("loss", &[loss], &[number(&expected["loss"])], PLAIN);
    comparison.close("gradient", &gradient, &valid(&expected["grad"], mask).concat(), PLAIN);
    let clipped = mean(&mut losses.iter().map(|token| share(token.clipped)));
    comparison.close("clipfrac", &[clipped], &[number(&expected["clipfrac"])], PLAIN);
    let lower = mean(&mut losses.iter().map(|token| share(token.clipped_lower)));
    comparison.close("clipfrac_lower", &[lower], &[number(&expected["clipfrac_lower"])], PLAIN);
    let divergence = mean(&mut losses.iter().map(|token| token.divergence));
    comparison.close("ppo_kl", &[divergence], &[number(&expected["approx_kl"])], PLAIN);
    Outcome::Compared
}

fn check_divergence(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let kind: Result<Divergence, _> = from_value(input["kind"].clone());
    if case["expected"].get("error").is_some() {
        comparison.same("refused", kind.is_err(), true);
        return Outcome::Compared;
    }
    let Ok(kind) = kind else {
        comparison.same("known", false, true);
        return Outcome::Compared;
    };
    let log_probs = matrix(&input["log_prob"]).concat();
    let references = matrix(&input["ref_log_prob"]).concat();
    let found: (Vec<f64>, Vec<f64>) =
        log_probs.into_iter().zip(references).map(|(p, reference)| kind.of(p, reference)).unzip();
    let expected = &case["expected"]["ok"];
    comparison.close("value", &found.0, &matrix(&expected["value"]).concat(), PLAIN);
    comparison.close("gradient", &found.1, &matrix(&expected["grad"]).concat(), PLAIN);
    Outcome::Compared
}

fn check_aggregation(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if case["expected"].get("error").is_some() {
        comparison.same("refused", aggregation(input).is_none(), true);
        return Outcome::Compared;
    }
    let expected = &case["expected"]["ok"];
    if expected["loss"] == "NaN" {
        return Outcome::Excluded("rows without tokens (docs/deviations.md)");
    }
    let Some(aggregation) = aggregation(input) else {
        comparison.same("known", false, true);
        return Outcome::Compared;
    };
    let values = valid(&input["matrix"], &input["mask"]);
    let lengths: Vec<usize> = values.iter().map(Vec::len).collect();
    let longest = matrix(&input["mask"]).first().map_or(0, Vec::len);
    let weights = spread(&aggregation.row_weights(&lengths, longest), &values);
    let loss: f64 = values.concat().iter().zip(&weights).map(|(value, weight)| value * weight).sum();
    comparison.close("loss", &[loss], &[number(&expected["loss"])], PLAIN);
    comparison.close("gradient", &weights, &valid(&expected["grad"], &input["mask"]).concat(), PLAIN);
    Outcome::Compared
}

fn check_entropy(case: &Value, comparison: &mut Comparison) -> Outcome {
    let rows = case["input"]["logits"].as_array().cloned().unwrap_or_default();
    let found: Vec<f64> = rows.iter().flat_map(matrix).map(|logits| entropy(&logits, 1.0)).collect();
    comparison.close("entropy", &found, &matrix(&case["expected"]["ok"]).concat(), PLAIN);
    Outcome::Compared
}

fn check_log_prob(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let temperature = number(&input["temperature"]);
    let rows = input["logits"].as_array().cloned().unwrap_or_default();
    let labels = matrix(&input["labels"]).concat();
    let found: Vec<f64> = rows
        .iter()
        .flat_map(matrix)
        .zip(labels)
        .map(|(logits, label)| log_prob(&logits, label as usize, temperature))
        .collect();
    comparison.close("log-probability", &found, &matrix(&case["expected"]["ok"]).concat(), PLAIN);
    Outcome::Compared
}

/// The response part of an attention mask.
fn response_mask(input: &Value) -> Value {
    let prompt = number(&input["prompt_len"]) as usize;
    let rows = matrix(&input["attention_mask"]);
    rows.iter().map(|row| Value::from(row[prompt..].to_vec())).collect()
}

fn check_penalty(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let expected = &case["expected"]["ok"];
    let mask = response_mask(input);
    let mut rewards = valid(&input["scores"], &mask);
    let mut returns = numbers(&input["step_rewards"]);
    let given = (!input["step_rewards"].is_null()).then_some(returns.as_mut_slice());
    let verdicts = flags(&input["is_action_valid"]);
    let ratio = penalize_invalid_actions(&mut rewards, given, &verdicts, number(&input["coef"]));
    comparison.close("scores", &rewards.concat(), &valid(&expected["scores"], &mask).concat(), PLAIN);
    comparison.close("step returns", &returns, &numbers(&expected["step_rewards"]), PLAIN);
    let recorded = number(&expected["metrics"]["episode/valid_action_ratio"]);
    comparison.close("valid ratio", &[ratio], &[recorded], PLAIN);
    Outcome::Compared
}

fn check_divergence_in_reward(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let expected = &case["expected"]["ok"];
    let Ok(kind) = from_value::<Divergence>(input["kind"].clone()) else {
        comparison.same("known", false, true);
        return Outcome::Compared;
    };
    let mask = response_mask(input);
    let mut rewards = valid(&input["scores"], &mask);
    let references = valid(&input["ref_log_prob"], &mask);
    let divergences: Vec<Vec<f64>> = valid(&input["old_log_prob"], &mask)
        .iter()
        .zip(&references)
        .map(|(old, reference)| old.iter().zip(reference).map(|(p, q)| kind.of(*p, *q).0).collect())
        .collect();
    let beta = number(&input["coef"]);
    let penalty = subtract_divergence(&mut rewards, &divergences, beta);
    comparison.close("rewards", &rewards.concat(), &valid(&expected["rewards"], &mask).concat(), PLAIN);
    let recorded = number(&expected["metrics"]["actor/reward_kl_penalty"]);
    comparison.close("penalty", &[penalty], &[recorded], PLAIN);
    let mut adaptive =
        AdaptiveBeta { beta, target: number(&input["target"]), horizon: number(&input["horizon"]) };
    if input["controller"] == "adaptive" {
        adaptive.update(penalty, rewards.len());
    }
    comparison.close("beta after", &[adaptive.beta], &[number(&expected["coef_after"])], PLAIN);
    Outcome::Compared
}

fn check_returns(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    if case["expected"].get("error").is_some() {
        return Outcome::Excluded("rows of inactive steps are never recorded (docs/deviations.md)");
    }
    let mut known = HashMap::new();
    let trajectories: Vec<usize> = texts(&input["traj_uid"])
        .into_iter()
        .map(|name| {
            let next = known.len();
            *known.entry(name).or_insert(next)
        })
        .collect();
    let found = step_returns(&trajectories, &numbers(&input["rewards"]), number(&input["gamma"]));
    comparison.close("returns", &found, &numbers(&case["expected"]["ok"]), PLAIN);
    Outcome::Compared
}

fn check_route(case: &Value, comparison: &mut Comparison) -> Outcome {
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
