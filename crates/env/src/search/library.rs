//! Where questions and passages come from: made up, or from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dataset::{self, DatasetError, Entry};
use super::observation::Style;
use super::question::{Library, Question};
use super::quiz::{self, Puzzle};
use super::relation::Relation;
use super::world::{Continent, WorldConfig};
use crate::environment::Task;
use crate::retrieval::{CorpusError, Passages};

/// The splits of the made-up world.
pub const SPLITS: [&str; 3] = ["train", "valid_seen", "valid_unseen"];

/// Of so many questions about the first continent one is not trained on.
const HELD_OUT: usize = 8;

/// Questions and what is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchConfig {
    /// Folder of questions, `SPLIT.jsonl` or `SPLIT.parquet`; without one the world is made up.
    pub questions: Option<PathBuf>,
    /// Corpus of passages, JSON lines; needed with `questions`.
    pub corpus: Option<PathBuf>,
    /// The made-up world.
    pub world: WorldConfig,
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
    /// Makes up the world, or reads the files.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(config: SearchConfig) -> Result<Self, SearchError> {
        match &config.questions {
            None => Ok(Questions::made_up(&config)),
            Some(folder) => {
                let corpus = config.corpus.as_deref().ok_or(SearchError::NoCorpus)?;
                let library = library(&config, Passages::open(corpus)?);
                let mut splits = Vec::new();
                for (name, file) in files(folder)? {
                    let question = |entry: Entry| Arc::new(asked(entry, &library));
                    splits.push((name, dataset::read(&file)?.into_iter().map(question).collect()));
                }
                Ok(Questions { splits })
            }
        }
    }

    fn made_up(config: &SearchConfig) -> Self {
        let world = config.world;
        let continents = [0, 1].map(|number| Continent::new(world, number));
        let pages = continents.iter().zip(0..).flat_map(|(continent, number)| {
            let page = move |thing| (format!("{number}-{thing}"), continent.page(world.seed, number, thing));
            (0..continent.things.len()).map(page)
        });
        let library = library(config, Passages::new(pages));
        let made = |(number, continent): (u64, &Continent)| -> Vec<Arc<Question>> {
            let puzzles = quiz::puzzles(continent, world.seed, config.questions_of_kind);
            let question = |(i, puzzle)| Arc::new(puzzled(format!("synth-{number}-{i}"), puzzle, &library));
            puzzles.into_iter().enumerate().map(question).collect()
        };
        let [seen, unseen] = [(0, &continents[0]), (1, &continents[1])].map(made);
        let (held, train) = seen.into_iter().enumerate().partition::<Vec<_>, _>(|(i, _)| i % HELD_OUT == 0);
        let only =
            |list: Vec<(usize, Arc<Question>)>| list.into_iter().map(|(_, question)| question).collect();
        let splits = SPLITS.map(str::to_owned).into_iter().zip([only(train), only(held), unseen]).collect();
        Questions { splits }
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

fn library(config: &SearchConfig, passages: Passages) -> Arc<Library> {
    Arc::new(Library {
        retriever: Arc::new(passages),
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
        text: entry.question,
        answers: entry.answers,
        path: None,
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
    use std::collections::HashSet;

    use super::*;
    use crate::environment::Slips;

    fn small() -> Questions {
        let world = WorldConfig { size: 0.4, ..WorldConfig::default() };
        Questions::open(SearchConfig { world, questions_of_kind: 100, ..SearchConfig::default() })
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
        let names = |texts: HashSet<String>| -> HashSet<String> {
            let words = texts.iter().flat_map(|t| t.split([' ', '?', ','])).map(str::to_owned);
            words.filter(|w| w.len() > 5 && w.starts_with(char::is_uppercase) && w != "Company").collect()
        };
        let (seen, unseen) = (names(texts("train")), names(texts("valid_unseen")));
        let shared: Vec<&String> =
            seen.intersection(&unseen).filter(|w| !["Return", "Which"].contains(&w.as_str())).collect();
        assert!(shared.is_empty(), "{shared:?}");
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
            let mut episode = Arc::new(asked(entry, &library(&config, passages()))).start();
            let shown = episode.step("<search>Ann</search>").observation;
            assert_eq!(shown.contains("<answer>"), reference, "{shown}");
            let last = episode.step("");
            assert_eq!((last.done, last.won), (reference, reference));
        }
    }
}
