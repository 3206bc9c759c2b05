//! From a file and `--set` options to a [`Recipe`].

use std::path::Path;

use toml::{Table, Value};

use super::{AnalyzerName, HOUSEHOLD, Recipe, RecipeError, Stage, Teacher};
use crate::algo::Algorithm;
use crate::algo::group::GroupStatistics;
use crate::layout::Layout;
use crate::skill::route::Routing;

impl Recipe {
    /// Reads a recipe file, or the built-in one for `None`, and applies `key=value` changes.
    ///
    /// # Errors
    /// The file cannot be read, a key is unknown, a value has the wrong type, or the settings cannot
    /// train.
    pub fn read(path: Option<&Path>, changes: &[String]) -> Result<Recipe, RecipeError> {
        let (text, origin) = match path {
            None => (HOUSEHOLD.to_owned(), "the built-in recipe".to_owned()),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
                (text, path.display().to_string())
            }
        };
        // Checked once as written, so that errors point at a line of the file.
        Recipe::parse(&text, &origin)?;
        let malformed = |reason: String| RecipeError::Malformed { origin: origin.clone(), reason };
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| malformed(e.to_string()))?;
        for change in changes {
            apply(&mut table, change)?;
        }
        let table = Value::Table(with_preset(table));
        if let Some(key) = not_a_number(&table) {
            return Err(malformed(format!(
                "{key} is nan, which is no number: give one, or leave the key out"
            )));
        }
        let changed = toml::to_string(&table).map_err(|e| malformed(e.to_string()))?;
        let origin = if changes.is_empty() { origin } else { "--set".to_owned() };
        let mut recipe = Recipe::parse(&changed, &origin)?;
        if recipe.skill.analyzer == AnalyzerName::OpenAi {
            recipe.skill.openai.resolve(|name| std::env::var(name).ok());
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Parses the text of a recipe, without checking that it can train.
    pub fn parse(text: &str, origin: &str) -> Result<Recipe, RecipeError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let field =
                error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
            let reason = match field.filter(|field| field.ends_with("key")) {
                // The line, which a full message shows, may hold a secret.
                Some(field) => format!(
                    "unknown field `{field}`: keys of endpoints are taken from the environment \
                     (OPENAI_API_KEY), never from a recipe"
                ),
                None => with_suggestion(error.to_string().trim_end()),
            };
            RecipeError::Malformed { origin: origin.to_owned(), reason }
        })
    }

    /// The resolved recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }

    /// Refuses settings that cannot train.
    fn check(&self) -> Result<(), RecipeError> {
        let fail = |key: &'static str, reason: &str| Err(RecipeError::Invalid { key, reason: reason.into() });
        let (r, s, l, o) = (&self.rollout, &self.skill, &self.loss, &self.optimizer);
        if self.name.is_empty() || self.name.contains(['/', '\\']) {
            return fail("name", "it names a folder: give a name without slashes");
        }
        if self.policy.model.is_empty() && self.warm_start.is_none() {
            return fail(
                "policy.model",
                "give a Hugging Face folder, or add a [warm_start] that makes a policy",
            );
        }
        if !self.policy.model.is_empty() && self.warm_start.is_some() {
            return fail("policy.model", "a [warm_start] makes its own policy; leave one of the two out");
        }
        if let Some((key, reason)) = self.environment.fault() {
            return fail(key, reason);
        }
        let tracking = &self.log;
        if !tracking.mlflow.is_empty()
            && !tracking.mlflow.starts_with("http://")
            && !tracking.mlflow.starts_with("https://")
        {
            return fail("log.mlflow", "it is the URL of a tracking server, such as http://127.0.0.1:5000");
        }
        if tracking.mlflow.contains('@') {
            return fail(
                "log.mlflow",
                "leave passwords out of it, runs keep it: put a token into MLFLOW_TRACKING_TOKEN",
            );
        }
        if tracking.mlflow_experiment.is_empty() {
            return fail("log.mlflow_experiment", "an experiment needs a name");
        }
        if r.groups == 0 {
            return fail("rollout.groups", "a training step needs at least one task");
        }
        if r.group_size < 2 {
            return fail(
                "rollout.group_size",
                "advantages compare the episodes of a group: with one episode they are all zero; use 2 or more",
            );
        }
        if r.temperature <= 0.0 || r.temperature.is_nan() {
            return fail(
                "rollout.temperature",
                "greedy episodes of a group are all the same; use a value above 0",
            );
        }
        if !(r.top_p > 0.0 && r.top_p <= 1.0) {
            return fail("rollout.top_p", "use a value above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&r.max_crashes) {
            return fail("rollout.max_crashes", "it is a share of the episodes: use 0 to 1");
        }
        if r.max_response_tokens == 0 {
            return fail("rollout.max_response_tokens", "a response needs at least one token");
        }
        if self.prompt.layout == Layout::Window {
            if self.prompt.max_tokens == 0 {
                return fail("prompt.max_tokens", "a prompt needs at least one token");
            }
            if self.prompt.max_tokens + r.max_response_tokens > self.policy.max_context {
                return fail(
                    "prompt.max_tokens",
                    "a prompt and a response (rollout.max_response_tokens) must fit into policy.max_context: lower it, \
                     or raise that",
                );
            }
        }
        if let Some((key, reason)) = self.algorithm.method().fault() {
            return fail(key, reason);
        }
        let w = &self.reward;
        for (key, value) in [
            ("reward.win", w.win),
            ("reward.score", w.score),
            ("reward.invalid_penalty", w.invalid_penalty),
            ("skill.episode_weight", s.episode_weight),
            ("skill.step_weight", s.step_weight),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(key, "use a number that is 0 or more");
            }
        }
        let opid = matches!(self.algorithm, Algorithm::Opid(_));
        if opid && !self.algorithm.teaches(s) {
            return fail(
                "skill.episode_weight",
                "both skill weights are 0, which is GRPO; set algorithm.name = \"grpo\"",
            );
        }
        if self.algorithm.teaches(s) {
            if !opid && s.routing == Routing::Additive {
                return fail(
                    "skill.routing",
                    "only OPID adds the signals of two skills; other methods have one teacher: use critical_first",
                );
            }
            let penalty =
                self.reward.invalid_penalty > 0.0 && self.advantage.statistics == GroupStatistics::Trajectory;
            if s.teacher != Teacher::Reference && l.kl == 0.0 && !penalty {
                return fail(
                    "loss.kl",
                    "in a group whose episodes all fail alike nothing but the skills of a teacher that drifts along \
                     would move the policy: set loss.kl above 0, or reward.invalid_penalty (which counts there with \
                     advantage.statistics = \"trajectory\" alone), or skill.teacher = \"reference\"",
                );
            }
            if let Some((key, reason)) = s.schedule.fault(self.steps) {
                return fail(key, reason);
            }
        }
        if !(0.0..=1.0).contains(&s.max_failures) {
            return fail("skill.max_failures", "it is a share of the episodes: use 0 to 1");
        }
        if !(0.0..1.0).contains(&s.teacher_decay) {
            return fail(
                "skill.teacher_decay",
                "use 0 up to, but not, 1: a teacher that stays as it was is skill.teacher = \"reference\"",
            );
        }
        for (key, share, of) in [
            ("skill.min_coverage", s.min_coverage, "it is a share of the turns: use 0 to 1"),
            ("skill.min_step_coverage", s.min_step_coverage, "it is a share of the turns: use 0 to 1"),
            (
                "skill.min_advantage_share",
                s.min_advantage_share,
                "it is a share of the sum of |A|: use 0 to 1",
            ),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return fail(key, of);
            }
        }
        if !s.noise.is_valid() {
            return fail("skill.noise", "use shares of 0 or more that add up to at most 1");
        }
        let fault = match s.analyzer {
            AnalyzerName::Hindsight | AnalyzerName::Bank => None,
            AnalyzerName::OpenAi => s.openai.fault(),
            AnalyzerName::Policy => s.policy.fault(),
            AnalyzerName::Replay => s.replay.is_empty().then_some((
                "skill.replay",
                "name a file that opid analyze --record wrote, or a run's folder",
            )),
        };
        if let Some((key, reason)) = fault {
            return fail(key, reason);
        }
        if s.clip < 0.0 {
            return fail("skill.clip", "use 0 for no clipping, or a number of nats");
        }
        if !(0.0..1.0).contains(&l.clip_low) || l.clip_high < 0.0 {
            return fail(
                "loss.clip_low",
                "the ratio range is [1 - clip_low, 1 + clip_high]: use 0 <= clip_low < 1",
            );
        }
        if l.dual_clip != 0.0 && l.dual_clip <= 1.0 {
            return fail("loss.dual_clip", "use 0 for none, or a value above 1");
        }
        if o.learning_rate <= 0.0 || o.learning_rate.is_nan() {
            return fail("optimizer.learning_rate", "use a value above 0");
        }
        if o.mini_batches == 0 || o.mini_batches > r.groups {
            return fail("optimizer.mini_batches", "use at least 1 and at most rollout.groups");
        }
        if o.grad_clip <= 0.0 || o.grad_clip.is_nan() {
            return fail("optimizer.grad_clip", "use a value above 0");
        }
        if self.evaluation.temperatures.is_empty() {
            return fail("evaluation.temperatures", "name at least one temperature");
        }
        if self.evaluation.skills.is_empty() {
            return fail("evaluation.skills", "name none, bank or both");
        }
        if l.policy < 0.0 || l.policy.is_nan() {
            return fail("loss.policy", "a weight is 0 or more");
        }
        if !self.evaluation.temperatures.iter().all(|t| t.is_finite() && *t >= 0.0) {
            return fail("evaluation.temperatures", "use 0 (greedy) or finite values above 0");
        }
        if self.evaluation.games == 0 && self.environment.is_endless() {
            return fail(
                "evaluation.games",
                "0 plays a whole split, but this environment makes games without end; give a number",
            );
        }
        if let Some(w) = &self.warm_start {
            if w.heads == 0 || w.kv_heads == 0 || w.heads % w.kv_heads != 0 {
                return fail("warm_start.kv_heads", "it must divide warm_start.heads");
            }
            if w.head_dim == 0 || w.head_dim % 2 != 0 {
                return fail("warm_start.head_dim", "the rotary embedding needs an even width");
            }
            if w.stages.is_empty() || w.stages.iter().any(|s| s.updates == 0 || s.episodes == 0) {
                return fail(
                    "warm_start.stages",
                    "give at least one stage with updates and episodes above 0",
                );
            }
            // What is shown and its repetition.
            let (least, most) = (Stage::LEAST_COPYING, self.policy.max_context / 2);
            if w.stages.iter().any(|s| s.copying != 0 && !(least..=most).contains(&s.copying)) {
                let reason =
                    format!("copying: use 0, or {least} to {most} tokens (half of policy.max_context)");
                return fail("warm_start.stages", &reason);
            }
        }
        Ok(())
    }
}

/// Applies `dotted.key=value`; the value is TOML, or text where it is not.
fn apply(table: &mut Table, change: &str) -> Result<(), RecipeError> {
    let malformed = |reason: String| RecipeError::Malformed { origin: format!("--set {change}"), reason };
    let (key, value) = change
        .split_once('=')
        .ok_or_else(|| malformed("write key=value, for example --set rollout.groups=8".into()))?;
    let value = match format!("v = {value}").parse::<Table>() {
        Ok(mut t) => t.remove("v").unwrap_or(Value::String(value.into())),
        Err(_) => Value::String(value.trim().into()),
    };
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut here = table;
    for part in parts {
        let next = here.entry(part).or_insert_with(|| Value::Table(Table::new()));
        here = next.as_table_mut().ok_or_else(|| malformed(format!("{part} is not a section")))?;
    }
    here.insert(last.to_owned(), value);
    Ok(())
}

/// The first key whose value is `nan`: it would pass for any size, and make everything it is used in `nan`.
fn not_a_number(value: &Value) -> Option<String> {
    let inside = |key: &str, value: &Value| match not_a_number(value)? {
        rest if rest.is_empty() => Some(key.to_owned()),
        rest => Some(format!("{key}.{rest}")),
    };
    match value {
        Value::Float(number) => number.is_nan().then(String::new),
        Value::Array(values) => {
            values.iter().enumerate().find_map(|(number, value)| inside(&number.to_string(), value))
        }
        Value::Table(table) => table.iter().find_map(|(key, value)| inside(key, value)),
        _ => None,
    }
}

/// What was said, and where nothing was, what the algorithm named sets elsewhere.
fn with_preset(mut said: Table) -> Table {
    let named = said.entry("algorithm").or_insert_with(|| Value::Table(Table::new()));
    if let Some(named) = named.as_table_mut() {
        named.entry("name").or_insert_with(|| Value::String(Algorithm::default().name()));
    }
    // What cannot be read is found, and said, when the whole is.
    let Ok(algorithm) = named.clone().try_into::<Algorithm>() else { return said };
    let preset = algorithm.preset().parse().expect("presets are TOML");
    fill(&mut said, preset);
    said
}

/// Adds the keys of `others` that are not there.
fn fill(table: &mut Table, others: Table) {
    for (key, value) in others {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(section)), Value::Table(others)) => fill(section, others),
            (Some(_), _) => {}
            (None, value) => drop(table.insert(key, value)),
        }
    }
}

/// Adds "did you mean" to an error about an unknown key or word.
pub(crate) fn with_suggestion(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    let best = match quoted.split_first() {
        Some((said, known)) if unknown => known
            .iter()
            .map(|k| (strsim::jaro_winkler(said, k), *k))
            .filter(|(score, _)| *score > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0)),
        _ => None,
    };
    match best {
        Some((_, known)) => format!("{message}\ndid you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(changes: &[&str]) -> Result<Recipe, RecipeError> {
        Recipe::read(None, &changes.iter().map(|c| c.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_built_in_recipe_resolves_and_repeats() {
        let recipe = set(&[]).unwrap();
        let again = Recipe::parse(&recipe.to_toml(), "resolved").unwrap();
        assert_eq!(recipe, again);
    }

    #[test]
    fn changes_are_applied_and_checked() {
        let recipe = set(&["rollout.groups=4", "name=other", "algorithm.name=grpo"]).unwrap();
        assert_eq!(recipe.rollout.groups, 4);
        assert_eq!(recipe.name, "other");
        assert_eq!(recipe.algorithm.name(), "grpo");
        for (change, says) in [
            ("policy.save_dtype=bf15", "did you mean `bf16`?"),
            ("rollout.gruops=4", "did you mean `groups`?"),
            ("environment.fraction=0.5", "without end"),
            ("environment.fraction=0", "share of the tasks"),
            ("evaluation.skills=[]", "none, bank or both"),
            ("algorithm.name=gpro", "did you mean `grpo`?"),
            ("rollout.groups=many", "invalid type"),
            ("rollout.group_size=1", "use 2 or more"),
            ("rollout", "write key=value"),
            ("name.x=1", "not a section"),
            ("skill.clip=-1", "use 0 for no clipping"),
            ("skill.max_failures=1.5", "share of the episodes"),
            ("evaluation.temperatures=[0.4, -1.0]", "0 (greedy)"),
            ("evaluation.temperatures=[inf]", "0 (greedy)"),
            ("evaluation.games=0", "without end"),
            ("policy.model=folder", "leave one of the two out"),
            ("prompt.layout=windows", "did you mean `window`?"),
            ("prompt={ layout = \"window\", max_tokens = 4090 }", "must fit into policy.max_context"),
            ("prompt={ layout = \"window\", max_tokens = 0 }", "at least one token"),
            ("skill.analyzer=replay", "opid analyze --record"),
            ("skill={ analyzer = \"policy\", policy = { temperature = -1.0 } }", "0 (greedy)"),
            (
                "skill={ analyzer = \"policy\", policy = { temperature = nan } }",
                "skill.policy.temperature is nan",
            ),
            ("skill={ analyzer = \"policy\", policy = { max_reply_tokens = 0 } }", "at least 1"),
            ("skill={ analyzer = \"policy\", policy = { concurrency = 0 } }", "at least 1"),
            ("skill={ analyzer = \"policy\", policy = { max_trajectory_characters = 9 } }", "at least 2000"),
            ("skill.policy.max_tokens=9", "did you mean `max_reply_tokens`?"),
            ("skill.analyzer=polcy", "did you mean `policy`?"),
            ("skill.teacher_decay=1.0", "stays as it was"),
            ("skill.min_coverage=1.5", "share of the turns"),
            ("skill.min_advantage_share=-0.1", "share of the sum"),
            ("skill.noise.drop=1.5", "at most 1"),
            ("skill.schedule.start_step=0", "count from 1"),
            ("skill.schedule={ start_step = 5, stop_step = 4 }", "no step has skills"),
            ("skill.schedule.start_step=1000", "behind the last training step"),
            ("reward.score=-1", "0 or more"),
            ("loss.kl=nan", "loss.kl is nan"),
            ("evaluation.temperatures=[1.0, nan]", "evaluation.temperatures.1 is nan"),
            ("warm_start.stages=[{ updates = 1, copying = 4 }]", "or 8 to"),
            ("warm_start.stages=[{ updates = 1, copying = 99999 }]", "half of policy.max_context"),
            (
                "warm_start.stages=[{ updates = 1, learning_rate = nan }]",
                "warm_start.stages.0.learning_rate is nan",
            ),
        ] {
            let error = set(&[change]).unwrap_err().to_string();
            assert!(error.contains(says), "{change}: {error}");
        }
    }

    #[test]
    fn the_skill_term_never_acts_alone() {
        let own = ["skill.teacher=policy", "loss.kl=0"];
        assert!(set(&own).is_ok(), "the penalty holds");
        for alone in ["reward.invalid_penalty=0", "advantage.statistics=row"] {
            let error = set(&[own[0], own[1], alone]).unwrap_err().to_string();
            assert!(error.contains("all fail alike"), "{error}");
            assert!(set(&[own[1], alone]).is_ok(), "a frozen teacher holds");
            assert!(set(&[own[1], own[0], alone, "algorithm.name=grpo"]).is_ok());
        }
    }

    #[test]
    fn endpoints_are_resolved_and_checked() {
        for (changes, says) in [
            (vec!["base_url=localhost:8000"], "http://localhost:8000/v1"),
            (vec!["base_url=http://me:secret@host/v1"], "OPENAI_API_KEY"),
            (vec!["base_url=http://host/v1?key=1"], "OPENAI_API_KEY"),
            (vec!["concurrency=0"], "at least 1"),
            (vec!["timeout_seconds=0"], "above 0"),
            (vec!["max_trajectory_characters=100"], "at least 2000"),
            (vec!["max_cost=1.0"], "without input_price"),
            (vec!["max_cost=1.0", "input_price=-1"], "0 or more"),
            (vec!["api_key=abc"], "unknown field `api_key`: keys of endpoints are taken from"),
        ] {
            let changes = changes.iter().map(|change| format!("skill.openai.{change}"));
            let named = ["skill.analyzer=openai".to_owned(), "skill.openai.model=m".to_owned()];
            let error = Recipe::read(None, &named.into_iter().chain(changes.clone()).collect::<Vec<_>>());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(says), "{:?}: {error}", changes.collect::<Vec<_>>());
            assert!(!error.contains("secret") && !error.contains("abc"), "{error}");
        }
        let mut openai = crate::recipe::OpenAi::default();
        openai.resolve(|name| (name == "OPENAI_MODEL").then(|| "small".to_owned()));
        assert_eq!((&*openai.base_url, &*openai.model), ("https://api.openai.com/v1", "small"));
        openai.resolve(|_| Some("other".to_owned()));
        assert_eq!((&*openai.base_url, &*openai.model), ("https://api.openai.com/v1", "small"));
        openai.model = String::new();
        assert!(openai.fault().is_some_and(|(_, reason)| reason.contains("OPENAI_MODEL")));
    }
}
