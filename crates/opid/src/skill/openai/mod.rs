//! Skills from a language model behind an OpenAI-compatible chat endpoint.
//!
//! The episodes of a step are asked about together, so many at a time. Episodes with the same text are one
//! question, and every reply is kept on disk: a run that is repeated or resumed asks nothing twice and
//! gets the same skills.

mod budget;
mod cache;
mod client;
mod dialect;
mod error;
mod key;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cache::Cache;
use client::Client;
pub use error::{OpenAiError, RequestError};
pub use key::ApiKey;

use super::analyzer::{Analyses, Analysis, Analyzer, AnalyzerError, StepContext, StopError, Usage};
use super::inquiry::{Inquiry, Question, Reply};
use super::reply::ReplyError;
use crate::recipe;
use crate::trajectory::Trajectory;

/// The skills of an episode, or why there are none.
type Answer = Result<Analysis, AnalyzerError>;

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
    client: Client,
    cache: Option<Cache>,
    inquiry: Inquiry,
    corrections: usize,
    concurrency: usize,
}

/// What the questions of a step have in common.
#[derive(Debug, Default)]
struct Round {
    usage: Mutex<Usage>,
    /// Set when it makes no sense to go on.
    stopped: AtomicBool,
}

impl Round {
    fn count(&self, add: impl FnOnce(&mut Usage)) {
        add(&mut lock(&self.usage));
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl OpenAi {
    /// An analyzer with the settings of a recipe and the key of the environment.
    ///
    /// # Errors
    /// The key is missing where it is needed, or no header can hold it.
    pub fn new(settings: &recipe::OpenAi, max_step_skills: usize) -> Result<Self, OpenAiError> {
        OpenAi::with_key(settings, max_step_skills, ApiKey::from_environment()?)
    }

    /// The same with a given key.
    ///
    /// # Errors
    /// The endpoint needs a key, and there is none.
    pub fn with_key(
        settings: &recipe::OpenAi,
        max_step_skills: usize,
        key: ApiKey,
    ) -> Result<Self, OpenAiError> {
        Ok(OpenAi {
            client: Client::new(settings, key)?,
            cache: Cache::new(settings),
            inquiry: Inquiry::new(max_step_skills, settings.max_trajectory_characters),
            corrections: settings.corrections,
            concurrency: settings.concurrency,
        })
    }

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

    /// The answers to all questions, in their order.
    fn ask_all(&self, questions: &[Question], round: &Round) -> Result<Vec<Answer>, OpenAiError> {
        let next = AtomicUsize::new(0);
        let answers: Vec<Mutex<Option<Answer>>> = questions.iter().map(|_| Mutex::new(None)).collect();
        let reason = Mutex::new(None);
        let work = || {
            while !round.is_stopped() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(question) = questions.get(number) else { return };
                let answer = match self.answer(question, round) {
                    Ok(analysis) => Ok(analysis),
                    Err(AskError::Episode(error)) => Err(error),
                    Err(AskError::Stopped) => return,
                    Err(AskError::Stop(error)) => {
                        round.stopped.store(true, Ordering::Relaxed);
                        lock(&reason).get_or_insert(error);
                        return;
                    }
                };
                *lock(&answers[number]) = Some(answer);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.min(questions.len()) {
                scope.spawn(work);
            }
        });
        if let Some(error) = lock(&reason).take() {
            return Err(error);
        }
        let answer = |a: Mutex<Option<_>>| a.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(answers.into_iter().map(|a| answer(a).expect("every question was asked")).collect())
    }
}

impl Analyzer for OpenAi {
    fn analyze(&self, _context: StepContext<'_>, trajectories: &[Trajectory]) -> Result<Analyses, StopError> {
        let questions = self.inquiry.questions(trajectories);
        let round = Round::default();
        round.count(|u| (u.shared, u.shortened) = (questions.shared(), questions.shortened));
        let answers = self.ask_all(&questions.distinct, &round)?;
        let usage = round.usage.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(Analyses { results: questions.of.iter().map(|&number| answers[number].clone()).collect(), usage })
    }
}

/// The content of a lock; a panic elsewhere reaches the caller at the end of its thread.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
