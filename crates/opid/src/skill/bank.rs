//! A bank of skills written beforehand: general advice, and advice for some kinds of task.
//!
//! It serves two purposes: as an analyzer that gives every episode the skill of its task, which is where
//! the self-distillation methods of the literature take theirs from, and as a source of skills for the
//! policy's own history (Skill-GRPO, and evaluations with skills).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::analyzer::{Analyses, Analysis, Analyzer, StepContext, StopError, Usage};
use crate::recipe::{Recipe, ShownSkills};
use crate::trajectory::Trajectory;

/// The skills of ALFWorld's households, generated and real.
const HOUSEHOLD: &str = include_str!("../../skills/household.toml");

/// The skills of search QA.
const SEARCH: &str = include_str!("../../skills/search.toml");
/// The skills of WebShop.
const WEBSHOP: &str = include_str!("../../skills/webshop.toml");

/// Which bank, and how a task's skills are found in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BankSettings {
    /// A bank's file; empty takes the built-in bank of the environment.
    pub file: String,
    /// `kind` (by the kind of task, which the environment tells), `keywords` (by words of the goal) or `all`
    /// (every skill of the bank).
    pub retrieval: Retrieval,
}

/// How skills are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retrieval {
    /// By the kind of task.
    #[default]
    Kind,
    /// By words of the goal.
    Keywords,
    /// Every one.
    All,
}

/// A bank that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// The file cannot be read.
    #[error("cannot read the skill bank {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a bank.
    #[error("the skill bank {origin}: {reason}")]
    Malformed {
        /// The file.
        origin: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// There is none for the environment.
    #[error("there is no built-in skill bank for {environment}: name a file with skill.bank.file")]
    None {
        /// The environment.
        environment: String,
    },
}

/// No skill of the bank is for a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the skill bank has nothing for tasks of kind {kind} like `{goal}`: add `general` advice, or a [[task]]"
)]
pub struct NoSkill {
    /// The kind of task.
    pub kind: String,
    /// Its goal.
    pub goal: String,
}

/// A bank as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// For every task.
    #[serde(default)]
    general: String,
    /// For some tasks.
    #[serde(default)]
    task: Vec<Entry>,
}

/// A skill for some tasks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Kinds of task it is for.
    #[serde(default)]
    kinds: Vec<String>,
    /// It is for tasks whose goal says one of these.
    #[serde(default)]
    keywords: Vec<String>,
    /// The skill.
    skill: String,
}

/// Skills written beforehand.
#[derive(Clone, Debug)]
pub struct Bank {
    contents: Contents,
    retrieval: Retrieval,
}

impl Bank {
    /// The bank that settings name, for an environment.
    ///
    /// # Errors
    /// The file cannot be read, is no bank or says nothing, or there is none for the environment.
    pub fn open(settings: &BankSettings, environment: &str) -> Result<Self, BankError> {
        let (text, origin) = match (settings.file.as_str(), environment) {
            ("", "household" | "alfworld") => (HOUSEHOLD.to_owned(), "built in".to_owned()),
            ("", "search") => (SEARCH.to_owned(), "built in".to_owned()),
            ("", "webshop") => (WEBSHOP.to_owned(), "built in".to_owned()),
            ("", environment) => return Err(BankError::None { environment: environment.to_owned() }),
            (file, _) => {
                let path = Path::new(file);
                let text = std::fs::read_to_string(path)
                    .map_err(|source| BankError::Read { path: path.to_owned(), source })?;
                (text, file.to_owned())
            }
        };
        let contents: Contents = toml::from_str(&text).map_err(|error| BankError::Malformed {
            origin: origin.clone(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let says = |text: &String| !text.trim().is_empty();
        if !says(&contents.general) && contents.task.is_empty() {
            let reason = "it holds no skill: write `general`, or a [[task]] with `kinds` or `keywords`";
            return Err(BankError::Malformed { origin, reason: reason.into() });
        }
        if let Some(number) = contents.task.iter().position(|entry| !says(&entry.skill)) {
            let reason = format!("[[task]] {}: the skill is empty", number + 1);
            return Err(BankError::Malformed { origin, reason });
        }
        Ok(Bank { contents, retrieval: settings.retrieval })
    }

    /// The bank of a recipe, if it is among the sources of skills that the policy is shown.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn among(shown: &[ShownSkills], recipe: &Recipe) -> Result<Option<Self>, BankError> {
        let needed = shown.contains(&ShownSkills::Bank);
        needed.then(|| Bank::open(&recipe.skill.bank, &recipe.environment.name)).transpose()
    }

    /// The skill for a task: general advice, then what is for tasks like it.
    ///
    /// # Errors
    /// There is neither.
    pub fn skill(&self, kind: &str, goal: &str) -> Result<String, NoSkill> {
        let said = goal.to_lowercase();
        let fits = |entry: &&Entry| match self.retrieval {
            Retrieval::Kind => entry.kinds.iter().any(|k| k == kind),
            Retrieval::Keywords => entry.keywords.iter().any(|word| said.contains(&word.to_lowercase())),
            Retrieval::All => true,
        };
        let general = Some(self.contents.general.as_str()).filter(|general| !general.trim().is_empty());
        let special = self.contents.task.iter().filter(fits).map(|entry| entry.skill.as_str());
        let all: Vec<&str> = general.into_iter().chain(special).map(str::trim).collect();
        match all.is_empty() {
            true => Err(NoSkill { kind: kind.to_owned(), goal: goal.to_owned() }),
            false => Ok(all.join("\n")),
        }
    }
}

impl Analyzer for Bank {
    fn analyze(
        &self,
        _context: StepContext<'_>,
        trajectories: &[&Trajectory],
    ) -> Result<Analyses, StopError> {
        let read = |t: &&Trajectory| {
            let episode_skill = self.skill(&t.kind, &t.goal)?;
            Ok(Analysis { episode_skill, ..Analysis::default() })
        };
        Ok(Analyses { results: trajectories.iter().map(read).collect(), usage: Usage::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, retrieval: Retrieval) -> Result<Bank, BankError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Bank::open(&BankSettings { file: file.path().display().to_string(), retrieval }, "any")
    }

    const TWO: &str = "general = \"look\"\n[[task]]\nkinds = [\"a\"]\nkeywords = [\"Hot\"]\nskill = \"heat\"\n\
                       [[task]]\nkinds = [\"b\"]\nkeywords = [\"cool\"]\nskill = \"chill\"";

    #[test]
    fn skills_are_found_by_kind_or_by_words() {
        let bank = |retrieval| open(TWO, retrieval).unwrap();
        assert_eq!(bank(Retrieval::Kind).skill("a", "a cool goal").unwrap(), "look\nheat");
        assert_eq!(bank(Retrieval::Keywords).skill("a", "a COOL goal").unwrap(), "look\nchill");
        assert_eq!(bank(Retrieval::Keywords).skill("a", "a goal").unwrap(), "look");
        assert_eq!(bank(Retrieval::All).skill("c", "").unwrap(), "look\nheat\nchill");
        let special = TWO.split_once('\n').unwrap().1;
        assert!(open(special, Retrieval::Kind).unwrap().skill("c", "").is_err());
    }

    #[test]
    fn the_built_in_bank_knows_every_kind_of_household_task() {
        for retrieval in [Retrieval::Kind, Retrieval::Keywords] {
            let bank =
                Bank::open(&BankSettings { retrieval, ..BankSettings::default() }, "household").unwrap();
            for (kind, goal, says) in [
                ("pick_and_place_simple", "put a mug in shelf.", "put it in"),
                ("look_at_obj_in_light", "examine the mug with the desklamp.", "desklamp"),
                ("pick_clean_then_place_in_recep", "put a clean mug in shelf.", "sinkbasin"),
                ("pick_heat_then_place_in_recep", "put a hot mug in shelf.", "microwave"),
                ("pick_cool_then_place_in_recep", "cool some mug and put it in shelf.", "fridge"),
                ("pick_two_obj_and_place", "put two mug in shelf.", "second one"),
            ] {
                let skill = bank.skill(kind, goal).unwrap();
                assert!(skill.contains(says), "{kind}: {skill}");
            }
        }
    }

    #[test]
    fn files_that_are_no_bank_are_refused() {
        for (text, says) in [
            ("", "holds no skill"),
            ("general = \" \"", "holds no skill"),
            ("[[task]]\nskill = \"\"", "[[task]] 1: the skill is empty"),
            ("[[task]]\nkinds = [\"a\"]", "missing field `skill`"),
            ("[[task]]\nskills = \"\"", "unknown field `skills`"),
            ("general = 3", "expected a string"),
        ] {
            let error = open(text, Retrieval::Kind).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let missing = BankSettings { file: "/nowhere/bank.toml".into(), ..BankSettings::default() };
        let error = Bank::open(&missing, "any").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cannot read the skill bank /nowhere/bank.toml"), "{error}");
        let error = Bank::open(&BankSettings::default(), "chess").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("chess") && error.contains("skill.bank.file"), "{error}");
    }
}
