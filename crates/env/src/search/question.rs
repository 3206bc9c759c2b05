//! Questions, and the episodes in which they are answered.

use std::any::Any;
use std::sync::Arc;

use super::answer::{blocks, exact_match, last};
use super::observation::{Style, information, listing};
use super::quiz::Path;
use super::scholar::Scholar;
use crate::environment::{Episode, Expert, Lookup, Slips, Step, Task};
use crate::retrieval::{Found, Retriever};

/// Tags that a passage must not hold, so that it can speak for nobody.
const TAGS: [&str; 5] = ["search", "answer", "information", "think", "tool_response"];

/// What all episodes share.
pub struct Library {
    /// Who finds passages.
    pub retriever: Arc<dyn Retriever>,
    /// Passages shown for a query.
    pub passages: usize,
    /// How they are written.
    pub style: Style,
    /// Whether to do as the reference where that can be exploited: passages are shown and scored as they are, so that
    /// one that holds an answer block answers for the agent.
    pub reference: bool,
    /// Turns of an episode, as far as `reference` needs to know: at the last one nothing is searched any more, and what
    /// was shown is scored.
    pub turns: usize,
}

/// A question with its known answers.
pub struct Question {
    /// Its name.
    pub id: String,
    /// Where it comes from (for example `hotpotqa` or `synth_2hop`), by which success is reported.
    pub source: String,
    /// The question.
    pub text: String,
    /// Answers, any of which is right.
    pub answers: Vec<String>,
    /// How it is looked up, where that is known.
    pub path: Option<Path>,
    /// What is searched.
    pub library: Arc<Library>,
}

impl Task for Question {
    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> &str {
        &self.source
    }

    fn goal(&self) -> &str {
        &self.text
    }

    fn start(self: Arc<Self>) -> Box<dyn Episode> {
        Box::new(Research::new(self))
    }
}

/// An episode: the agent searches until it answers.
#[derive(Clone)]
pub struct Research {
    question: Arc<Question>,
    /// What was said and shown, as far as it is scored.
    said: String,
    /// The passages shown so far, as they are in the corpus.
    pages: String,
    observation: String,
    /// What was found for the query of the next step, if that was asked for.
    found: Option<Found>,
    turns: usize,
    step: Option<Step>,
}

impl Research {
    fn new(question: Arc<Question>) -> Self {
        let observation = question.text.clone();
        Research {
            question,
            said: String::new(),
            pages: String::new(),
            observation,
            found: None,
            turns: 0,
            step: None,
        }
    }

    /// The question.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The passages shown so far.
    pub fn pages(&self) -> &str {
        &self.pages
    }

    /// The query of an action, where there is one to be made.
    fn query<'a>(&self, action: &'a str) -> Option<&'a str> {
        let library = &self.question.library;
        let late = library.reference && self.turns + 1 >= library.turns;
        let query = blocks(action, "search").next()?;
        (!answers(action) && !late && self.step.is_none()).then_some(query)
    }

    /// What the agent is shown of what was found.
    fn show(&mut self, found: Found) -> String {
        let library = self.question.library.clone();
        let text = match found {
            Err(error) => error.to_string(),
            Ok(passages) if passages.is_empty() => "No search results found.".to_owned(),
            Ok(passages) => {
                let contents = || passages.iter().map(|p| &*p.contents);
                contents().for_each(|passage| self.pages.push_str(&format!("{passage}\n")));
                match library.reference {
                    true => listing(contents()),
                    false => harmless(&listing(contents())),
                }
            }
        };
        information(&text, library.style)
    }
}

/// Whether an action holds an answer.
fn answers(action: &str) -> bool {
    action.contains("<answer>") && action.contains("</answer>")
}

/// A text whose tags are none any more.
fn harmless(text: &str) -> String {
    let mut text = text.to_owned();
    for tag in TAGS {
        for (tag, plain) in
            [(format!("<{tag}>"), format!("({tag})")), (format!("</{tag}>"), format!("(/{tag})"))]
        {
            text = text.replace(&tag, &plain);
        }
    }
    text
}

impl Episode for Research {
    fn observation(&self) -> &str {
        &self.observation
    }

    /// Nothing: queries and answers are free.
    fn admissible(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whatever searches or answers.
    fn admits(&self, action: &str) -> bool {
        self.query(action).is_some() || answers(action)
    }

    fn lookup(&self, action: &str) -> Option<Lookup> {
        let query = self.query(action)?.to_owned();
        let library = &self.question.library;
        Some(Lookup { retriever: library.retriever.clone(), query, most: library.passages })
    }

    fn supply(&mut self, found: Found) {
        self.found = Some(found);
    }

    fn step(&mut self, action: &str) -> Step {
        if let Some(step) = &self.step {
            return step.clone();
        }
        let lookup = self.lookup(action);
        self.turns += 1;
        self.said.push_str(action);
        let (reference, turns) = (self.question.library.reference, self.question.library.turns);
        if answers(action) || (reference && self.turns >= turns) {
            let known = self.question.answers.iter().map(String::as_str);
            let won = last(&self.said).is_some_and(|answer| exact_match(answer, known));
            let step = Step { observation: String::new(), score: f32::from(u8::from(won)), won, done: true };
            self.observation = String::new();
            self.step = Some(step.clone());
            return step;
        }
        let supplied = self.found.take();
        self.observation = match lookup {
            None => String::new(),
            Some(lookup) => {
                let found = supplied.unwrap_or_else(|| lookup.find());
                self.show(found)
            }
        };
        if reference {
            self.said.push_str(&self.observation);
        }
        Step { observation: self.observation.clone(), score: 0.0, won: false, done: false }
    }

    fn expert(&self, seed: u64, slips: Slips) -> Box<dyn Expert> {
        Box::new(Scholar::new(seed, slips))
    }

    fn fork(&self) -> Box<dyn Episode> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
