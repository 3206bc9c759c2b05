//! An inverted index ranked by BM25, in one block of bytes that is either in memory or a file mapped into it.
//!
//! With `N` documents, `n` of them holding the term, `f` the term's frequency, `q` its count in the query,
//! `k1 = 0.9`, `b = 0.4`:
//!
//! ```text
//! idf   = ln(1 + (N - n + 0.5) / (n + 0.5))
//! score = q idf - q idf / (1 + f / (k1 ((1 - b) + b length / mean length)))
//! ```
//!
//! in f32, summed over the terms in f64. A document's length is kept in one byte, as Lucene keeps it: exact up to 24,
//! then with four significant bits.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::analyzer::analyze;

mod ranking;

pub use ranking::Hit;

const K1: f32 = 0.9;
const B: f32 = 0.4;

/// First bytes of an index file; the number changes with the layout or the analysis.
const MAGIC: &[u8; 8] = b"opidbm25";
const VERSION: u64 = 1;
/// Fields of the header after the magic bytes.
const FIELDS: usize = 7;
const HEADER: usize = 8 * (1 + FIELDS);

/// An index file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no index, or one of other documents.
    #[error("{}: {reason}; remove it, and it is made again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Documents that hold a term, in ascending order, and how often.
type Postings = Vec<(u32, u16)>;

/// Collects documents for an [`Index`].
#[derive(Default)]
pub struct IndexBuilder {
    terms: HashMap<Box<str>, Postings>,
    lengths: Vec<u32>,
}

impl IndexBuilder {
    /// Adds the text of the next document.
    pub fn add(&mut self, text: &str) {
        let document = self.lengths.len() as u32;
        let mut length = 0;
        analyze(text, |term| {
            length += 1;
            if !self.terms.contains_key(term) {
                self.terms.insert(term.into(), Vec::new());
            }
            let Some(postings) = self.terms.get_mut(term) else { return };
            match postings.last_mut() {
                Some((last, count)) if *last == document => *count = count.saturating_add(1),
                _ => postings.push((document, 1)),
            }
        });
        self.lengths.push(length);
    }

    /// Appends the documents of another builder after those here.
    pub fn append(&mut self, other: IndexBuilder) {
        let first = self.lengths.len() as u32;
        for (term, postings) in other.terms {
            self.terms.entry(term).or_default().extend(postings.into_iter().map(|(d, n)| (d + first, n)));
        }
        self.lengths.extend(other.lengths);
    }

    /// The index; `label` is kept in its file, to recognise the documents it was made from.
    pub fn finish(self, label: u64) -> Index {
        let mut terms: Vec<(Box<str>, Postings)> = self.terms.into_iter().collect();
        terms.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let total: u64 = self.lengths.iter().map(|n| u64::from(*n)).sum();
        let filled = self.lengths.iter().filter(|n| **n > 0).count() as u64;
        let names: usize = terms.iter().map(|(name, _)| name.len()).sum();
        let postings: usize = terms.iter().map(|(_, p)| p.len()).sum();
        let counts =
            [VERSION, label, self.lengths.len() as u64, filled, total, terms.len() as u64, postings as u64];
        let mut bytes = Vec::with_capacity(
            HEADER + 12 * (terms.len() + 1) + names + 6 * postings + self.lengths.len() + 8,
        );
        bytes.extend_from_slice(MAGIC);
        counts.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
        // Where each term's postings and name begin, and where the last ones end.
        let (mut posting, mut name) = (0u64, 0u32);
        for length in terms.iter().map(|(n, p)| (n.len(), p.len())).chain([(0, 0)]) {
            bytes.extend_from_slice(&posting.to_le_bytes());
            bytes.extend_from_slice(&name.to_le_bytes());
            (posting, name) = (posting + length.1 as u64, name + length.0 as u32);
        }
        for (_, list) in &terms {
            list.iter().for_each(|(document, _)| bytes.extend_from_slice(&document.to_le_bytes()));
        }
        for (_, list) in &terms {
            list.iter().for_each(|(_, count)| bytes.extend_from_slice(&count.to_le_bytes()));
        }
        bytes.extend(self.lengths.iter().map(|n| encode_length(*n)));
        terms.iter().for_each(|(name, _)| bytes.extend_from_slice(name.as_bytes()));
        Index::new(Bytes::Owned(bytes)).expect("what was just written")
    }
}

/// Where the bytes of an index are.
enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }
}

/// Where the parts of an index begin.
#[derive(Clone, Copy)]
struct Parts {
    terms: usize,
    documents: usize,
    counts: usize,
    lengths: usize,
    names: usize,
}

/// Documents to be searched.
pub struct Index {
    bytes: Bytes,
    label: u64,
    len: usize,
    filled: u64,
    terms: usize,
    parts: Parts,
    /// For every byte of a length, the factor of the frequency.
    inverse: [f32; 256],
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index of {} documents, {} terms", self.len, self.terms)
    }
}

impl Index {
    fn new(bytes: Bytes) -> Result<Self, &'static str> {
        let all = bytes.get();
        if all.len() < HEADER || &all[..8] != MAGIC {
            return Err("it is no search index");
        }
        let field = |i: usize| read_u64(all, 8 * (1 + i));
        let [version, label, len, filled, total, terms, postings]: [u64; FIELDS] = std::array::from_fn(field);
        if version != VERSION {
            return Err("it is an index of another version");
        }
        let sizes = [len, terms, postings].map(usize::try_from);
        let [Ok(len), Ok(terms), Ok(postings)] = sizes else { return Err("it is too large") };
        let documents = HEADER.saturating_add(terms.saturating_add(1).saturating_mul(12));
        let counts = documents.saturating_add(postings.saturating_mul(4));
        let lengths = counts.saturating_add(postings.saturating_mul(2));
        let names = lengths.saturating_add(len);
        if names > all.len() || names + read_u32(all, documents - 4) as usize != all.len() {
            return Err("it is cut off");
        }
        // Documents are looked at when they are found: there may be a billion postings.
        let term = |n: usize| {
            let at = HEADER + 12 * n;
            (read_u64(all, at), read_u32(all, at + 8))
        };
        let ordered = (0..terms).all(|n| term(n).0 <= term(n + 1).0 && term(n).1 <= term(n + 1).1);
        if !ordered || term(terms).0 != postings as u64 {
            return Err("its terms are out of order");
        }
        // Else scores are no numbers, or less than nothing.
        let held = (0..terms).all(|n| term(n + 1).0 - term(n).0 <= filled);
        if !held || filled > len as u64 || total < filled || (total == 0) != (postings == 0) {
            return Err("its counts do not fit one another");
        }
        let mean = (total as f64 / filled.max(1) as f64) as f32;
        let inverse = std::array::from_fn(|code| {
            1.0 / (K1 * ((1.0 - B) + B * decode_length(code as u8) as f32 / mean))
        });
        let parts = Parts { terms: HEADER, documents, counts, lengths, names };
        Ok(Index { bytes, label, len, filled, terms, parts, inverse })
    }

    /// Maps an index file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is no index, or its label is another.
    pub fn open(path: &Path, label: u64) -> Result<Self, IndexError> {
        let failed = |source| IndexError::File { path: path.to_owned(), source };
        let malformed = |reason| IndexError::Malformed { path: path.to_owned(), reason };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the file is replaced by renaming, never written in place, so the mapped bytes do not change.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let index = Index::new(Bytes::Mapped(map)).map_err(malformed)?;
        if index.label != label {
            return Err(malformed("it was made from other documents"));
        }
        Ok(index)
    }

    /// Writes the index to a file, beside its place first.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IndexError> {
        let part = path.with_extension(format!("part{}", std::process::id()));
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(self.bytes.get())?;
            file.sync_all()?;
            std::fs::rename(&part, path)
        };
        write().map_err(|source| IndexError::File { path: path.to_owned(), source })
    }

    /// The number of documents.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn term_name(&self, number: usize) -> &[u8] {
        let all = self.bytes.get();
        let at = |n: usize| self.parts.names + read_u32(all, self.parts.terms + 12 * n + 8) as usize;
        &all[at(number)..at(number + 1)]
    }

    /// The range of a term's postings.
    fn postings(&self, term: &str) -> Option<std::ops::Range<usize>> {
        let (mut low, mut high) = (0, self.terms);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.term_name(middle).cmp(term.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let at = |n: usize| read_u64(self.bytes.get(), self.parts.terms + 12 * n) as usize;
                    return Some(at(middle)..at(middle + 1));
                }
            }
        }
        None
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

/// Lengths below this are kept exactly; above, it is taken away first.
const EXACT: u32 = 24;

/// A length in one byte.
fn encode_length(length: u32) -> u8 {
    let Some(rest) = length.checked_sub(EXACT) else { return length as u8 };
    let bits = 32 - rest.leading_zeros();
    let code = match bits {
        0..4 => rest,
        _ => (rest >> (bits - 4)) & 7 | (bits - 3) << 3,
    };
    (EXACT + code) as u8
}

/// The least length with this code.
fn decode_length(code: u8) -> u32 {
    let Some(rest) = u32::from(code).checked_sub(EXACT) else { return u32::from(code) };
    match rest >> 3 {
        0 => EXACT + (rest & 7),
        shift => EXACT.saturating_add((rest & 7 | 8) << (shift - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> IndexBuilder {
        let mut builder = IndexBuilder::default();
        for text in [
            "red shoes",
            "blue shoes, blue laces",
            "",
            "red red wine in a red glass",
            "blue shoes, blue laces",
        ] {
            builder.add(text);
        }
        builder
    }

    fn found(index: &Index, query: &str, most: usize) -> Vec<u32> {
        index.search(query, most, |a, b| b.cmp(&a)).iter().map(|hit| hit.document).collect()
    }

    #[test]
    fn the_best_come_first_and_ties_as_asked() {
        let index = small().finish(7);
        assert_eq!(found(&index, "red", 9), [3, 0]);
        assert_eq!(found(&index, "blue", 9), [4, 1]);
        assert_eq!(found(&index, "blue", 1), [4]);
        assert_eq!(found(&index, "red shoes", 9), [0, 3, 4, 1]);
        assert!(found(&index, "green the", 9).is_empty());
        assert!(found(&index, "red", 0).is_empty());
    }

    #[test]
    fn a_file_finds_the_same_and_is_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index");
        let index = small().finish(7);
        index.save(&path).expect("written");
        let mapped = Index::open(&path, 7).expect("an index");
        assert_eq!(found(&mapped, "blue red", 9), found(&index, "blue red", 9));
        let reason = |path: &Path, label| Index::open(path, label).expect_err("refused").to_string();
        assert!(reason(&path, 8).contains("other documents"));
        let bytes = std::fs::read(&path).expect("bytes");
        std::fs::write(&path, &bytes[..bytes.len() - 3]).expect("written");
        assert!(reason(&path, 7).contains("cut off"));
        std::fs::write(&path, "{}").expect("written");
        assert!(reason(&path, 7).contains("no search index"));
    }

    #[test]
    fn builders_join() {
        let mut first = small();
        first.append(small());
        let index = first.finish(0);
        assert_eq!(index.len(), 10);
        assert_eq!(found(&index, "wine", 9), [8, 3]);
    }

    /// The score of every document by the formula, term after term as the query has them.
    fn plain(texts: &[String], query: &str) -> Vec<Hit> {
        let terms = |text: &str| crate::retrieval::terms(text);
        let all: Vec<Vec<String>> = texts.iter().map(|text| terms(text)).collect();
        let total: usize = all.iter().map(Vec::len).sum();
        let filled = all.iter().filter(|terms| !terms.is_empty()).count();
        let mean = (total as f64 / filled as f64) as f32;
        let mut counts: Vec<(String, f32)> = Vec::new();
        for term in terms(query) {
            match counts.iter_mut().find(|(known, _)| *known == term) {
                Some((_, count)) => *count += 1.0,
                None => counts.push((term, 1.0)),
            }
        }
        let weight = |(term, count): (String, f32)| {
            let holding = all.iter().filter(|document| document.contains(&term)).count() as f64;
            let idf = (1.0 + (filled as f64 - holding + 0.5) / (holding + 0.5)).ln() as f32;
            (term, count * idf)
        };
        let weights: Vec<(String, f32)> = counts.into_iter().map(weight).collect();
        let score = |document: &Vec<String>| -> f64 {
            let length = decode_length(encode_length(document.len() as u32)) as f32;
            let inverse = 1.0 / (K1 * ((1.0 - B) + B * length / mean));
            let term = |(term, weight): &(String, f32)| {
                let frequency = document.iter().filter(|other| *other == term).count() as f32;
                f64::from(weight - weight / (1.0 + frequency * inverse))
            };
            weights.iter().map(term).sum()
        };
        let mut hits: Vec<Hit> = all
            .iter()
            .zip(0..)
            .map(|(terms, document)| Hit { document, score: score(terms) as f32 })
            .filter(|hit| hit.score > 0.0)
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
        hits
    }

    #[test]
    fn what_is_passed_over_is_never_among_the_best() {
        let mut draw = crate::random::Draw::new(&[3]);
        // Few words are frequent, many are rare; many texts are equal, so that scores are.
        let mut word = |most: usize| format!("w{}", draw.below(most));
        let texts: Vec<String> = (0..600)
            .map(|i| {
                (0..i % 30).map(|j| word(if j % 3 == 0 { 400 } else { 9 })).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let mut builder = IndexBuilder::default();
        texts.iter().for_each(|text| builder.add(text));
        let index = builder.finish(0);
        for length in 1..60 {
            let query: Vec<String> =
                (0..length % 12 + 1).map(|j| word(if j % 2 == 0 { 9 } else { 400 })).collect();
            let query = query.join(" ");
            let expected = plain(&texts, &query);
            for most in [1, 3, 20, 1000] {
                let found = index.search(&query, most, |a, b| a.cmp(&b));
                assert_eq!(found, expected[..most.min(expected.len())], "{query}, {most}");
            }
        }
    }

    #[test]
    fn lengths_keep_four_bits() {
        for length in 0..100_000u32 {
            let kept = decode_length(encode_length(length));
            assert!(
                kept <= length && f64::from(length - kept) <= 0.125 * f64::from(length),
                "{length}: {kept}"
            );
            assert_eq!(encode_length(kept), encode_length(length));
        }
        assert_eq!(encode_length(23), 23);
        assert_eq!(decode_length(encode_length(40)), 40);
        assert_eq!(decode_length(encode_length(41)), 40);
    }
}
