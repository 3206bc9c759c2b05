//! The questions of a training step: several threads answer them as they come, each once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{AskError, Asker, OpenAiError};
use crate::interrupt::Interrupt;
use crate::skill::analyzer::Answer;
use crate::skill::inquiry::Question;
use crate::skill::usage::Usage;

/// How often somebody who waits looks whether all is stopped.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// What the threads of a step share.
#[derive(Debug)]
pub(super) struct Round {
    begun: Instant,
    usage: Mutex<Usage>,
    /// Set when it makes no sense to go on.
    stopped: AtomicBool,
    /// Set when nobody wants to wait any longer.
    interrupt: Interrupt,
    desk: Mutex<Desk>,
    changed: Condvar,
}

/// Questions and answers.
#[derive(Debug, Default)]
struct Desk {
    /// Questions that nobody has taken yet, the oldest first.
    waiting: VecDeque<Question>,
    /// The answer to every question that was asked, by its text; none as long as it is awaited.
    answers: HashMap<String, Option<Answer>>,
    /// Whether no question comes any more.
    closed: bool,
    /// The first reason to stop.
    reason: Option<OpenAiError>,
}

impl Round {
    fn new(interrupt: Interrupt) -> Self {
        Round {
            begun: Instant::now(),
            usage: Mutex::default(),
            stopped: AtomicBool::new(false),
            interrupt,
            desk: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Counts what a question takes.
    pub fn count(&self, add: impl FnOnce(&mut Usage)) {
        add(&mut lock(&self.usage));
    }

    /// Whether it makes no sense to go on.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.interrupt.is_set()
    }

    /// Takes the next question, waiting for one; none when all is over.
    fn next(&self) -> Option<Question> {
        let mut desk = lock(&self.desk);
        loop {
            if self.is_stopped() {
                return None;
            }
            match desk.waiting.pop_front() {
                None if !desk.closed => desk = self.wait(desk),
                question => return question,
            }
        }
    }

    fn answer(&self, question: Question, answer: Answer) {
        lock(&self.desk).answers.insert(question.text, Some(answer));
        self.changed.notify_all();
        self.count(|u| u.span = self.begun.elapsed().as_secs_f64());
    }

    /// Waits until something may have changed; nobody tells of an interrupt.
    fn wait<'a>(&self, desk: MutexGuard<'a, Desk>) -> MutexGuard<'a, Desk> {
        let waited = self.changed.wait_timeout(desk, TICK);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    /// Ends the asking early.
    fn stop(&self, reason: Option<OpenAiError>) {
        let mut desk = lock(&self.desk);
        desk.reason = desk.reason.take().or(reason);
        self.stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Answers questions until there are no more.
    fn work(&self, asker: &Asker) {
        let _guard = StopOnPanic(self);
        while let Some(question) = self.next() {
            match asker.answer(&question, self) {
                Ok(analysis) => self.answer(question, Ok(analysis)),
                Err(AskError::Episode(error)) => self.answer(question, Err(error)),
                Err(AskError::Stop(error)) => self.stop(Some(error)),
                Err(AskError::Stopped) => return,
            }
        }
    }
}

/// Stops a round whose thread panics: its question would be awaited for ever.
struct StopOnPanic<'a>(&'a Round);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(None);
        }
    }
}

/// A round under way. When it is dropped, no further question is asked, and those under way are awaited: their
/// replies are paid for, and kept.
#[derive(Debug)]
pub(super) struct Asking {
    asker: Arc<Asker>,
    round: Arc<Round>,
    threads: Vec<JoinHandle<()>>,
    /// Most threads.
    concurrency: usize,
}

/// The answer to every question of a round, by its text, and what they took.
pub(super) type Answered = (HashMap<String, Answer>, Usage);

impl Asking {
    /// A round without questions.
    pub fn new(asker: Arc<Asker>, concurrency: usize, interrupt: Interrupt) -> Self {
        Asking { asker, round: Arc::new(Round::new(interrupt)), threads: Vec::new(), concurrency }
    }

    /// Asks a question, unless an equal one was asked, and returns at once.
    pub fn ask(&mut self, question: Question) {
        {
            let mut desk = lock(&self.round.desk);
            if desk.answers.contains_key(&question.text) {
                return;
            }
            desk.answers.insert(question.text.clone(), None);
            desk.waiting.push_back(question);
        }
        self.round.changed.notify_all();
        if self.threads.len() < self.concurrency {
            let (asker, round) = (self.asker.clone(), self.round.clone());
            match std::thread::Builder::new().spawn(move || round.work(&asker)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => self.round.stop(Some(OpenAiError::Thread(error))),
            }
        }
    }

    /// Waits for the answer to a question that was asked; there is none if the round has stopped.
    pub fn wait_for(&self, text: &str) -> Option<Answer> {
        let mut desk = lock(&self.round.desk);
        loop {
            match desk.answers.get(text) {
                Some(Some(answer)) => return Some(answer.clone()),
                _ if self.is_stopped() => return None,
                _ => desk = self.round.wait(desk),
            }
        }
    }

    /// Whether the round has met a reason to stop.
    pub fn is_stopped(&self) -> bool {
        self.round.is_stopped()
    }

    /// Waits until every question has its answer.
    ///
    /// # Errors
    /// The first reason to stop.
    pub fn finish(mut self) -> Result<Answered, OpenAiError> {
        lock(&self.round.desk).closed = true;
        self.round.changed.notify_all();
        for thread in std::mem::take(&mut self.threads) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let mut desk = lock(&self.round.desk);
        if let Some(reason) = desk.reason.take() {
            return Err(reason);
        }
        if self.round.interrupt.is_set() {
            return Err(OpenAiError::Interrupted);
        }
        let answers = std::mem::take(&mut desk.answers).into_iter();
        let answers = answers.map(|(text, answer)| (text, answer.expect("every question was answered")));
        Ok((answers.collect(), std::mem::take(&mut lock(&self.round.usage))))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.round.stop(None);
        for thread in std::mem::take(&mut self.threads) {
            // A panic there has been printed, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// The content of a lock; a panic elsewhere reaches the caller at the end of its thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
