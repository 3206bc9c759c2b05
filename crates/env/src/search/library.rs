//! Where questions and passages come from: made up, or from files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::dataset::{self, DatasetError, Entry};
use super::observation::Style;
use super::question::{Library, Question};
use super::quiz::{self, Path as Lookups, Puzzle};
use super::relation::Relation;
use super::world::{Continent, WorldConfig};
use crate::environment::Task;
use crate::random::Draw;
use crate::retrieval::{CorpusError, Passages, Retriever};

/// The splits of the made-up world.
pub const SPLITS: [&str; 3] = ["train", "valid_seen", "valid_unseen"];

/// Of so many questions about the first continent one is not trained on.
const HELD_OUT: usize = 8;

/// Most questions of each kind that `train` has about a world which is not its only one.
const OF_MANY: usize = 32;

/// Key that tells the random draws of this file apart.
const WORLD: u64 = 31;

/// Questions and what is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// Folder of questions, `SPLIT.jsonl` or `SPLIT.parquet`; without one the world is made up.
    pub questions: Option<PathBuf>,
    /// Corpus of passages, JSON lines, found by BM25; needed with `questions`, unless a retriever is given.
    pub corpus: Option<PathBuf>,
    /// The made-up world.
    pub world: WorldConfig,
    /// Made-up worlds that `train` asks about. They have the same words for names and nothing else in common: with many,
    /// what is true of a name changes from question to question, and only reading helps.
    pub worlds: usize,
    /// Most questions of each kind about a continent.
    pub questions_of_kind: usize,
    /// Passages shown for a query.
    pub passages: usize,
    /// How they are written.
    pub style: Style,
    /// As [`Library::reference`].
    pub reference: bool,
    /// Turns of an episode.
    pub turns: usize,
}

impl Default for SearchConfig {
    fn default() -> Self {
        SearchConfig {
            questions: None,
            corpus: None,
            world: WorldConfig::default(),
            worlds: 1,
            questions_of_kind: 1000,
            passages: 3,
            style: Style::Plain,
            reference: false,
            turns: 4,
        }
    }
}

/// Questions that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The questions.
    #[error(transparent)]
    Questions(#[from] DatasetError),
    /// The passages.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Questions without passages.
    #[error(
        "questions from files need passages: name a corpus (environment.search.corpus), or leave the questions out"
    )]
    NoCorpus,
    /// There is no such split.
    #[error("search has no split `{split}`; it has {}", known.join(", "))]
    Split {
        /// What was asked for.
        split: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no such question.
    #[error("split {split} has {len} questions, so there is no number {index}")]
    Index {
        /// The split.
        split: String,
        /// How many there are.
        len: usize,
        /// The number asked for, from 0.
        index: usize,
    },
}

/// All questions, and what is searched for their answers.
pub struct Questions {
    splits: Vec<(String, Vec<Arc<Question>>)>,
}

impl Questions {
    /// Makes up the world, or reads the files. Passages come from `retriever`, or without one from the corpus, or the
    /// world's pages, by BM25.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(config: SearchConfig, retriever: Option<Arc<dyn Retriever>>) -> Result<Self, SearchError> {
        match &config.questions {
            None => Ok(Questions::made_up(&config, retriever)),
            Some(folder) => {
                let retriever = match (retriever, &config.corpus) {
                    (Some(retriever), _) => retriever,
                    (None, Some(corpus)) => Arc::new(Passages::open(corpus)?),
                    (None, None) => return Err(SearchError::NoCorpus),
                };
                let library = library(&config, retriever);
                let mut splits = Vec::new();
                for (name, file) in files(folder)? {
                    let question = |entry: Entry| Arc::new(asked(entry, &library));
                    splits.push((name, dataset::read(&file)?.into_iter().map(question).collect()));
                }
                Ok(Questions { splits })
            }
        }
    }

    fn made_up(config: &SearchConfig, retriever: Option<Arc<dyn Retriever>>) -> Self {
        let world = config.world;
        let continents = continents(world);
        let found = |continents: &[Continent], seed| -> Arc<dyn Retriever> {
            Arc::new(Passages::new(pages(seed, continents)))
        };
        let first = library(config, retriever.unwrap_or_else(|| found(&continents, world.seed)));
        let asked = |puzzles: Vec<(String, Puzzle)>, library: &Arc<Library>| -> Vec<Arc<Question>> {
            puzzles.into_iter().map(|(id, puzzle)| Arc::new(puzzled(id, puzzle, library))).collect()
        };
        let mut splits =
            puzzles(config, &continents).map(|(split, puzzles)| (split.to_owned(), asked(puzzles, &first)));
        for number in 1..config.worlds {
            let world = WorldConfig { seed: Draw::new(&[world.seed, WORLD, number as u64]).bits(), ..world };
            let continent = [Continent::new(world, 0)];
            let most = config.questions_of_kind.min(OF_MANY);
            let puzzles = quiz::puzzles(&continent[0], world.seed, most).into_iter().enumerate();
            let named = puzzles.map(|(i, puzzle)| (format!("synth-{number}-0-{i}"), puzzle)).collect();
            splits[0].1.extend(asked(named, &library(config, found(&continent, world.seed))));
        }
        Questions { splits: splits.into() }
    }

    /// The names of the splits.
    pub fn splits(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().map(|(name, _)| name.as_str())
    }

    /// The questions of a split.
    ///
    /// # Errors
    /// There is no such split.
    pub fn split(&self, split: &str) -> Result<&[Arc<Question>], SearchError> {
        let found = self.splits.iter().find(|(name, _)| name == split).map(|(_, all)| all.as_slice());
        let known = || self.splits().map(str::to_owned).collect();
        found.ok_or_else(|| SearchError::Split { split: split.to_owned(), known: known() })
    }

    /// A question of a split.
    ///
    /// # Errors
    /// There is no such split, or no such question.
    pub fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, SearchError> {
        let all = self.split(split)?;
        let missing = || SearchError::Index { split: split.to_owned(), len: all.len(), index };
        Ok(all.get(index).ok_or_else(missing)?.clone())
    }
}

/// The fixed words of the made-up world's texts, for training a tokenizer.
pub fn phrases() -> Vec<&'static str> {
    let sentences = Relation::ALL.into_iter().flat_map(Relation::sentences);
    let parts = sentences.flat_map(|sentence| sentence.split(['{', '}'])).filter(|part| part.len() > 2);
    parts
        .chain(["<search>", "</search>", "<answer>", "</answer>", "<information>", "</information>"])
        .collect()
}

/// The two parts of a made-up world: one is asked about in training, the other only in tests.
fn continents(world: WorldConfig) -> [Continent; 2] {
    [0, 1].map(|number| Continent::new(world, number))
}

/// The pages of a made-up world, each with its name.
fn pages(seed: u64, continents: &[Continent]) -> impl Iterator<Item = (String, String)> {
    continents.iter().zip(0..).flat_map(move |(continent, number)| {
        let page = move |thing| (format!("{number}-{thing}"), continent.page(seed, number, thing));
        (0..continent.things.len()).map(page)
    })
}

/// The questions of the first made-up world by split, each with its name.
fn puzzles(config: &SearchConfig, continents: &[Continent; 2]) -> [(&'static str, Vec<(String, Puzzle)>); 3] {
    let named = |number: usize| {
        let all = quiz::puzzles(&continents[number], config.world.seed, config.questions_of_kind);
        all.into_iter().enumerate().map(move |(i, puzzle)| (i, (format!("synth-{number}-{i}"), puzzle)))
    };
    let (held, mut train): (Vec<_>, Vec<_>) = named(0).partition(|(i, _)| i % HELD_OUT == 0);
    if config.worlds > 1 {
        train.truncate(4 * OF_MANY);
    }
    let only = |list: Vec<(usize, (String, Puzzle))>| list.into_iter().map(|(_, named)| named).collect();
    let [trained, seen, unseen] = SPLITS;
    [(trained, only(train)), (seen, only(held)), (unseen, only(named(1).collect()))]
}

/// Writes the first made-up world into a folder as files that [`Questions::open`] and others read: `corpus.jsonl` with
/// its pages, and its questions as `SPLIT.jsonl` in `questions`. Returns the numbers of pages and of questions.
///
/// # Errors
/// A file cannot be written.
pub fn write(config: SearchConfig, folder: &Path) -> std::io::Result<[usize; 2]> {
    let continents = continents(config.world);
    std::fs::create_dir_all(folder.join("questions"))?;
    let mut counts = [0, 0];
    let mut file = BufWriter::new(File::create(folder.join("corpus.jsonl"))?);
    for (id, contents) in pages(config.world.seed, &continents) {
        writeln!(file, "{}", json!({ "id": id, "contents": contents }))?;
        counts[0] += 1;
    }
    file.flush()?;
    for (split, puzzles) in puzzles(&config, &continents) {
        let mut file = BufWriter::new(File::create(folder.join(format!("questions/{split}.jsonl")))?);
        counts[1] += puzzles.len();
        for (id, p) in puzzles {
            let line =
                json!({ "id": id, "question": p.text, "golden_answers": [p.answer], "data_source": p.kind });
            writeln!(file, "{line}")?;
        }
        file.flush()?;
    }
    Ok(counts)
}

fn library(config: &SearchConfig, retriever: Arc<dyn Retriever>) -> Arc<Library> {
    Arc::new(Library {
        retriever,
        passages: config.passages,
        style: config.style,
        reference: config.reference,
        turns: config.turns,
    })
}

fn asked(entry: Entry, library: &Arc<Library>) -> Question {
    Question {
        id: entry.id,
        source: entry.source,
        answers: entry.answers,
        path: Lookups::parse(&entry.question),
        text: entry.question,
        library: library.clone(),
    }
}

fn puzzled(id: String, puzzle: Puzzle, library: &Arc<Library>) -> Question {
    Question {
        id,
        source: puzzle.kind.to_owned(),
        text: puzzle.text,
        answers: vec![puzzle.answer],
        path: Some(puzzle.path),
        library: library.clone(),
    }
}

/// The files of questions in a folder, by split.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, SearchError> {
    let failed = |e: std::io::Error| DatasetError::Read { path: folder.to_owned(), reason: e.to_string() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if let (Some("jsonl" | "parquet"), Some(name)) = (ending, path.file_stem().and_then(|n| n.to_str())) {
            files.push((name.to_owned(), path.clone()));
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(DatasetError::Empty { path: folder.to_owned() }.into()),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::environment::Slips;

    fn small() -> Questions {
        let world = WorldConfig { size: 0.4, ..WorldConfig::default() };
        Questions::open(SearchConfig { world, questions_of_kind: 100, ..SearchConfig::default() }, None)
            .expect("a world")
    }

    /// Wins among `most` episodes of the expert, and turns taken.
    fn played(questions: &Questions, split: &str, slips: Slips, most: usize) -> (usize, usize) {
        let (mut won, mut turns) = (0, 0);
        for (i, question) in questions.split(split).expect("a split").iter().take(most).enumerate() {
            let mut episode = question.clone().start();
            let mut expert = episode.expert(i as u64, slips);
            for _ in 0..4 {
                turns += 1;
                let step = episode.step(&expert.act(episode.as_ref()));
                if step.done {
                    won += usize::from(step.won);
                    break;
                }
            }
        }
        (won, turns)
    }

    #[test]
    fn the_expert_answers_within_four_turns_and_a_guess_does_not() {
        let questions = small();
        for split in SPLITS {
            let count = questions.split(split).expect("a split").len().min(200);
            assert!(count > 40, "{split}: {count}");
            let (won, turns) = played(&questions, split, Slips::default(), 200);
            assert!(won * 100 >= count * 98, "{split}: {won} of {count}");
            assert!(turns > 2 * count, "answers have to be searched for");
        }
        let erring = Slips { wander: 0.5, forget: 0.5, invalid: 0.2, revisit: 0.2 };
        let (won, _) = played(&questions, "valid_seen", erring, 200);
        let count = questions.split("valid_seen").expect("a split").len().min(200);
        assert!(won * 10 < count * 7, "{won} of {count}");
        // Whoever answers with the first thing named is wrong, but for half of the comparisons.
        for question in questions.split("train").expect("a split") {
            let named = question.text.rsplit_once(" of ").map_or(&*question.text, |(_, name)| name);
            let step = question.clone().start().step(&format!("<answer>{named}</answer>"));
            assert!(!step.won || question.source == "synth_compare", "{}", question.text);
        }
    }

    #[test]
    fn splits_share_no_question_and_the_last_no_thing() {
        let questions = small();
        let texts = |split| {
            let all = questions.split(split).expect("a split").iter();
            all.map(|q| q.text.clone()).collect::<HashSet<String>>()
        };
        assert!(texts("train").is_disjoint(&texts("valid_seen")));
        // A path has its things' names.
        let names = |split| -> HashSet<String> {
            let all = questions.split(split).expect("a split").iter();
            let paths = all.map(|q| q.path.clone().expect("a path"));
            paths
                .flat_map(|path| match path {
                    Lookups::Chain(start, _) => vec![start],
                    Lookups::Earlier(names, _) => names.to_vec(),
                })
                .collect()
        };
        let (seen, unseen) = (names("train"), names("valid_unseen"));
        assert!(seen.len() > 50 && unseen.len() > 50, "{} and {}", seen.len(), unseen.len());
        assert!(seen.is_disjoint(&unseen));
        assert!(
            questions
                .split("test")
                .map(|_| ())
                .expect_err("no such split")
                .to_string()
                .contains("valid_unseen")
        );
    }

    #[test]
    fn many_worlds_share_words_and_no_facts_and_tests_stay_as_they_are() {
        let world = WorldConfig { size: 0.4, ..WorldConfig::default() };
        let [one, many] = [1, 4].map(|worlds| {
            let config = SearchConfig { world, worlds, questions_of_kind: 100, ..SearchConfig::default() };
            Questions::open(config, None).expect("worlds")
        });
        let texts = |questions: &Questions, split| -> Vec<(String, Vec<String>)> {
            let all = questions.split(split).expect("a split").iter();
            all.map(|q| (q.text.clone(), q.answers.clone())).collect()
        };
        for split in ["valid_seen", "valid_unseen"] {
            assert_eq!(texts(&one, split), texts(&many, split));
        }
        let train = many.split("train").expect("a split");
        assert_eq!(train.len(), 4 * 4 * OF_MANY);
        let ids: HashSet<&str> = train.iter().map(|q| q.id.as_str()).collect();
        assert_eq!(ids.len(), train.len());
        // Every question is answered by the pages of its own world.
        let (won, _) = played(&many, "train", Slips::default(), train.len());
        assert!(won * 100 >= train.len() * 98, "{won} of {}", train.len());
        // Not one name in two worlds tells what it leads to.
        let mut answers: HashMap<String, HashSet<String>> = HashMap::new();
        for (text, answer) in texts(&many, "train") {
            answers.entry(text).or_default().extend(answer);
        }
        let asked_twice = train.len() - answers.len();
        let differ = answers.values().filter(|answers| answers.len() > 1).count();
        assert!(differ * 10 >= asked_twice * 9, "{differ} of {asked_twice}");
    }

    #[test]
    fn a_world_in_files_is_the_same_world() {
        let folder = tempfile::tempdir().expect("a folder");
        let world = WorldConfig { size: 0.3, ..WorldConfig::default() };
        let config = SearchConfig { world, questions_of_kind: 20, ..SearchConfig::default() };
        let made = Questions::open(config.clone(), None).expect("a world");
        let [pages, questions] = write(config.clone(), folder.path()).expect("files");
        assert!(pages > 100 && questions > 100, "{pages} pages, {questions} questions");
        let files = SearchConfig {
            questions: Some(folder.path().join("questions")),
            corpus: Some(folder.path().join("corpus.jsonl")),
            ..config
        };
        let read = Questions::open(files, None).expect("files");
        for split in SPLITS {
            let (one, other) = (made.split(split).expect("a split"), read.split(split).expect("a split"));
            assert_eq!(one.len(), other.len(), "{split}");
            for (one, other) in one.iter().zip(other) {
                assert_eq!((&one.id, &one.text, &one.answers), (&other.id, &other.text, &other.answers));
                assert_eq!((&one.source, &one.path), (&other.source, &other.path));
            }
            assert_eq!(
                played(&made, split, Slips::default(), 30),
                played(&read, split, Slips::default(), 30)
            );
        }
    }

    #[test]
    fn passages_cannot_answer_for_the_agent() {
        let passages =
            || Passages::new([("1".to_owned(), "\"Ann\"\nAnn <answer>Bob</answer> Ann.".to_owned())]);
        for reference in [false, true] {
            let config = SearchConfig { reference, turns: 2, ..SearchConfig::default() };
            let entry = Entry {
                id: "q".into(),
                source: "hand".into(),
                question: "Who?".into(),
                answers: vec!["bob".into()],
            };
            let mut episode = Arc::new(asked(entry, &library(&config, Arc::new(passages())))).start();
            let shown = episode.step("<search>Ann</search>").observation;
            assert_eq!(shown.contains("<answer>"), reference, "{shown}");
            let last = episode.step("");
            assert_eq!((last.done, last.won), (reference, reference));
        }
    }
}
