//! How a history is put into words: four small templates that a recipe can replace.
//!
//! `task.jinja` makes the first message from the first observation, `turn.jinja` every later one;
//! `episode_skill.jinja` and `step_skill.jinja` make the marked blocks in which a skill enters the
//! history, the former after the task, the latter before the turn's instruction. Skills are given only
//! when a response is re-scored (or a starter policy is taught to read them), never in evaluation.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

/// Templates that cannot be read or filled in.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A template file cannot be read.
    #[error(
        "cannot read the prompt template {path}: {source}; prompt.templates is compact, full or a folder"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A template has a mistake.
    #[error("prompt template {name}: {reason}")]
    Template {
        /// The template.
        name: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
}

/// What a message is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scene<'a> {
    /// What the environment says.
    pub observation: &'a str,
    /// Commands to list, if the recipe lists them.
    pub admissible: Option<&'a [String]>,
    /// Skill for the whole episode; only the first message has room for it.
    pub episode_skill: Option<&'a str>,
    /// Skill for this turn.
    pub step_skill: Option<&'a str>,
}

/// The compiled templates.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    thinking: bool,
}

const NAMES: [&str; 4] = ["task.jinja", "turn.jinja", "episode_skill.jinja", "step_skill.jinja"];
const COMPACT: [&str; 4] = [
    include_str!("../prompts/compact/task.jinja"),
    include_str!("../prompts/compact/turn.jinja"),
    include_str!("../prompts/compact/episode_skill.jinja"),
    include_str!("../prompts/compact/step_skill.jinja"),
];
const FULL: [&str; 4] = [
    include_str!("../prompts/full/task.jinja"),
    include_str!("../prompts/full/turn.jinja"),
    include_str!("../prompts/full/episode_skill.jinja"),
    include_str!("../prompts/full/step_skill.jinja"),
];

impl Prompts {
    /// The built-in `compact` or `full` templates, or those of a folder; `thinking` asks for reasoning.
    pub fn new(templates: &str, thinking: bool) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters"));
        for (i, name) in NAMES.into_iter().enumerate() {
            let source = match templates {
                "compact" => COMPACT[i].to_owned(),
                "full" => FULL[i].to_owned(),
                folder => {
                    let path = Path::new(folder).join(name);
                    std::fs::read_to_string(&path).map_err(|source| PromptError::Read { path, source })?
                }
            };
            environment
                .add_template_owned(name, source)
                .map_err(|error| PromptError::Template { name, reason: error.to_string() })?;
        }
        let prompts = Prompts { environment, thinking };
        // Both messages are made once with everything in them, so that mistakes show before a run.
        let admissible = ["look".to_owned()];
        let scene = Scene {
            observation: "You see nothing.",
            admissible: Some(&admissible),
            episode_skill: Some("look first"),
            step_skill: Some("look"),
        };
        prompts.task(scene)?;
        prompts.turn(scene)?;
        Ok(prompts)
    }

    /// The first message of an episode.
    pub fn task(&self, scene: Scene<'_>) -> Result<String, PromptError> {
        self.message("task.jinja", scene)
    }

    /// A later message.
    pub fn turn(&self, scene: Scene<'_>) -> Result<String, PromptError> {
        self.message("turn.jinja", scene)
    }

    fn message(&self, name: &'static str, scene: Scene<'_>) -> Result<String, PromptError> {
        let block = |name: &'static str, skill: Option<&str>| match skill {
            None => Ok(String::new()),
            Some(skill) => self.render(name, context! { skill }),
        };
        let values = context! {
            observation => scene.observation,
            admissible => scene.admissible.map(|a| a.iter().cloned().collect::<Value>()),
            episode_skill => block("episode_skill.jinja", scene.episode_skill)?,
            step_skill => block("step_skill.jinja", scene.step_skill)?,
            thinking => self.thinking,
        };
        self.render(name, values)
    }

    fn render(&self, name: &'static str, values: Value) -> Result<String, PromptError> {
        self.environment
            .get_template(name)
            .and_then(|t| t.render(values))
            .map_err(|error| PromptError::Template { name, reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skills_stand_after_the_task_and_before_the_instruction() {
        for (templates, thinking) in [("compact", false), ("full", false), ("full", true)] {
            let prompts = Prompts::new(templates, thinking).unwrap();
            let plain = Scene { observation: "Your task is to: put.", ..Scene::default() };
            let skilled = Scene { episode_skill: Some("EPISODE"), step_skill: Some("STEP"), ..plain };
            let (text, bare) = (prompts.task(skilled).unwrap(), prompts.task(plain).unwrap());
            let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in {text}"));
            assert!(at("Your task") < at("EPISODE") && at("EPISODE") < at("STEP"), "{text}");
            assert!(!bare.contains("EPISODE") && !bare.contains("STEP"));
            assert!(!prompts.turn(skilled).unwrap().contains("EPISODE"));
            if templates == "full" {
                assert!(at("STEP") < at("<action>"), "{text}");
                assert_eq!(thinking, bare.contains("<think>"));
            }
        }
    }

    #[test]
    fn a_folder_without_templates_is_refused() {
        let error = Prompts::new("/nowhere", false).unwrap_err().to_string();
        assert!(error.contains("task.jinja") && error.contains("compact, full or a folder"), "{error}");
    }
}
