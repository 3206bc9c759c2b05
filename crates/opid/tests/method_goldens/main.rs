//! Advantages, losses, rewards, critical steps, routing, the reading of replies and actions, and prompts against recordings
//! of the reference's own functions (`goldens/opid` and `goldens/search` of the shared folder; without it the trials are
//! reported as ignored).
//!
//! The recordings are float32: tolerance rtol 2e-5, atol 2e-6, and 3e-4 for values that were divided
//! by a standard deviation. Every recorded case of a function is compared or listed as excluded.

mod advantages;
mod analyzers;
mod critical;
mod losses;
mod prompts;
mod recordings;

use std::collections::BTreeMap;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use crate::recordings::{Comparison, Outcome, recorded, recorded_file, shared};

fn main() {
    let arguments = Arguments::from_args();
    type Check = fn(&Value, &mut Comparison) -> Outcome;
    let checks: [(&str, &str, Check); 29] = [
        ("advantages", "grpo", advantages::check_grpo),
        ("advantages", "rloo", advantages::check_rloo),
        ("advantages", "reinforce_plus_plus", advantages::check_reinforce),
        ("advantages", "reinforce_plus_plus_baseline", advantages::check_reinforce_baseline),
        ("advantages", "gigpo", advantages::check_gigpo),
        ("advantages", "step_group", advantages::check_states),
        ("advantages", "step_group_similarity", advantages::check_states),
        ("advantages", "similarity_ratio", advantages::check_similarity),
        ("extras", "dapo_filter", advantages::check_filter),
        ("advantages", "opid_components", advantages::check_components),
        ("advantages", "teacher_token_advantage", advantages::check_signal),
        ("advantages", "adaptive_kl", losses::check_adaptive_beta),
        ("policy_loss", "policy_loss", losses::check_policy_loss),
        ("policy_loss", "kl", losses::check_divergence),
        ("policy_loss", "agg_loss", losses::check_aggregation),
        ("policy_loss", "entropy_from_logits", losses::check_entropy),
        ("policy_loss", "logprobs_from_logits", losses::check_log_prob),
        ("reward_shaping", "invalid_action_penalty", losses::check_penalty),
        ("reward_shaping", "kl_in_reward", losses::check_divergence_in_reward),
        ("step_returns", "", advantages::check_returns),
        ("analyzer_parse", "", analyzers::check_reply),
        ("analyzer_flow", "", analyzers::check_flow),
        ("analyzer_prompt_facts", "", analyzers::check_question),
        ("projections", "", prompts::check_action),
        ("search/projection", "", prompts::check_search_action),
        ("skill_injection", "", prompts::check_blocks),
        ("extras", "opid_schedule", advantages::check_schedule),
        ("extras", "memory_fetch", prompts::check_window),
        ("extras", "pad_truncate", prompts::check_truncation),
    ];
    let mut trials: Vec<Trial> =
        checks.into_iter().map(|(file, function, check)| recorded_trial(file, function, check)).collect();
    trials.push(recorded_trial("critical_steps", "", critical::check_selection));
    trials.push(recorded_trial("critical_steps", "traj_step_indices", critical::check_step_numbers));
    trials.push(recorded_trial("teacher_source", "", advantages::check_route));
    for name in ["Qwen2_5", "Qwen3"] {
        let folder = shared().join("goldens/models/qwen-tokenizer").join(name);
        let absent = !folder.exists();
        let trial = Trial::test(format!("dialogue::{name}"), move || prompts::check_dialogue(&folder));
        trials.push(trial.with_ignored_flag(absent));
    }
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
        let mut excluded = BTreeMap::<&str, usize>::new();
        let mut deviating = BTreeMap::<&str, usize>::new();
        for case in recorded(file, function)? {
            comparison.begin(&case);
            match check(&case, &mut comparison) {
                Outcome::Compared => comparison.end(),
                Outcome::Deviates(reason) => {
                    comparison.end();
                    *deviating.entry(reason).or_default() += 1;
                }
                Outcome::Excluded(reason) => *excluded.entry(reason).or_default() += 1,
            }
        }
        println!("{name}: {} cases compared", comparison.cases());
        for (reason, count) in deviating {
            println!("{name}: {count} of them deviate on purpose: {reason}");
        }
        for (reason, count) in excluded {
            println!("{name}: {count} cases excluded: {reason}");
        }
        comparison.result()
    };
    let title = if function.is_empty() { file.to_owned() } else { format!("{file}::{function}") };
    Trial::test(title, run).with_ignored_flag(absent)
}
