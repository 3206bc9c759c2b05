//! Exact search among vectors: all of them are compared with every query.
//!
//! The vectors are those of a FAISS file that is mapped into memory, or in memory already, in f32 or f16; queries and
//! sums are f32. A batch of queries shares one pass over the vectors. A score depends on its vector and its query
//! alone, neither on the rest of the batch nor on the number of threads.

mod kernel;
mod layout;
mod ranking;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use opid_lm::kernels::buffer::Buffer;
use rayon::prelude::*;

pub use layout::{Metric, Storage};
pub use ranking::Neighbor;
pub use writer::FlatWriter;

use kernel::{Kernel, Queries};
use layout::Layout;
use ranking::Ranking;

/// Rows that are scored before the best are taken over: with 768 numbers each they fit the second-level cache.
const BLOCK: usize = 96;

/// Rows of one piece of work.
const PIECE: usize = 10 * BLOCK;

/// A file of vectors that cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum FlatError {
    /// The file cannot be read.
    #[error("cannot read the index {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the index {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no flat index.
    #[error(
        "{path} cannot be searched: {reason}; make it with `opid index`, or with FAISS as Flat or SQfp16"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A vector of another length was to be written.
    #[error("the index {path} holds vectors of {dimension} numbers, but {given} numbers are no such vectors")]
    Dimension {
        /// The file.
        path: PathBuf,
        /// Numbers of a vector.
        dimension: usize,
        /// Numbers given.
        given: usize,
    },
}

/// Where the bytes of an index are.
enum Bytes {
    Owned(Vec<u8>),
    Mapped(Mmap),
}

/// Vectors to be searched.
pub struct FlatIndex {
    bytes: Bytes,
    layout: Layout,
}

impl std::fmt::Debug for FlatIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FlatIndex {:?}", self.layout)
    }
}

impl FlatIndex {
    /// Maps a FAISS file of the kinds `IxFI`, `IxF2` (f32) or `IxSQ` with f16. Nothing may write to it while it is
    /// searched.
    ///
    /// # Errors
    /// The file cannot be read, is of another kind, or its length is not what its header says.
    pub fn open(path: &Path) -> Result<Self, FlatError> {
        let read = |source| FlatError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read-only, and the documentation asks that nobody writes to the file; `FlatWriter` and
        // `FAISS` replace files instead.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let malformed = |reason| FlatError::Malformed { path: path.to_owned(), reason };
        let layout = Layout::parse(&map).map_err(malformed)?;
        Ok(FlatIndex { bytes: Bytes::Mapped(map), layout })
    }

    /// An index in memory of vectors of `dimension` numbers, one behind the other.
    ///
    /// # Panics
    /// `dimension` is 0, or `vectors` ends within a vector.
    pub fn new(vectors: &[f32], dimension: usize, metric: Metric, storage: Storage) -> Self {
        assert!(dimension > 0 && vectors.len().is_multiple_of(dimension), "whole vectors");
        let mut bytes = Vec::with_capacity(vectors.len() * storage.bytes());
        storage.append(vectors, &mut bytes);
        let layout = Layout { metric, storage, dimension, len: vectors.len() / dimension, data: 0 };
        FlatIndex { bytes: Bytes::Owned(bytes), layout }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layout.len == 0
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.layout.dimension
    }

    /// How vectors are compared.
    pub fn metric(&self) -> Metric {
        self.layout.metric
    }

    /// The bytes of rows.
    fn rows(&self, rows: std::ops::Range<usize>) -> &[u8] {
        let all: &[u8] = match &self.bytes {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped(map) => map,
        };
        let stride = self.layout.stride();
        &all[self.layout.data..][rows.start * stride..rows.end * stride]
    }

    /// The `most` best rows for each query, the best first, of equal scores the earlier row; fewer where the index
    /// holds fewer. `queries` holds vectors of [`dimension`](Self::dimension) numbers, one behind the other. A vector
    /// whose score is not a number is never found.
    ///
    /// # Panics
    /// `queries` ends within a vector.
    pub fn search(&self, queries: &[f32], most: usize) -> Vec<Vec<Neighbor>> {
        let queries = Queries::new(queries, self.layout.dimension);
        let kernel = Kernel::best(self.layout.storage, self.layout.metric);
        let (count, most) = (queries.len(), most.min(self.len()));
        let empty = || (Ranking::new(count, most), vec![0.0; BLOCK * count], Buffer::new());
        let ranking = (0..self.len().div_ceil(PIECE))
            .into_par_iter()
            .fold(empty, |(mut ranking, mut scores, mut copies), piece| {
                let end = self.len().min((piece + 1) * PIECE);
                for first in (piece * PIECE..end).step_by(BLOCK) {
                    let rows = first..end.min(first + BLOCK);
                    let scores = &mut scores[..rows.len() * count];
                    kernel.scores(self.rows(rows.clone()), &queries, &mut copies, scores);
                    ranking.offer(rows.start, scores);
                }
                (ranking, scores, copies)
            })
            .map(|(ranking, ..)| ranking)
            .reduce(|| Ranking::new(count, most), Ranking::join);
        let mut found = ranking.finish();
        if self.layout.metric == Metric::L2 {
            // The kernel negates distances, so that more is better.
            found.iter_mut().flatten().for_each(|neighbor| neighbor.score = -neighbor.score);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in (-1, 1) without a visible pattern.
    pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut draw = opid_env::random::Draw::new(&[seed]);
        (0..count).map(|_| 2.0 * draw.unit() as f32 - 1.0).collect()
    }

    /// The best rows by the definition, in f64.
    fn expected(vectors: &[f32], query: &[f32], metric: Metric, most: usize) -> Vec<(usize, f64)> {
        let rows = vectors.chunks_exact(query.len()).enumerate();
        let mut all: Vec<(usize, f64)> = rows
            .map(|(row, vector)| {
                let pairs = vector.iter().zip(query).map(|(x, q)| (f64::from(*x), f64::from(*q)));
                let score = match metric {
                    Metric::InnerProduct => pairs.map(|(x, q)| x * q).sum(),
                    Metric::L2 => -pairs.map(|(x, q)| (x - q).powi(2)).sum::<f64>(),
                };
                (row, score)
            })
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(most);
        all
    }

    #[test]
    fn the_best_are_those_of_the_definition() {
        for (dimension, len, batch) in [(1, 3, 1), (7, 50, 3), (16, 200, 4), (96, 2500, 9), (40, 1000, 130)] {
            let (vectors, queries) = (numbers(dimension * len, 1), numbers(dimension * batch, 2));
            for metric in [Metric::InnerProduct, Metric::L2] {
                for storage in [Storage::F32, Storage::F16] {
                    let kept: Vec<f32> = match storage {
                        Storage::F32 => vectors.clone(),
                        Storage::F16 => vectors.iter().map(|x| half::f16::from_f32(*x).to_f32()).collect(),
                    };
                    let index = FlatIndex::new(&vectors, dimension, metric, storage);
                    let found = index.search(&queries, 5);
                    assert_eq!(found.len(), batch);
                    for (found, query) in found.iter().zip(queries.chunks_exact(dimension)) {
                        let expected = expected(&kept, query, metric, 5);
                        assert_eq!(found.len(), expected.len());
                        for (hit, (row, score)) in found.iter().zip(expected) {
                            let score = if metric == Metric::L2 { -score } else { score };
                            assert!(
                                (f64::from(hit.score) - score).abs() < 1e-5,
                                "{dimension}: {hit:?} {row} {score}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn neither_batch_nor_threads_change_a_result() {
        let (dimension, len) = (100, 5000);
        let index =
            FlatIndex::new(&numbers(dimension * len, 3), dimension, Metric::InnerProduct, Storage::F16);
        let queries = numbers(dimension * 11, 4);
        let together = index.search(&queries, 7);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert_eq!(one.install(|| index.search(&queries, 7)), together);
        for (query, found) in queries.chunks_exact(dimension).zip(&together) {
            assert_eq!(&index.search(query, 7)[0], found);
        }
    }

    #[test]
    fn equal_scores_come_in_the_order_of_rows() {
        let vectors = vec![1.0; 4 * 3000];
        let index = FlatIndex::new(&vectors, 4, Metric::InnerProduct, Storage::F32);
        let rows: Vec<usize> = index.search(&[1.0; 4], 6)[0].iter().map(|n| n.row).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn odd_requests() {
        let index = FlatIndex::new(&[1.0, f32::NAN, 3.0], 1, Metric::InnerProduct, Storage::F32);
        let found = index.search(&[1.0], 9);
        assert_eq!(found[0].iter().map(|n| n.row).collect::<Vec<_>>(), [2, 0]);
        assert!(index.search(&[], 3).is_empty());
        assert!(index.search(&[1.0], 0)[0].is_empty());
        let none = FlatIndex::new(&[], 3, Metric::L2, Storage::F16);
        assert!(none.search(&[0.0; 3], 2)[0].is_empty());
    }
}
