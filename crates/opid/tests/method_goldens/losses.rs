//! Losses, divergences and reward shaping.

use opid::algo::reward::{AdaptiveBeta, penalize_invalid_actions, subtract_divergence};
use opid::loss::aggregate::Aggregation;
use opid::loss::kl::Divergence;
use opid::loss::logits::{entropy, log_prob};
use opid::loss::policy::{ClipRange, policy_loss, sequence_loss};
use serde_json::{Value, from_value};

use crate::recordings::{Comparison, Outcome, PLAIN, flags, matrix, number, numbers, spread, valid};

/// The way of averaging by its name in the reference.
fn aggregation(input: &Value) -> Option<Aggregation> {
    from_value(input["agg"].clone()).ok()
}

/// The clipped policy loss, its gradient and its metrics.
pub fn check_policy_loss(case: &Value, comparison: &mut Comparison) -> Outcome {
    let input = &case["input"];
    let sequences = input["mode"] != "vanilla";
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
    // The reference averages ratios of sequences in one way, whatever is asked for.
    let averaged = if sequences { Some(Aggregation::SeqMeanTokenMean) } else { aggregation(input) };
    let Some(aggregation) = averaged else {
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
    let mean_shift = |(new, old): (&Vec<f64>, Vec<f64>)| {
        new.iter().zip(&old).map(|(new, old)| new - old).sum::<f64>() / new.len().max(1) as f64
    };
    let shifts: Vec<f64> =
        log_probs.iter().zip(valid(&input["old_log_prob"], mask)).map(mean_shift).collect();
    let shifts = spread(&shifts, &log_probs);
    let losses: Vec<_> = log_probs
        .concat()
        .into_iter()
        .zip(old)
        .zip(advantages)
        .zip(shifts)
        .map(|(((log_prob, old), advantage), shift)| match sequences {
            true => sequence_loss(shift, advantage, &clip),
            false => policy_loss(log_prob, old, advantage, &clip),
        })
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

/// Divergence estimators and their gradients.
pub fn check_divergence(case: &Value, comparison: &mut Comparison) -> Outcome {
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

/// Ways of averaging.
pub fn check_aggregation(case: &Value, comparison: &mut Comparison) -> Outcome {
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

/// Entropy.
pub fn check_entropy(case: &Value, comparison: &mut Comparison) -> Outcome {
    let rows = case["input"]["logits"].as_array().cloned().unwrap_or_default();
    let found: Vec<f64> = rows.iter().flat_map(matrix).map(|logits| entropy(&logits, 1.0)).collect();
    comparison.close("entropy", &found, &matrix(&case["expected"]["ok"]).concat(), PLAIN);
    Outcome::Compared
}

/// Log-probabilities.
pub fn check_log_prob(case: &Value, comparison: &mut Comparison) -> Outcome {
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

/// The adaptive coefficient.
pub fn check_adaptive_beta(case: &Value, comparison: &mut Comparison) -> Outcome {
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

/// The response part of an attention mask.
fn response_mask(input: &Value) -> Value {
    let prompt = number(&input["prompt_len"]) as usize;
    let rows = matrix(&input["attention_mask"]);
    rows.iter().map(|row| Value::from(row[prompt..].to_vec())).collect()
}

/// The penalty for invalid actions.
pub fn check_penalty(case: &Value, comparison: &mut Comparison) -> Outcome {
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

/// Divergence inside the reward.
pub fn check_divergence_in_reward(case: &Value, comparison: &mut Comparison) -> Outcome {
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
