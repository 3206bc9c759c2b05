//! What a language model is asked about a finished episode, and what becomes of its replies.
//!
//! It works for any model, wherever it runs. Whoever has one gives a closure from a message to a reply
//! ([`Inquiry::ask`]), or reads replies and asks for corrections by itself, many at a time
//! ([`Inquiry::read`], [`Inquiry::correction`]).

use std::collections::HashMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::analyzer::Analysis;
use super::excerpt::{cut, excerpt};
use super::reply::{Answer, ReplyError, parse};
use crate::trajectory::Trajectory;

/// Characters of an unusable reply that are shown when the model is asked again.
const TAIL: usize = 2000;

/// Makes questions and reads replies.
#[derive(Debug)]
pub struct Inquiry {
    environment: Environment<'static>,
    /// Most step skills of an episode.
    max_step_skills: usize,
    /// Most characters of an episode's text.
    max_characters: usize,
}

/// A question about one episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The message.
    pub text: String,
    /// Whether parts of the episode were left out.
    pub shortened: bool,
    /// Whether the message shows step `i`; only shown steps can get a skill.
    pub shown: Vec<bool>,
}

/// The questions about some episodes; episodes with the same text are one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The questions, all different.
    pub distinct: Vec<Question>,
    /// For every episode the number of its question.
    pub of: Vec<usize>,
    /// Episodes of which parts were left out.
    pub shortened: usize,
}

impl Questions {
    /// Episodes whose question is that of an earlier one.
    pub fn shared(&self) -> usize {
        self.of.len() - self.distinct.len()
    }
}

/// What a model said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// Whether it ends at a limit of tokens.
    pub cut_off: bool,
}

impl Inquiry {
    /// Questions that ask for at most `max_step_skills` and show at most `max_characters` of an episode.
    pub fn new(max_step_skills: usize, max_characters: usize) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters"));
        for (name, source) in [
            ("question", include_str!("../../prompts/analyzer/question.jinja")),
            ("correction", include_str!("../../prompts/analyzer/correction.jinja")),
        ] {
            environment.add_template(name, source).expect("the built-in templates are valid");
        }
        Inquiry { environment, max_step_skills, max_characters }
    }

    /// The question about an episode.
    pub fn question(&self, t: &Trajectory) -> Question {
        let excerpt = excerpt(t, self.max_characters);
        let text = self.render(
            "question",
            context! {
                goal => cut(t.goal.trim(), self.max_characters / 4),
                outcome => if t.won { "success" } else { "failure" },
                budget => self.max_step_skills.min(t.turns.len()),
                episode => excerpt.text,
            },
        );
        Question { text, shortened: excerpt.shortened, shown: excerpt.shown }
    }

    /// The questions about some episodes.
    pub fn questions(&self, trajectories: &[&Trajectory]) -> Questions {
        let mut questions = Questions::default();
        let mut numbers = HashMap::new();
        for t in trajectories {
            let question = self.question(t);
            questions.shortened += usize::from(question.shortened);
            let number = *numbers.entry(question.text.clone()).or_insert(questions.distinct.len());
            if number == questions.distinct.len() {
                questions.distinct.push(question);
            }
            questions.of.push(number);
        }
        questions
    }

    /// Asks, and asks again up to `corrections` times with the reason why the reply cannot be used.
    ///
    /// # Errors
    /// Those of `ask`, or why the last reply cannot be used.
    pub fn ask<E: From<ReplyError>>(
        &self,
        question: &Question,
        corrections: usize,
        mut ask: impl FnMut(&str) -> Result<Reply, E>,
    ) -> Result<Analysis, E> {
        let mut message = question.text.clone();
        let mut left = corrections;
        loop {
            let reply = ask(&message)?;
            let error = match self.read(question, &reply) {
                Ok(analysis) => return Ok(analysis),
                Err(error) => error,
            };
            if left == 0 {
                return Err(error.into());
            }
            left -= 1;
            message = self.correction(question, &reply, &error);
        }
    }

    /// The skills that a reply gives: none for steps that the model was not shown, or beyond the limit.
    ///
    /// # Errors
    /// The reply cannot be used.
    pub fn read(&self, question: &Question, reply: &Reply) -> Result<Analysis, ReplyError> {
        match parse(&reply.text) {
            Ok(answer) => Ok(self.analysis(question, answer)),
            Err(_) if reply.cut_off => Err(ReplyError::CutOff),
            Err(error) => Err(error),
        }
    }

    /// The message that asks a question again, because its reply cannot be used.
    pub fn correction(&self, question: &Question, reply: &Reply, error: &ReplyError) -> String {
        let start = reply.text.chars().count().saturating_sub(TAIL);
        let tail: String = reply.text.chars().skip(start).collect();
        let (question, reason) = (&question.text, error.to_string());
        self.render("correction", context! { question, reason, tail })
    }

    fn analysis(&self, question: &Question, answer: Answer) -> Analysis {
        let shown = |step: usize| question.shown.get(step).copied().unwrap_or(false);
        let steps = answer.step_skills.into_iter().filter(|(step, _)| shown(*step));
        Analysis {
            summary: answer.summary,
            episode_skill: answer.episode_skill,
            step_skills: steps.take(self.max_step_skills).collect(),
        }
    }

    fn render(&self, name: &str, values: Value) -> String {
        let template = self.environment.get_template(name).expect("a built-in template");
        template.render(values).expect("the built-in templates know their values")
    }
}
