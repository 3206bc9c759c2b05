//! Skills from a language model behind an OpenAI-compatible chat endpoint.
//!
//! An episode is asked about as soon as it ends, so many at a time, while others are still played. Episodes with
//! the same text are one question, and every reply is kept on disk: a run that is repeated or resumed asks nothing
//! twice and gets the same skills.

mod budget;
mod cache;
mod client;
mod dialect;
mod error;
mod key;
mod ledger;
mod round;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cache::Cache;
use client::Client;
pub use error::{OpenAiError, RequestError};
pub use key::ApiKey;
use opid_lm::storage::Storage;
use round::{Asking, Round, lock};

use super::analyzer::{Analyses, Analysis, Analyzer, AnalyzerError, Answer, StepContext, StopError};
use super::inquiry::{Inquiry, Question, Reply};
use super::reply::ReplyError;
use crate::interrupt::Interrupt;
use crate::recipe;
use crate::trajectory::Trajectory;

/// Why a question has no answer.
enum AskError {
    /// It concerns this episode.
    Episode(AnalyzerError),
    /// It concerns all.
    Stop(OpenAiError),
    /// Another question met a reason to stop.
    Stopped,
}

impl From<ReplyError> for AskError {
    fn from(error: ReplyError) -> Self {
        AskError::Episode(error.into())
    }
}

impl From<OpenAiError> for AskError {
    fn from(error: OpenAiError) -> Self {
        AskError::Stop(error)
    }
}

/// The analyzer.
#[derive(Debug)]
pub struct OpenAi {
    asker: Arc<Asker>,
    concurrency: usize,
    interrupt: Interrupt,
    /// The questions of the present step, if any was asked.
    asking: Mutex<Option<Asking>>,
}

/// What answers a question.
#[derive(Debug)]
struct Asker {
    client: Client,
    cache: Option<Cache>,
    inquiry: Inquiry,
    corrections: usize,
}

impl OpenAi {
    /// An analyzer with the settings of a recipe and the key of the environment. Its budget counts what was spent
    /// for the run in the folder `run` before; without one it starts anew. What it keeps is written through `storage`.
    ///
    /// # Errors
    /// The key is missing where it is needed, or no header can hold it; or what was spent cannot be read.
    pub fn new(
        settings: &recipe::OpenAi,
        max_step_skills: usize,
        run: Option<&Path>,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, OpenAiError> {
        OpenAi::with_key(settings, max_step_skills, run, storage, ApiKey::from_environment()?)
    }

    /// The same with a given key.
    ///
    /// # Errors
    /// The endpoint needs a key, and there is none; or what was spent cannot be read.
    pub fn with_key(
        settings: &recipe::OpenAi,
        max_step_skills: usize,
        run: Option<&Path>,
        storage: Arc<dyn Storage>,
        key: ApiKey,
    ) -> Result<Self, OpenAiError> {
        let asker = Asker {
            client: Client::new(settings, run, storage.clone(), key)?,
            cache: Cache::new(settings, storage),
            inquiry: Inquiry::new(max_step_skills, settings.max_trajectory_characters),
            corrections: settings.corrections,
        };
        let asker = Arc::new(asker);
        Ok(OpenAi {
            asker,
            concurrency: settings.concurrency,
            interrupt: Interrupt::default(),
            asking: Mutex::default(),
        })
    }

    fn begin(&self) -> Asking {
        Asking::new(self.asker.clone(), self.concurrency, self.interrupt.clone())
    }
}

impl Asker {
    /// The skills of one episode.
    fn answer(&self, question: &Question, round: &Round) -> Result<Analysis, AskError> {
        let mut asked = 0;
        let result = self.inquiry.ask(question, self.corrections, |message| {
            asked += 1;
            self.reply(message, round)
        });
        round.count(|u| u.corrections += usize::saturating_sub(asked, 1));
        result
    }

    /// The reply to a message, from the cache if it is there.
    fn reply(&self, message: &str, round: &Round) -> Result<Reply, AskError> {
        let Some(cache) = &self.cache else { return self.client.send(message, round) };
        if let Some(reply) = cache.find(message)? {
            round.count(|u| u.cache_hits += 1);
            return Ok(reply);
        }
        let reply = self.client.send(message, round)?;
        Ok(cache.store(message, reply)?)
    }
}

impl Analyzer for OpenAi {
    fn heed(&mut self, interrupt: &Interrupt) {
        self.interrupt = interrupt.clone();
    }

    fn prefetch(&self, trajectory: &Trajectory) -> Result<(), StopError> {
        let question = self.asker.inquiry.question(trajectory);
        let mut present = lock(&self.asking);
        let asking = present.get_or_insert_with(|| self.begin());
        match asking.is_stopped() {
            false => asking.ask(question),
            true => drop(present.take().map(Asking::finish).transpose()?),
        }
        Ok(())
    }

    fn answers_singly(&self) -> bool {
        true
    }

    fn wait_for(&self, trajectory: &Trajectory) -> Result<Option<Answer>, StopError> {
        let question = self.asker.inquiry.question(trajectory);
        let text = question.text.clone();
        let mut present = lock(&self.asking);
        let asking = present.get_or_insert_with(|| self.begin());
        asking.ask(question);
        let answer = asking.wait_for(&text);
        if answer.is_none() {
            present.take().map(Asking::finish).transpose()?;
        }
        Ok(answer)
    }

    fn analyze(
        &self,
        _context: StepContext<'_>,
        trajectories: &[&Trajectory],
    ) -> Result<Analyses, StopError> {
        let mut asking = lock(&self.asking).take().unwrap_or_else(|| self.begin());
        let mut shortened = 0;
        let asked: Vec<String> = trajectories
            .iter()
            .map(|t| {
                let question = self.asker.inquiry.question(t);
                shortened += usize::from(question.shortened);
                let text = question.text.clone();
                asking.ask(question);
                text
            })
            .collect();
        let (answers, mut usage) = asking.finish()?;
        usage.shortened = shortened;
        usage.shared = asked.len() - asked.iter().collect::<HashSet<_>>().len();
        Ok(Analyses { results: asked.iter().map(|text| answers[text].clone()).collect(), usage })
    }
}
