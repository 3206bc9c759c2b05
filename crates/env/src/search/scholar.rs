//! An expert that reads: it looks up what it has to know next, and answers once it knows.

use super::question::Research;
use crate::environment::{Episode, Expert, Slips};
use crate::random::Draw;

/// Key that tells the random draws of this file apart.
const SLIP: u64 = 21;

/// The expert. It knows how the answer is looked up (the question says so), and of the world only what was shown.
pub struct Scholar {
    seed: u64,
    slips: Slips,
    /// Whether it answers one step too early.
    forgets: bool,
    acts: u64,
    /// What it searched for last.
    last: Option<String>,
    /// What its last action goes by.
    reason: String,
}

impl Scholar {
    /// An expert whose every random choice is keyed by `seed`.
    pub fn new(seed: u64, slips: Slips) -> Self {
        let forgets = Draw::new(&[seed, SLIP]).chance(slips.forget);
        Scholar { seed, slips, forgets, acts: 0, last: None, reason: String::new() }
    }

    /// The title of a page read that is not `wanted`, to be led astray by.
    fn astray(pages: &str, wanted: &str, draw: &mut Draw) -> Option<String> {
        let titles = pages.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
        let others: Vec<&str> = titles.filter(|title| *title != wanted).collect();
        draw.pick(&others).map(|title| (*title).to_owned())
    }
}

impl Expert for Scholar {
    fn act(&mut self, episode: &dyn Episode) -> String {
        let Some(research) = episode.as_any().downcast_ref::<Research>() else { return String::new() };
        self.acts += 1;
        let mut draw = Draw::new(&[self.seed, SLIP, self.acts]);
        let pages = research.pages();
        self.reason.clear();
        let Some(path) = &research.question().path else { return search(&research.question().text) };
        let next = match path.follow(pages) {
            Ok(answer) => {
                self.reason = path.quote(pages);
                return format!("<answer>{answer}</answer>");
            }
            Err(next) => next,
        };
        if draw.chance(self.slips.invalid) {
            return String::new();
        }
        // Something was found, but not yet what was asked for.
        if self.forgets && !pages.is_empty() {
            return format!("<answer>{next}</answer>");
        }
        let query = match &self.last {
            Some(last) if draw.chance(self.slips.revisit) => last.clone(),
            _ if draw.chance(self.slips.wander) => {
                Self::astray(pages, &next, &mut draw).unwrap_or_else(|| next.clone())
            }
            _ => {
                self.reason = path.quote(pages);
                next
            }
        };
        self.last = Some(query.clone());
        search(&query)
    }

    fn reason(&self) -> &str {
        &self.reason
    }
}

fn search(query: &str) -> String {
    format!("<search>{query}</search>")
}
