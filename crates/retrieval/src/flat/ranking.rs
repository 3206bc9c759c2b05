//! The best rows for every query of a batch, taken over as scores come in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The vector's number, from 0.
    pub row: usize,
    /// Its inner product with the query, or its squared distance.
    pub score: f32,
}

/// A neighbor in the order of quality: the worst is the greatest.
#[derive(PartialEq)]
struct Ranked(Neighbor);

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.row.cmp(&other.0.row))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best so far.
pub(super) struct Ranking {
    most: usize,
    best: Vec<BinaryHeap<Ranked>>,
    /// For every query, the score that a row needs to count.
    needed: Vec<f32>,
}

/// Scores that are looked at together.
const TOGETHER: usize = 16;

impl Ranking {
    /// Nothing found yet for so many queries, of which each keeps the `most` best.
    pub fn new(queries: usize, most: usize) -> Self {
        let best = (0..queries).map(|_| BinaryHeap::new()).collect();
        Ranking { most, best, needed: vec![f32::NEG_INFINITY; queries] }
    }

    /// Takes over what counts of the scores of rows from `first` on: one row of scores for each, one score a query.
    pub fn offer(&mut self, first: usize, scores: &[f32]) {
        let queries = self.needed.len();
        if self.most == 0 || queries == 0 {
            return;
        }
        for (row, scores) in scores.chunks_exact(queries).enumerate() {
            for start in (0..queries).step_by(TOGETHER) {
                let end = queries.min(start + TOGETHER);
                let pairs = || scores[start..end].iter().zip(&self.needed[start..end]);
                // Without a branch for each: nearly always none counts.
                if pairs().fold(false, |any, (score, needed)| any | (score >= needed)) {
                    for (query, score) in (start..end).zip(&scores[start..end]) {
                        if *score >= self.needed[query] {
                            self.add(query, Neighbor { row: first + row, score: *score });
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, query: usize, neighbor: Neighbor) {
        let best = &mut self.best[query];
        if best.len() < self.most {
            best.push(Ranked(neighbor));
        } else if let Some(mut worst) = best.peek_mut()
            && Ranked(neighbor) < *worst
        {
            *worst = Ranked(neighbor);
        }
        if best.len() == self.most
            && let Some(worst) = best.peek()
        {
            self.needed[query] = worst.0.score;
        }
    }

    /// The best of both.
    pub fn join(mut self, other: Ranking) -> Ranking {
        for (query, best) in other.best.into_iter().enumerate() {
            best.into_iter().for_each(|Ranked(neighbor)| self.add(query, neighbor));
        }
        self
    }

    /// What was found for each query, the best first.
    pub fn finish(self) -> Vec<Vec<Neighbor>> {
        let sorted =
            |best: BinaryHeap<Ranked>| best.into_sorted_vec().into_iter().map(|Ranked(n)| n).collect();
        self.best.into_iter().map(sorted).collect()
    }
}
