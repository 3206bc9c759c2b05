//! One batch that never ends: a request joins it as soon as there is room, and leaves it with its last token.
//!
//! What a prompt begins with alike with a running one, or with one that ended lately, is not computed again. A draw depends
//! on the request's seed, the number of its choice and that of the token, and on nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use opid::completion::{PIECE, beginning};
use opid_env::random::Draw;
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::model::Model;
use opid_lm::sampling::{Sampling, choose};
use rayon::prelude::*;

/// Key that tells the random draws of served completions from others.
const SERVED: u64 = 401;

/// Sequences that are kept after their end, for requests that go on from them.
const KEPT: usize = 16;

/// How much work is taken.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most sequences computed at the same time; at least 1.
    pub concurrency: usize,
    /// Most sequences computed or waiting; beyond, requests are refused.
    pub queue: usize,
}

/// A completion to be made.
#[derive(Clone, Debug)]
pub struct Ask {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens; at least 1.
    pub max_tokens: usize,
    /// Key of the draws.
    pub seed: u64,
    /// Likely tokens to be named with every token; without it, no log-probabilities are wanted.
    pub alternatives: Option<usize>,
}

/// A token that was sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Its log-probability at temperature 1, and the most likely tokens with theirs; if they were wanted.
    pub logprobs: Option<(f32, Vec<(u32, f32)>)>,
}

/// What happens to a completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It has another token.
    Token(Sampled),
    /// The model has ended it, with a token that is not part of it.
    Ended,
    /// It has as many tokens as it may.
    Full,
}

/// The completions of a request under way. Whoever drops it cancels them.
pub struct Completions {
    /// What happens to them, each with the number of its completion.
    pub events: Receiver<(usize, Event)>,
    cancelled: Vec<Arc<AtomicBool>>,
}

impl Completions {
    /// Cancels one of them.
    pub fn cancel(&self, number: usize) {
        self.cancelled[number].store(true, Ordering::Relaxed);
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        (0..self.cancelled.len()).for_each(|number| self.cancel(number));
    }
}

/// Runs the batch in a thread of its own, until it is dropped.
pub struct Engine {
    jobs: Sender<Job>,
    load: Arc<AtomicUsize>,
    queue: usize,
}

struct Job {
    ask: Ask,
    number: usize,
    events: Sender<(usize, Event)>,
    cancelled: Arc<AtomicBool>,
}

impl Engine {
    /// An engine for a model; `ends` are the tokens that end a completion.
    pub fn start(model: Model, ends: Vec<u32>, limits: Limits) -> Engine {
        let (sender, jobs) = channel();
        let load = Arc::new(AtomicUsize::new(0));
        let counted = load.clone();
        std::thread::spawn(move || Batch::new(&model, ends, limits.concurrency, counted).run(&jobs));
        Engine { jobs: sender, load, queue: limits.queue }
    }

    /// Adds completions to the batch; nothing, if there is too much to do already.
    pub fn submit(&self, asks: Vec<Ask>) -> Option<Completions> {
        let added = asks.len();
        if self.load.fetch_add(added, Ordering::Relaxed) + added > self.queue {
            self.load.fetch_sub(added, Ordering::Relaxed);
            return None;
        }
        let (events, receiver) = channel();
        let cancelled: Vec<Arc<AtomicBool>> = asks.iter().map(|_| Arc::default()).collect();
        for (number, (ask, cancelled)) in asks.into_iter().zip(&cancelled).enumerate() {
            let (events, cancelled) = (events.clone(), cancelled.clone());
            // Where the thread is gone, the receiver ends without events.
            let _ = self.jobs.send(Job { ask, number, events, cancelled });
        }
        Some(Completions { events: receiver, cancelled })
    }
}

/// The batch.
struct Batch<'m> {
    decoder: Decoder<'m>,
    ends: Vec<u32>,
    concurrency: usize,
    load: Arc<AtomicUsize>,
    waiting: VecDeque<Slot>,
    running: Vec<Slot>,
    /// Tokens and sequences of completions that ended, the last one last.
    kept: VecDeque<(Vec<u32>, Sequence)>,
}

/// A completion under way.
struct Slot {
    job: Job,
    /// The prompt, and what was sampled after it. The model has seen as many of them as the sequence holds.
    tokens: Vec<u32>,
    sequence: Sequence,
    over: bool,
}

impl<'m> Batch<'m> {
    fn new(model: &'m Model, ends: Vec<u32>, concurrency: usize, load: Arc<AtomicUsize>) -> Self {
        let (waiting, running, kept) = Default::default();
        Batch { decoder: Decoder::new(model), ends, concurrency, load, waiting, running, kept }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                self.waiting.push_back(Slot::new(job));
            }
            self.waiting.extend(jobs.try_iter().map(Slot::new));
            self.admit();
            if !self.running.is_empty() {
                self.pass();
            }
        }
    }

    /// Moves waiting completions to the running ones while there is room.
    fn admit(&mut self) {
        for mut slot in std::mem::take(&mut self.waiting) {
            if slot.is_cancelled() {
                self.load.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let running = self.running.iter().map(|other| (&*other.tokens, &other.sequence));
            let others = running.chain(self.kept.iter().map(|(tokens, sequence)| (&**tokens, sequence)));
            let start = match self.running.len() < self.concurrency {
                true => beginning(&slot.tokens, others),
                false => None,
            };
            match start {
                None => self.waiting.push_back(slot),
                Some(sequence) => {
                    slot.sequence = sequence;
                    self.running.push(slot);
                }
            }
        }
    }

    /// Advances everything that runs by what it has pending, and lets go of what is over.
    fn pass(&mut self) {
        let vocab = self.decoder.model().config.vocab_size;
        let mut entries: Vec<Entry<'_>> = self.running.iter_mut().map(Slot::entry).collect();
        let mut logits = self.decoder.extend(&mut entries);
        let ends = &self.ends;
        self.running
            .par_iter_mut()
            .zip(logits.par_chunks_mut(vocab))
            .for_each(|(slot, logits)| slot.advance(logits, ends));
        for slot in self.running.extract_if(.., |slot| slot.over) {
            self.load.fetch_sub(1, Ordering::Relaxed);
            // One that goes on from another replaces it.
            self.kept.retain(|(tokens, _)| !slot.tokens.starts_with(tokens));
            let seen = slot.sequence.len();
            self.kept.push_back((slot.tokens[..seen].to_vec(), slot.sequence));
        }
        while self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }
}

impl Slot {
    fn new(job: Job) -> Slot {
        Slot { tokens: job.ask.prompt.clone(), job, sequence: Sequence::default(), over: false }
    }

    fn is_cancelled(&self) -> bool {
        self.job.cancelled.load(Ordering::Relaxed)
    }

    /// What the model sees next.
    fn entry(&mut self) -> Entry<'_> {
        let from = self.sequence.len();
        let to = self.tokens.len().min(from + PIECE);
        Entry { sequence: &mut self.sequence, tokens: &self.tokens[from..to] }
    }

    /// Samples a token if the model has seen all there is.
    fn advance(&mut self, logits: &mut [f32], ends: &[u32]) {
        if self.is_cancelled() {
            self.over = true;
            return;
        }
        if self.sequence.len() < self.tokens.len() {
            return;
        }
        let Job { ask, number, events, .. } = &self.job;
        let count = self.tokens.len() - ask.prompt.len();
        let raw = ask.alternatives.map(|_| logits.to_vec());
        let keys = [SERVED, ask.seed, *number as u64, count as u64];
        let token = choose(logits, ask.sampling, Draw::new(&keys).unit()).token;
        // A failure to send means that nobody waits any more.
        let send = |event| events.send((*number, event)).is_err();
        if ends.contains(&token) {
            send(Event::Ended);
            self.over = true;
            return;
        }
        let logprobs = raw.zip(ask.alternatives).map(|(raw, most)| likely(&raw, token, most));
        self.over = send(Event::Token(Sampled { token, logprobs }));
        if count + 1 == ask.max_tokens {
            send(Event::Full);
            self.over = true;
        }
        self.tokens.push(token);
    }
}

/// The log-probability of a token, and the most likely ones with theirs, most likely first.
fn likely(logits: &[f32], token: u32, most: usize) -> (f32, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - highest).exp()).sum();
    let logprob = |id: usize| (f64::from(logits[id] - highest) - sum.ln()) as f32;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let first = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    if most > 0 && most < order.len() {
        order.select_nth_unstable_by(most - 1, first);
    }
    order.truncate(most);
    order.sort_by(first);
    (logprob(token as usize), order.into_iter().map(|id| (id as u32, logprob(id))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_tokens_have_their_log_probabilities() {
        let logits = [1.0, 3.0, -2.0, 3.0];
        let sum: f32 = logits.iter().map(|l: &f32| l.exp()).sum();
        let (own, top) = likely(&logits, 0, 3);
        assert!((own - (1.0 - sum.ln())).abs() < 1e-6);
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 0]);
        assert!((top[2].1 - own).abs() < 1e-6);
        assert_eq!(likely(&logits, 0, 0).1, []);
        assert_eq!(likely(&logits, 0, 9).1.len(), 4);
    }
}
