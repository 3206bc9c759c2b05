//! Algorithms: from finished episodes and their scores to the weight of every response token.
//!
//! Each method is a file of the same shape: its formula, where it comes from, its settings, and its
//! [`Method`]. A recipe names one in `[algorithm]`; [`Algorithm`] lists them all. A method is made of up
//! to three parts: the advantage of outcomes, what scores under skills add to it, and a loss of its own
//! for tokens that a teacher scored. The files that are no methods hold what methods share.
//!
//! Everything here is a pure function in f64. A *row* is one step of one episode (a prompt and a
//! response); the rows of one episode form a *trajectory*, the trajectories of one task a *group*.
//! Token sequences hold response tokens only, so there is no padding and no mask.
//!
//! Symbols: `S` score of a row, `lp` log-probability now, `lp_old` when it was sampled, `lp_T` under the
//! teacher (with a skill in the history), `t` skill token signal, `w` weight, `A` advantage, `sg` no
//! gradient.

use serde::{Deserialize, Serialize};

use crate::advantage::Advantages;
use crate::recipe::Skill;
use crate::skill::rescore::SkillScores;

pub mod critical;
pub mod dapo;
pub mod dr_grpo;
pub mod gigpo;
pub mod group;
pub mod grpo;
pub mod grpo_opsd;
pub mod gspo;
pub mod opid;
pub mod opsd;
pub mod reinforce;
pub mod reinforce_baseline;
pub mod returns;
pub mod reward;
pub mod rloo;
pub mod rlsd;
pub mod sampled;
pub mod sdar;
pub mod skill_grpo;
pub mod skill_sd;

use sampled::Sampled;

/// What makes a method.
pub trait Method: Sync {
    /// Its name as papers write it.
    fn title(&self) -> &'static str;

    /// The advantage of every response token that comes from the episodes' outcomes: GRPO's, unless a method has
    /// its own.
    fn outcome(&self, sampled: &Sampled<'_>) -> Vec<f64> {
        grpo::outcome(sampled)
    }

    /// Whether responses are scored under skills of episodes, and of steps; neither for a method without a
    /// teacher.
    fn skills(&self, _skill: &Skill) -> Skills {
        Skills { episode: false, step: false }
    }

    /// The whole advantage, from that of the outcomes and the scores under skills (absent at steps without
    /// skills).
    fn advantages(
        &self,
        _sampled: &Sampled<'_>,
        outcome: Vec<f64>,
        _scores: Option<&SkillScores>,
    ) -> Advantages {
        Advantages::of_outcomes(outcome)
    }

    /// The loss of a token that the teacher scored, and its derivative with respect to `lp`; added to the
    /// policy loss.
    fn distillation(&self, _token: TaughtToken) -> Option<(f64, f64)> {
        None
    }

    /// Most batches of tasks that a step samples to replace groups whose episodes all have the same reward;
    /// 1 keeps such groups.
    fn batches(&self) -> usize {
        1
    }

    /// A setting that cannot work, and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

/// Kinds of skills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skills {
    /// Of whole episodes.
    pub episode: bool,
    /// Of single steps.
    pub step: bool,
}

impl Skills {
    /// Both kinds.
    pub const BOTH: Skills = Skills { episode: true, step: true };

    /// Whether there is any.
    pub fn any(self) -> bool {
        self.episode || self.step
    }
}

/// A token with its log-probabilities, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaughtToken {
    /// Under the policy now: `lp`.
    pub log_prob: f64,
    /// Under the policy that sampled it: `lp_old`.
    pub old: f64,
    /// Under the teacher: `lp_T`.
    pub teacher: f64,
}

/// Makes the list of methods from one line each: the name of the variant (whose snake case a recipe
/// says), and the settings.
macro_rules! algorithms {
    ($($variant:ident($settings:path, $preset:path),)*) => {
        /// A method and its settings.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name", rename_all = "snake_case")]
        pub enum Algorithm {
            $(#[doc = concat!("[`", stringify!($settings), "`]")] $variant($settings),)*
        }

        impl Algorithm {
            /// The method.
            pub fn method(&self) -> &dyn Method {
                match self { $(Algorithm::$variant(settings) => settings,)* }
            }

            /// What the method sets elsewhere in a recipe that says nothing of it, as TOML.
            pub fn preset(&self) -> &'static str {
                match self { $(Algorithm::$variant(_) => $preset,)* }
            }

            /// Every method with its own settings.
            pub fn all() -> Vec<Algorithm> {
                vec![$(Algorithm::$variant(Default::default()),)*]
            }
        }
    };
}

algorithms! {
    Opid(opid::Opid, opid::PRESET),
    Grpo(grpo::Grpo, grpo::PRESET),
    DrGrpo(dr_grpo::DrGrpo, dr_grpo::PRESET),
    Dapo(dapo::Dapo, dapo::PRESET),
    Gspo(gspo::Gspo, gspo::PRESET),
    Rloo(rloo::Rloo, rloo::PRESET),
    ReinforcePp(reinforce::Reinforce, reinforce::PRESET),
    ReinforcePpBaseline(reinforce_baseline::ReinforceBaseline, reinforce_baseline::PRESET),
    Gigpo(gigpo::Gigpo, gigpo::PRESET),
    Opsd(opsd::Opsd, opsd::PRESET),
    GrpoOpsd(grpo_opsd::GrpoOpsd, grpo_opsd::PRESET),
    SkillSd(skill_sd::SkillSd, skill_sd::PRESET),
    Rlsd(rlsd::Rlsd, rlsd::PRESET),
    Sdar(sdar::Sdar, sdar::PRESET),
    SkillGrpo(skill_grpo::SkillGrpo, skill_grpo::PRESET),
}

impl Default for Algorithm {
    fn default() -> Self {
        Algorithm::Opid(opid::Opid::default())
    }
}

impl Algorithm {
    /// Whether responses are scored under skills.
    pub fn teaches(&self, skill: &Skill) -> bool {
        self.method().skills(skill).any()
    }

    /// The name a recipe says.
    pub fn name(&self) -> String {
        match toml::Value::try_from(self) {
            Ok(toml::Value::Table(mut table)) => {
                table.remove("name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_of_distillation_are_slopes() {
        for algorithm in Algorithm::all() {
            let method = algorithm.method();
            for (old, teacher) in [(-2.0, -0.5), (-0.3, -6.0), (-1.0, -1.0)] {
                for log_prob in [-3.0, -1.2, -0.2] {
                    let at = |log_prob| method.distillation(TaughtToken { log_prob, old, teacher });
                    let (Some((_, slope)), Some(_)) = (at(log_prob), at(log_prob)) else { continue };
                    // Factors under `sg` are constants: the loss is taken with those of the middle.
                    let Some(loss) = frozen(&algorithm, TaughtToken { log_prob, old, teacher }) else {
                        continue;
                    };
                    let found = (loss(log_prob + 1e-6) - loss(log_prob - 1e-6)) / 2e-6;
                    assert!((slope - found).abs() < 1e-6, "{}: {slope} {found}", method.title());
                }
            }
        }
    }

    /// The loss as a function of `lp` where the factors that carry no gradient stay as they are at `token`.
    fn frozen(algorithm: &Algorithm, token: TaughtToken) -> Option<Box<dyn Fn(f64) -> f64>> {
        let gap = token.teacher - token.log_prob;
        let gate = 1.0 / (1.0 + (-5.0 * gap).exp());
        Some(match algorithm {
            Algorithm::Opsd(_) | Algorithm::Sdar(_) => Box::new(move |lp| 0.01 * gate * (token.teacher - lp)),
            Algorithm::GrpoOpsd(_) => Box::new(move |lp| -0.01 * gap * lp),
            Algorithm::SkillSd(s) => {
                let s = s.clone();
                Box::new(move |log_prob| s.distillation(TaughtToken { log_prob, ..token }).expect("a loss").0)
            }
            _ => return None,
        })
    }

    #[test]
    fn every_method_has_a_name_and_a_preset_that_parses() {
        let names: Vec<String> = Algorithm::all().iter().map(Algorithm::name).collect();
        let distinct: std::collections::HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert!(names.contains(&"reinforce_pp_baseline".to_owned()), "{names:?}");
        for algorithm in Algorithm::all() {
            let preset = algorithm.preset();
            let recipe = crate::recipe::Recipe::parse(preset, &algorithm.name());
            assert!(recipe.is_ok(), "{}: {:?}", algorithm.name(), recipe.err());
        }
    }
}
