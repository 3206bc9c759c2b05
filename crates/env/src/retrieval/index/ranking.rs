//! Searching an index: the best documents for a query, by the scores of [`super`].

use std::cell::RefCell;
use std::cmp::Ordering;

use super::Index;
use crate::retrieval::analyzer::analyze;

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The document's number, in the order documents were added.
    pub document: u32,
    /// Its score.
    pub score: f32,
}

impl Index {
    /// The `most` best documents for a query, the best first; of equal scores the one that `order` puts first.
    pub fn search(&self, query: &str, most: usize, order: impl Fn(u32, u32) -> Ordering) -> Vec<Hit> {
        let mut terms = self.query_terms(query);
        if most == 0 {
            return Vec::new();
        }
        // The rarest first: they count most, and soon leave only documents that hold one of them.
        terms.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let mut hits = SUMS.with_borrow_mut(|sums| {
            let found = self.candidates(&terms, most, sums);
            let hit = |document: u32| Hit {
                document,
                score: std::mem::take(&mut sums.scores[document as usize]) as f32,
            };
            found.into_iter().map(hit).collect::<Vec<_>>()
        });
        let better =
            |a: &Hit, b: &Hit| b.score.total_cmp(&a.score).then_with(|| order(a.document, b.document));
        if hits.len() > most {
            // Scores alone first: whoever asks for the order may have to look far for it.
            let mut ranked: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
            let (_, least, _) = ranked.select_nth_unstable_by(most - 1, |a, b| b.total_cmp(a));
            let least = *least;
            hits.retain(|hit| hit.score >= least);
            hits.select_nth_unstable_by(most - 1, better);
        }
        hits.truncate(most);
        hits.sort_unstable_by(better);
        hits
    }

    /// The terms of a query that documents hold.
    fn query_terms(&self, query: &str) -> Vec<QueryTerm<'_>> {
        let mut counts: Vec<(String, f32)> = Vec::new();
        analyze(query, |term| match counts.iter_mut().find(|(known, _)| known == term) {
            Some((_, count)) => *count += 1.0,
            None => counts.push((term.to_owned(), 1.0)),
        });
        let all = self.bytes.get();
        let term = |(term, count): &(String, f32)| {
            let postings = self.postings(term)?;
            let holding = postings.len() as f64;
            let idf = (1.0 + (self.filled as f64 - holding + 0.5) / (holding + 0.5)).ln() as f32;
            let documents = &all[self.parts.documents..][4 * postings.start..4 * postings.end];
            let frequencies = &all[self.parts.counts..][2 * postings.start..2 * postings.end];
            Some(QueryTerm {
                weight: count * idf,
                documents: documents.as_chunks().0,
                frequencies: frequencies.as_chunks().0,
            })
        };
        counts.iter().filter_map(term).collect()
    }

    /// Documents among which the `most` best are, whose scores are summed up; all other sums are zero.
    ///
    /// A term adds less than its weight. As soon as the weights of the terms left cannot lift a document above `most`
    /// others, only documents with earlier terms are looked up in their postings.
    ///
    /// The order of terms does not change a sum: numbers of 24 bits whose magnitudes lie within 2^29 of each other add
    /// up exactly in f64.
    fn candidates(&self, terms: &[QueryTerm<'_>], most: usize, sums: &mut Sums) -> Vec<u32> {
        let lengths = &self.bytes.get()[self.parts.lengths..][..self.len];
        if sums.scores.len() < self.len {
            sums.scores.resize(self.len, 0.0);
        }
        let scores = &mut sums.scores[..self.len];
        let mut left: f64 = terms.iter().map(|term| f64::from(term.weight)).sum();
        let mut found: Vec<u32> = Vec::new();
        // Whether a document that is not found yet may be among the best.
        let mut open = true;
        for term in terms {
            // Only where the postings are more than finding that out takes.
            if open && found.len() >= most && term.documents.len() > found.len() / 2 {
                open = left as f32 >= least(&found, scores, most, &mut sums.order) as f32;
                if !open {
                    found.sort_unstable();
                }
            }
            if open {
                for (document, frequency) in term.documents.iter().zip(term.frequencies) {
                    let document = u32::from_le_bytes(*document);
                    // Only a damaged file names others.
                    let Some(sum) = scores.get_mut(document as usize) else { continue };
                    if *sum == 0.0 {
                        found.push(document);
                    }
                    *sum += term.score(*frequency, &self.inverse, lengths[document as usize]);
                }
            } else {
                let needed = least(&found, scores, most, &mut sums.order) as f32;
                let mut postings = 0;
                found.retain(|&document| {
                    let sum = &mut scores[document as usize];
                    if ((*sum + left) as f32) < needed {
                        *sum = 0.0;
                        return false;
                    }
                    postings += behind(&term.documents[postings..], document);
                    if term.documents.get(postings).is_some_and(|at| u32::from_le_bytes(*at) == document) {
                        *sum +=
                            term.score(term.frequencies[postings], &self.inverse, lengths[document as usize]);
                    }
                    true
                });
            }
            left -= f64::from(term.weight);
        }
        found
    }
}

thread_local! {
    /// One a thread, so that a query touches no more than the documents it finds.
    static SUMS: RefCell<Sums> = const { RefCell::new(Sums { scores: Vec::new(), order: Vec::new() }) };
}

/// Working memory of a search.
struct Sums {
    /// A sum for every document; zeros between searches.
    scores: Vec<f64>,
    /// Sums to be put in order.
    order: Vec<f64>,
}

/// A term of a query.
struct QueryTerm<'a> {
    /// Its count in the query times its inverse document frequency.
    weight: f32,
    /// The documents that hold it, ascending.
    documents: &'a [[u8; 4]],
    /// How often each does.
    frequencies: &'a [[u8; 2]],
}

impl QueryTerm<'_> {
    /// What it adds to the score of a document that holds it, given the byte of the document's length.
    fn score(&self, frequency: [u8; 2], inverse: &[f32; 256], length: u8) -> f64 {
        let frequency = f32::from(u16::from_le_bytes(frequency));
        f64::from(self.weight - self.weight / (1.0 + frequency * inverse[usize::from(length)]))
    }
}

/// The `most`-th largest of the sums of documents, of which there are as many at least.
fn least(documents: &[u32], scores: &[f64], most: usize, order: &mut Vec<f64>) -> f64 {
    order.clear();
    order.extend(documents.iter().map(|document| scores[*document as usize]));
    *order.select_nth_unstable_by(most - 1, |a, b| b.total_cmp(a)).1
}

/// How many of the documents, ascending, come before a document. It is looked for in steps that double, because the next
/// one is seldom far.
fn behind(documents: &[[u8; 4]], document: u32) -> usize {
    let before = |at: &[u8; 4]| u32::from_le_bytes(*at) < document;
    let mut end = 1;
    while end < documents.len() && before(&documents[end]) {
        end *= 2;
    }
    let start = end / 2;
    let end = documents.len().min(end + 1);
    start + documents[start..end].partition_point(before)
}
