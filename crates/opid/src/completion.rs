//! Completing prompts with a language model: many at once, each at its own pace.
//!
//! Every pass of the model advances all running sequences by what they have pending: a piece of a prompt, or
//! a sampled token. Sequences that ended leave, and waiting ones take their place. What prompts begin with
//! alike is computed once: a prompt starts from the running sequence that has most in common with it, and
//! waits while another is still computing more of that.

use std::ops::ControlFlow;

use opid_env::random::Draw;
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::model::Model;
use opid_lm::sampling::{Sampling, choose};
use rayon::prelude::*;

use crate::interrupt::Interrupt;
use crate::layout::in_common;

/// Most tokens of a prompt that enter in one pass; bounds the memory of activations.
pub const PIECE: usize = 112;
/// A prompt waits for another to compute at least this many tokens more of what they have in common.
const WORTH_WAITING: usize = 16;

/// How prompts are completed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// A completion ends after this many tokens; at least 1.
    pub max_tokens: usize,
    /// Tokens that end a completion.
    pub ends: Vec<u32>,
    /// Most sequences at the same time; at least 1.
    pub concurrency: usize,
    /// Ends the work after the present pass of the model.
    pub interrupt: Interrupt,
    /// Keys of the random draws: seed, purpose and training step.
    pub keys: [u64; 3],
}

/// What the model wrote after a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Whether the model ended it (it was not cut off at the limit).
    pub ended: bool,
}

/// Gives prompts, one after the other, and takes what the model writes. A prompt has at least one token.
pub trait Correspondent: Send {
    /// What can go wrong with a prompt or a completion.
    type Error: Send;

    /// The first prompt; nothing, if there is none.
    ///
    /// # Errors
    /// There can be none, and no other is worth completing.
    fn open(&mut self) -> Result<Option<Vec<u32>>, Self::Error>;

    /// Takes the completion of the last prompt, and gives the next one, if there is one.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    fn follow(&mut self, completion: Completion) -> Result<Option<Vec<u32>>, Self::Error>;
}

/// What was completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Prompts.
    pub prompts: usize,
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Of these, tokens that were taken over from a prompt that begins alike.
    pub cached_tokens: u64,
    /// Sampled tokens.
    pub sampled_tokens: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.prompts += other.prompts;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.sampled_tokens += other.sampled_tokens;
    }
}

/// The sequence of one correspondent.
struct Slot<'c, C> {
    correspondent: &'c mut C,
    /// Number of the correspondent, and of its prompt: keys of the draws.
    number: u64,
    round: u64,
    /// The prompt, and what was sampled after it. The model has seen as many of them as the sequence holds.
    tokens: Vec<u32>,
    prompt: usize,
    sequence: Sequence,
    tally: Tally,
    finished: bool,
}

/// Completes the prompts of all correspondents until none of them has another; breaks off where a stop is asked for.
///
/// A draw depends on the keys, the correspondent's place in the list, the number of its prompt and that of the
/// token, and on nothing else.
///
/// # Errors
/// An error of a correspondent.
pub fn complete<C: Correspondent>(
    model: &Model,
    correspondents: &mut [C],
    settings: &Settings,
) -> Result<ControlFlow<(), Tally>, C::Error> {
    let mut waiting = Vec::new();
    for (number, correspondent) in correspondents.iter_mut().enumerate() {
        if let Some(tokens) = correspondent.open()? {
            waiting.push(Slot::new(correspondent, number as u64, tokens));
        }
    }
    let mut tally = Tally::default();
    if waiting.is_empty() {
        return Ok(ControlFlow::Continue(tally));
    }
    // In this order, prompts that begin alike run at the same time.
    waiting.sort_by(|a, b| a.tokens.cmp(&b.tokens).then(a.number.cmp(&b.number)));
    let vocab = model.config.vocab_size;
    let mut decoder = Decoder::new(model);
    let mut running: Vec<Slot<'_, C>> = Vec::new();
    loop {
        waiting = admit(waiting, &mut running, settings.concurrency);
        if running.is_empty() {
            return Ok(ControlFlow::Continue(tally));
        }
        if settings.interrupt.is_set() {
            return Ok(ControlFlow::Break(()));
        }
        let mut entries: Vec<Entry<'_>> = running.iter_mut().map(Slot::entry).collect();
        let mut logits = decoder.extend(&mut entries);
        running
            .par_iter_mut()
            .zip(logits.par_chunks_mut(vocab))
            .try_for_each(|(slot, logits)| slot.advance(logits, settings))?;
        running.retain(|slot| {
            if slot.finished {
                tally.add(slot.tally);
            }
            !slot.finished
        });
    }
}

/// Moves waiting slots to the running ones while there is room; those that should wait for the beginning of
/// another, and those without room, are given back.
fn admit<'c, C>(
    waiting: Vec<Slot<'c, C>>,
    running: &mut Vec<Slot<'c, C>>,
    concurrency: usize,
) -> Vec<Slot<'c, C>> {
    let mut left = Vec::new();
    for mut slot in waiting {
        if running.len() >= concurrency {
            left.push(slot);
            continue;
        }
        match beginning(&slot.tokens, running.iter().map(|other| (&*other.tokens, &other.sequence))) {
            None => {
                left.push(slot);
                continue;
            }
            Some(sequence) => slot.sequence = sequence,
        }
        slot.begin();
        running.push(slot);
    }
    left
}

/// What a prompt takes over from others, of which the model has seen as many tokens as their sequences hold: the longest
/// beginning in common with one of them. Nothing, where another is about to compute much more of it, so that waiting is
/// worth while.
pub fn beginning<'a>(
    prompt: &[u32],
    others: impl Iterator<Item = (&'a [u32], &'a Sequence)> + Clone,
) -> Option<Sequence> {
    // The last token must always be computed: what follows it is asked for.
    let most = prompt.len().saturating_sub(1);
    let alike = |tokens: &[u32]| in_common(prompt, tokens).min(most);
    let soon = others.clone().map(|(tokens, _)| alike(tokens)).max().unwrap_or(0);
    let seen = |(tokens, sequence): &(&[u32], &Sequence)| alike(tokens).min(sequence.len());
    let best = others.max_by_key(seen);
    let now = best.as_ref().map_or(0, seen);
    if soon >= now + WORTH_WAITING {
        return None;
    }
    let mut sequence = best.map(|(_, sequence)| sequence.clone()).unwrap_or_default();
    sequence.truncate(now);
    Some(sequence)
}

impl<'c, C> Slot<'c, C> {
    fn new(correspondent: &'c mut C, number: u64, tokens: Vec<u32>) -> Self {
        Slot {
            correspondent,
            number,
            round: 0,
            prompt: tokens.len(),
            tokens,
            sequence: Sequence::default(),
            tally: Tally::default(),
            finished: false,
        }
    }

    /// Counts the prompt that is about to be computed.
    fn begin(&mut self) {
        self.tally.prompts += 1;
        self.tally.prompt_tokens += self.prompt as u64;
        self.tally.cached_tokens += self.sequence.len() as u64;
    }

    /// What the model sees next.
    fn entry(&mut self) -> Entry<'_> {
        let from = self.sequence.len();
        let to = self.tokens.len().min(from + PIECE);
        Entry { sequence: &mut self.sequence, tokens: &self.tokens[from..to] }
    }
}

impl<C: Correspondent> Slot<'_, C> {
    /// Samples a token if the model has seen all there is; where it ends the completion, starts the next prompt.
    fn advance(&mut self, logits: &mut [f32], settings: &Settings) -> Result<(), C::Error> {
        if self.sequence.len() < self.tokens.len() {
            return Ok(());
        }
        let [seed, purpose, step] = settings.keys;
        let sampled = self.tokens.len() - self.prompt;
        let keys = [seed, purpose, step, self.number, self.round, sampled as u64];
        let token = choose(logits, settings.sampling, Draw::new(&keys).unit()).token;
        self.tally.sampled_tokens += 1;
        let ended = settings.ends.contains(&token);
        if !ended {
            self.tokens.push(token);
            if sampled + 1 < settings.max_tokens {
                return Ok(());
            }
        }
        let completion = Completion { tokens: self.tokens[self.prompt..].to_vec(), ended };
        match self.correspondent.follow(completion)? {
            None => self.finished = true,
            Some(prompt) => {
                let kept = in_common(&prompt, &self.tokens).min(prompt.len().saturating_sub(1));
                self.sequence.truncate(kept);
                (self.prompt, self.tokens) = (prompt.len(), prompt);
                self.round += 1;
                self.begin();
            }
        }
        Ok(())
    }
}
