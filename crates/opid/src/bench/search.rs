//! How fast passages are found: by their words, by their vectors, and how fast texts become vectors.

use std::path::{Path, PathBuf};

use opid_env::random::Draw;
use opid_env::retrieval::{CorpusError, Passages, Retriever};
use opid_env::search::dataset::{DatasetError, read};
use opid_env::search::quiz::puzzles;
use opid_env::search::world::{Continent, WorldConfig};
use opid_retrieval::corpus::Corpus;
use opid_retrieval::encoder::{Encoder, EncoderError, EncoderOptions};
use opid_retrieval::flat::{FlatIndex, Metric, Storage};

use super::{Figure, Speed, time};

/// Passages shown for a query.
const MOST: usize = 3;

/// Tokens of a text that is encoded.
const TOKENS: usize = 128;

/// Texts that are encoded together.
const TEXTS: usize = 32;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Corpus of passages and file of questions; without them, about 18,000 made-up passages and questions about them.
    pub corpus: Option<(PathBuf, PathBuf)>,
    /// Folder of an encoder; without one it is left out.
    pub encoder: Option<PathBuf>,
    /// Vectors that are searched.
    pub vectors: usize,
    /// Numbers of each.
    pub dimension: usize,
    /// Most questions asked.
    pub questions: usize,
    /// Repetitions.
    pub repetitions: usize,
}

/// A measurement that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SearchBenchError {
    /// The passages.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The questions.
    #[error(transparent)]
    Questions(#[from] DatasetError),
    /// The encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

/// Measures everything; `report` is told what comes next.
///
/// # Errors
/// A file cannot be used.
pub fn measure(extent: &Extent, report: &mut dyn FnMut(&str)) -> Result<Vec<Figure>, SearchBenchError> {
    report("measuring BM25");
    let mut figures = words(extent)?;
    for storage in [Storage::F32, Storage::F16] {
        report(&format!("measuring search among {} vectors, {storage:?}", extent.vectors));
        figures.extend(vectors(extent, storage));
    }
    if let Some(folder) = &extent.encoder {
        report("measuring the encoder");
        figures.extend(encoder(folder, extent.repetitions)?);
    }
    Ok(figures)
}

fn figures(name: &str, what: &str, speed: Speed) -> [Figure; 2] {
    let unit = |per| -> &'static str {
        match (what, per) {
            ("queries", true) => "queries/cpu-s",
            ("queries", false) => "queries/s",
            ("passages", true) => "passages/cpu-s",
            ("passages", false) => "passages/s",
            (_, true) => "texts/cpu-s",
            (_, false) => "texts/s",
        }
    };
    [(speed.per_cpu_second, true), (speed.per_second, false)].map(|(value, per)| Figure {
        name: name.to_owned(),
        value,
        unit: unit(per),
    })
}

/// Passages with their names, and questions.
type Texts = (Vec<(String, String)>, Vec<String>);

fn texts(extent: &Extent) -> Result<Texts, SearchBenchError> {
    let (passages, mut questions) = match &extent.corpus {
        Some((corpus, questions)) => {
            let corpus = Corpus::open(corpus)?;
            let passage =
                |number| corpus.passage(number, 0.0).map(|p| (p.id.to_string(), p.contents.to_string()));
            let passages = (0..corpus.len()).map(passage).collect::<Result<_, _>>()?;
            (passages, read(questions)?.into_iter().map(|entry| entry.question).collect())
        }
        None => made_up(),
    };
    // Asked in another order than they stand in, so that neighbours do not help one another.
    Draw::new(&[1]).shuffle(&mut questions);
    questions.truncate(extent.questions);
    Ok((passages, questions))
}

/// Worlds, each with its own seed, until there are enough passages.
fn made_up() -> Texts {
    const WORLDS: u64 = 10;
    const SIZE: f64 = 5.0;
    let (mut passages, mut questions) = (Vec::new(), Vec::new());
    for seed in 0..WORLDS {
        let continent = Continent::new(WorldConfig { seed, size: SIZE }, 0);
        let page = |thing| (format!("{seed}-{thing}"), continent.page(seed, 0, thing));
        passages.extend((0..continent.things.len()).map(page));
        questions.extend(puzzles(&continent, seed, 100).into_iter().map(|puzzle| puzzle.text));
    }
    (passages, questions)
}

fn words(extent: &Extent) -> Result<Vec<Figure>, SearchBenchError> {
    let (passages, questions) = texts(extent)?;
    let (mut built, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..extent.repetitions {
        let given = passages.clone();
        let (corpus, t) = time(|| Passages::new(given));
        built.push((passages.len() as f64, t));
        let (found, t) = time(|| corpus.retrieve(&questions, MOST));
        asked.push((found.len() as f64, t));
    }
    let name = |what: &str| format!("{what}/bm25/{}-passages", passages.len());
    let mut all = figures(&name("build"), "passages", Speed::of(&built)).to_vec();
    all.extend(figures(&name("search"), "queries", Speed::of(&asked)));
    Ok(all)
}

/// Random vectors of length 1, one behind the other.
fn unit_vectors(count: usize, dimension: usize, key: u64) -> Vec<f32> {
    let mut draw = Draw::new(&[key]);
    let mut all: Vec<f32> = (0..count * dimension).map(|_| draw.unit() as f32 - 0.5).collect();
    for vector in all.chunks_exact_mut(dimension) {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
    }
    all
}

fn vectors(extent: &Extent, storage: Storage) -> Vec<Figure> {
    let index = {
        let vectors = unit_vectors(extent.vectors, extent.dimension, 1);
        FlatIndex::new(&vectors, extent.dimension, Metric::InnerProduct, storage)
    };
    let kind = match storage {
        Storage::F32 => "f32",
        Storage::F16 => "f16",
    };
    let mut all = Vec::new();
    for batch in [1, 8, 64, 256] {
        let queries = unit_vectors(batch, extent.dimension, 2);
        index.search(&queries, MOST);
        // Single queries are short, so several make a repetition.
        let times = (8 / batch).max(1);
        let once = |_| {
            ((times * batch) as f64, time(|| (0..times).for_each(|_| drop(index.search(&queries, MOST)))).1)
        };
        let speeds: Vec<_> = (0..extent.repetitions).map(once).collect();
        let name = format!("search/flat/{kind}/{}x{}/batch-{batch}", extent.vectors, extent.dimension);
        all.extend(figures(&name, "queries", Speed::of(&speeds)));
    }
    all
}

fn encoder(folder: &Path, repetitions: usize) -> Result<Vec<Figure>, SearchBenchError> {
    let options = EncoderOptions { max_tokens: TOKENS, ..EncoderOptions::default() };
    let encoder = Encoder::open(folder, options)?;
    // More words than tokens are taken.
    let texts: Vec<String> = (0..TEXTS).map(|i| "the river in the city ".repeat(TOKENS / 4 + i)).collect();
    let queries = ["who wrote the book that the film was made from after the war ?"; 1];
    let (mut long, mut short) = (Vec::new(), Vec::new());
    for _ in 0..=repetitions {
        let (result, t) = time(|| encoder.passages(&texts));
        result?;
        long.push((TEXTS as f64, t));
        let (result, t) = time(|| encoder.queries(&queries));
        result?;
        short.push((1.0, t));
    }
    // The first of each makes its working memory.
    let mut all =
        figures(&format!("encode/{TEXTS}x{TOKENS}-tokens"), "texts", Speed::of(&long[1..])).to_vec();
    all.extend(figures("encode/query", "texts", Speed::of(&short[1..])));
    Ok(all)
}
