//! Signs in the metrics of a training step that the policy is falling apart, in plain words.
//!
//! Under its own advice a policy can degenerate to malformed actions: whole groups fail alike, their outcome
//! advantage is 0, and only the skill term is left (docs/results.md). The bounds are judgement, not measurement.

use crate::metrics::StepMetrics;

/// Share of turns with an invalid action above which a policy hardly acts.
const INVALID: f64 = 0.5;
/// Share of groups without variance, and success, at which most groups fail alike.
const FLAT: f64 = 0.75;
const FAILING: f64 = 0.25;
/// Entropy, in nats per token, below which a failing policy no longer tries anything else.
const ENTROPY: f64 = 0.02;
/// Share of skills in `|A|` above which outcomes no longer decide.
const SKILLS: f64 = 0.5;

/// What is wrong with a step, and what to do; empty where nothing is.
pub fn signs(m: &StepMetrics) -> Vec<String> {
    let percent = |share: f64| (100.0 * share).round();
    let skills = m.advantage.episode_skill_share + m.advantage.step_skill_share;
    let failing = m.success <= FAILING;
    let mut signs = Vec::new();
    if m.invalid > INVALID {
        signs.push(format!(
            "{} % of the actions are invalid: the policy forgets how to act; raise loss.kl or reward.invalid_penalty, \
             or start from a policy that knows the format",
            percent(m.invalid)
        ));
    }
    if m.zero_variance_groups > FLAT && failing {
        signs.push(format!(
            "in {} % of the groups all episodes have the same reward, and most fail: outcomes teach nothing there; \
             use easier tasks, larger groups or a better starting policy",
            percent(m.zero_variance_groups)
        ));
    }
    if m.zero_variance_groups >= 1.0 && !failing {
        signs.push(format!(
            "in every group all episodes have the same reward ({:.2} on average): the advantage of outcomes is 0, the \
             loss near 0, and the step teaches nothing but skills. Where that stays so, {}",
            m.reward,
            match m.success >= 1.0 {
                true => "the tasks are too easy: everything is solved; use harder ones",
                false => {
                    "the reward hardly varies: use larger groups (rollout.group_size) or a higher \
                     rollout.temperature, and see that reward.win is not 0"
                }
            }
        ));
    }
    if m.update.entropy < ENTROPY && failing {
        signs.push(format!(
            "the entropy is {:.4} nats a token while most episodes fail: the policy repeats itself; raise \
             loss.entropy or loss.kl, or lower optimizer.learning_rate",
            m.update.entropy
        ));
    }
    if skills > SKILLS {
        signs.push(format!(
            "skills make up {} % of the advantage, more than the outcomes: lower skill.episode_weight and \
             skill.step_weight, or stop them with skill.schedule.stop_step",
            percent(skills)
        ));
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of a run that goes well.
    fn healthy() -> StepMetrics {
        let mut m =
            StepMetrics { success: 0.8, invalid: 0.05, zero_variance_groups: 0.9, ..Default::default() };
        m.update.entropy = 0.01;
        m.advantage.step_skill_share = 0.05;
        m
    }

    #[test]
    fn success_is_no_collapse() {
        assert!(signs(&healthy()).is_empty());
    }

    #[test]
    fn every_sign_is_said_by_its_number() {
        let collapsed = StepMetrics { success: 0.0, invalid: 0.99, ..healthy() };
        let said = signs(&collapsed);
        for (said, part) in said.iter().zip(["99 % of the actions", "in 90 % of the groups", "0.0100 nats"]) {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(said.len(), 3);
        let flat = StepMetrics { zero_variance_groups: 1.0, ..healthy() };
        assert!(signs(&flat)[0].contains("larger groups"), "{:?}", signs(&flat));
        let solved = StepMetrics { success: 1.0, ..flat };
        assert!(signs(&solved)[0].contains("everything is solved"), "{:?}", signs(&solved));
        let mut driven = healthy();
        driven.advantage.episode_skill_share = 0.6;
        assert!(signs(&driven)[0].contains("65 % of the advantage"));
    }
}
