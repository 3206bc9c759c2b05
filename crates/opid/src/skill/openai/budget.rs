//! How much may be asked for: requests, tokens and money, for a run and all its continuations.
//!
//! Before a request its tokens are estimated and set aside, so that many requests at once cannot pass a
//! limit together.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use opid_lm::storage::Storage;
use serde::{Deserialize, Serialize};

use super::OpenAiError;
use super::ledger::Ledger;
use crate::recipe;

/// Characters of a token, roughly and for plain text: only for what no reply has counted.
const CHARACTERS_PER_TOKEN: usize = 4;

/// Tokens of a request and its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of the request.
    pub input: u64,
    /// Of the reply.
    pub output: u64,
}

/// What is set aside for a request that is under way.
#[derive(Debug)]
pub struct Reservation {
    most: Tokens,
    /// Its number where it is written down.
    number: Option<u64>,
}

/// Tokens of a text that nobody counted.
pub fn estimate(text: &str) -> u64 {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64
}

#[derive(Debug, Default)]
struct Spent {
    requests: usize,
    tokens: u64,
    cost: f64,
    /// Set aside for requests that are under way.
    reserved: Vec<Tokens>,
    /// Where it is written down.
    ledger: Option<Ledger>,
}

/// Limits, prices, and what is spent.
#[derive(Debug)]
pub struct Budget {
    max_requests: usize,
    max_tokens: u64,
    max_cost: f64,
    input_price: f64,
    output_price: f64,
    spent: Mutex<Spent>,
    settled: Condvar,
}

impl Budget {
    /// The limits of a recipe, of which is spent what was spent for the run in a folder, at today's prices.
    ///
    /// # Errors
    /// What was spent cannot be read.
    pub fn new(
        s: &recipe::OpenAi,
        run: Option<&Path>,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, OpenAiError> {
        let (ledger, before) = run.map(|run| Ledger::open(run, storage)).transpose()?.unzip();
        let mut budget = Budget {
            max_requests: s.max_requests,
            max_tokens: s.max_tokens,
            max_cost: s.max_cost,
            input_price: s.input_price,
            output_price: s.output_price,
            spent: Mutex::default(),
            settled: Condvar::new(),
        };
        let mut spent = Spent { ledger, ..Spent::default() };
        for used in before.unwrap_or_default() {
            spent.requests += 1;
            spent.tokens += used.input + used.output;
            spent.cost += budget.cost(used);
        }
        budget.spent = Mutex::new(spent);
        Ok(budget)
    }

    /// The price of some tokens.
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (tokens.input as f64 * self.input_price + tokens.output as f64 * self.output_price) / 1e6
    }

    /// Counts a request and sets its tokens aside, once the requests under way leave room for it.
    ///
    /// # Errors
    /// A limit is reached, or it cannot be written down.
    pub fn reserve(&self, most: Tokens) -> Result<Reservation, OpenAiError> {
        let mut spent = self.lock();
        loop {
            match self.exceeded(&spent, most) {
                None => break,
                // What is under way may turn out smaller than what is set aside for it.
                Some(_) if !spent.reserved.is_empty() => {
                    spent = self.settled.wait(spent).unwrap_or_else(|poisoned| poisoned.into_inner());
                }
                Some(error) => return Err(error),
            }
        }
        let number = spent.ledger.as_mut().map(|ledger| ledger.begin(most)).transpose()?;
        spent.requests += 1;
        spent.reserved.push(most);
        Ok(Reservation { most, number })
    }

    /// Replaces what was set aside by what was used: nothing, where no reply came.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn settle(&self, reservation: Reservation, used: Tokens) -> Result<(), OpenAiError> {
        let mut spent = self.lock();
        if let Some(at) = spent.reserved.iter().position(|reserved| *reserved == reservation.most) {
            spent.reserved.swap_remove(at);
        }
        spent.tokens += used.input + used.output;
        spent.cost += self.cost(used);
        self.settled.notify_all();
        match (&mut spent.ledger, reservation.number) {
            (Some(ledger), Some(number)) => ledger.end(number, used),
            _ => Ok(()),
        }
    }

    /// The limit that a further request would pass.
    fn exceeded(&self, s: &Spent, most: Tokens) -> Option<OpenAiError> {
        let over = |unit, key, spent: f64, planned: f64, limit: f64| {
            (limit > 0.0 && spent + planned > limit).then_some(OpenAiError::Budget {
                unit,
                spent,
                limit,
                key,
            })
        };
        let aside = s
            .reserved
            .iter()
            .fold(most, |sum, t| Tokens { input: sum.input + t.input, output: sum.output + t.output });
        over("requests", "skill.openai.max_requests", s.requests as f64, 1.0, self.max_requests as f64)
            .or_else(|| {
                let planned = (aside.input + aside.output) as f64;
                over("tokens", "skill.openai.max_tokens", s.tokens as f64, planned, self.max_tokens as f64)
            })
            .or_else(|| {
                let planned = self.cost(aside);
                over("of the prices' currency", "skill.openai.max_cost", s.cost, planned, self.max_cost)
            })
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        // Whoever held the lock only added numbers.
        self.spent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use opid_lm::storage::Disk;

    use super::*;

    #[test]
    fn every_limit_holds() {
        let one = Tokens { input: 600, output: 400 };
        let limited = |s: recipe::OpenAi| {
            let budget = Budget::new(&s, None, Arc::new(Disk)).expect("nothing is spent");
            let mut sent = 0;
            loop {
                match budget.reserve(one) {
                    Ok(one) => budget.settle(one, Tokens { input: 500, output: 250 }).expect("no ledger"),
                    Err(error) => return (sent, error.to_string()),
                }
                sent += 1;
            }
        };
        let plain = recipe::OpenAi::default;
        let (sent, error) = limited(recipe::OpenAi { max_requests: 3, ..plain() });
        assert!(sent == 3 && error.contains("3 of 3 requests"), "{sent} {error}");
        let (sent, error) = limited(recipe::OpenAi { max_tokens: 3000, ..plain() });
        assert!(sent == 3 && error.contains("2250 of 3000 tokens"), "{sent} {error}");
        let prices = recipe::OpenAi { input_price: 1.0, output_price: 4.0, ..plain() };
        let (sent, error) = limited(recipe::OpenAi { max_cost: 0.004, ..prices });
        assert!(sent == 2 && error.contains("skill.openai.max_cost"), "{sent} {error}");
    }
}
