//! A shop as a source of tasks: which goals are trained on, and which are kept apart.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, CatalogueError, Files};
use super::episode::{Manner, ShopTask};
use super::generator;
use super::goal::{Goals, Speaker};
use super::mersenne::Mersenne;
use crate::environment::Task;

/// The names of the splits.
pub const SPLITS: [&str; 2] = ["train", "test"];

/// The seed of the fixed split: that by which the authors of WebShop order their goals.
const ORDER: u64 = 233;
/// The first goals of an order are kept for tests: so many, or a fifth of a smaller shop's.
const TEST_GOALS: usize = 500;

/// Episodes at a time that the reference draws goals for: in training, and in tests.
const WORKERS: [usize; 2] = [16, 128];
/// What the reference adds to its seed for tests.
const TEST_SEED: u64 = 1000;

/// Which goals are trained on and tested on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// One order of the goals; the first are tested on, the others trained on.
    #[default]
    Fixed,
    /// As the reference: every worker orders the goals by a seed of its own, so that training meets goals that are
    /// another worker's for tests. Tasks have no end: 16 at a time in training, 128 in tests.
    Reference,
}

/// What a shop is.
#[derive(Clone, Debug, PartialEq)]
pub struct ShopConfig {
    /// The folder of the products; without one they are made up.
    pub data: Option<PathBuf>,
    /// Whether the set of all products is taken where the folder also has that of 1,000.
    pub all: bool,
    /// Products of a shop that is made up; 0 refuses to make any up.
    pub products: usize,
    /// Which goals are trained on and tested on.
    pub protocol: Protocol,
    /// Who says what is wanted.
    pub speaker: Speaker,
    /// Whether goals are left out that not even their own product meets in full.
    pub attainable: bool,
    /// How the shop is shown.
    pub manner: Manner,
}

impl Default for ShopConfig {
    fn default() -> Self {
        Self {
            data: None,
            all: false,
            products: 1000,
            protocol: Protocol::default(),
            speaker: Speaker::default(),
            attainable: false,
            manner: Manner::default(),
        }
    }
}

/// Why there is no such shop or task.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The products.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A setting that makes no sense.
    #[error("webshop: {0}")]
    Setting(String),
    /// An unknown split.
    #[error("webshop has no split `{0}`; it has {known}", known = SPLITS.join(", "))]
    Split(String),
    /// There is no task with this number.
    #[error("goal {index} of webshop's {split} split was asked for, but it has {count}")]
    Index {
        /// The split.
        split: &'static str,
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// A shop and its goals.
pub struct Shop {
    catalogue: Arc<Catalogue>,
    config: ShopConfig,
    seed: u64,
    /// The fixed order of the goals.
    goals: Arc<Goals>,
    /// Numbers of goals for tests, and for training.
    test: Vec<usize>,
    train: Vec<usize>,
    reference: Mutex<Reference>,
}

/// What the reference's workers have drawn so far.
#[derive(Default)]
struct Reference {
    /// The goals of each worker's seed.
    goals: HashMap<u64, Arc<Goals>>,
    /// For training and tests: the generator, and the numbers of the goals drawn from it, all workers at a time.
    draws: [Option<(Mersenne, Vec<Vec<usize>>)>; 2],
}

impl Shop {
    /// Opens a shop: reads its products, or makes them up by the seed, which is also the reference's first.
    ///
    /// # Errors
    /// The products cannot be read, or the settings leave no goals.
    pub fn open(config: ShopConfig, seed: u64) -> Result<Self, ShopError> {
        let refuse = |what: String| Err(ShopError::Setting(what));
        let catalogue = match &config.data {
            Some(folder) => Catalogue::load(&Files::of(folder, config.all)?)?,
            None if (10..=generator::MOST_PRODUCTS).contains(&config.products) => {
                Catalogue::new(generator::products(seed, config.products))
            }
            None if config.products == 0 => {
                return refuse(
                    "its products are not to be made up, and no folder of products is given: set WEBSHOP_DATA (in a \
                     recipe environment.shop.data) to the folder of items_shuffle_1000.json and \
                     items_ins_v2_1000.json, or of the files of all products"
                        .to_owned(),
                );
            }
            None => {
                return refuse(format!(
                    "a shop of {} products; use 10 to {}",
                    config.products,
                    generator::MOST_PRODUCTS
                ));
            }
        };
        let goals = Goals::new(&catalogue, config.speaker, ORDER);
        let mut kept: Vec<usize> = (0..goals.list().len()).collect();
        if config.attainable {
            let similarity = config.manner.similarity;
            kept.retain(|goal| goals.is_attainable(&catalogue, goals.list()[*goal], similarity));
        }
        let count = kept.len();
        if count < 2 {
            return refuse(format!(
                "{count} goals; products need instructions, in the file of attributes or of people"
            ));
        }
        let least = TEST_GOALS + WORKERS[0];
        if config.protocol == Protocol::Reference && goals.list().len() < least {
            return refuse(format!(
                "{count} goals; the reference's way of drawing them needs at least {least}"
            ));
        }
        let train = kept.split_off(TEST_GOALS.min(count.div_ceil(5)));
        Ok(Self {
            catalogue: Arc::new(catalogue),
            config,
            seed,
            goals: Arc::new(goals),
            test: kept,
            train,
            reference: Mutex::default(),
        })
    }

    /// The products.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The number of tasks in a split; nothing where there is no end of them.
    ///
    /// # Errors
    /// There is no such split.
    pub fn len(&self, split: &str) -> Result<Option<usize>, ShopError> {
        let (_, goals) = self.split(split)?;
        Ok((self.config.protocol == Protocol::Fixed).then_some(goals.len()))
    }

    /// A task of a split; always the same for the same number.
    ///
    /// # Errors
    /// There is no such split or task.
    pub fn task(&self, split: &str, index: usize) -> Result<Arc<ShopTask>, ShopError> {
        let (split, numbers) = self.split(split)?;
        let manner = self.config.manner;
        let task = |goals, number| ShopTask::new(Arc::clone(&self.catalogue), goals, number, manner);
        match self.config.protocol {
            Protocol::Fixed => {
                let count = numbers.len();
                let number = *numbers.get(index).ok_or(ShopError::Index { split, index, count })?;
                Ok(Arc::new(task(Arc::clone(&self.goals), number)))
            }
            Protocol::Reference => {
                let (goals, number, seed) = self.drawn(split == SPLITS[1], index);
                let task = task(goals, number);
                let id = format!("seed_{seed}/{}", task.id());
                Ok(Arc::new(task.named(id)))
            }
        }
    }

    fn split(&self, name: &str) -> Result<(&'static str, &[usize]), ShopError> {
        match name {
            "train" => Ok((SPLITS[0], &self.train)),
            "test" => Ok((SPLITS[1], &self.test)),
            _ => Err(ShopError::Split(name.to_owned())),
        }
    }

    /// What the reference's worker number `index`, counted through all rounds, is given: goals, one of them, its seed.
    fn drawn(&self, test: bool, index: usize) -> (Arc<Goals>, usize, u64) {
        let workers = WORKERS[usize::from(test)];
        let (round, worker) = (index / workers, index % workers);
        let first_seed = self.seed + if test { TEST_SEED } else { 0 };
        let (first, count) = match test {
            true => (0, TEST_GOALS),
            false => (TEST_GOALS, self.goals.list().len() - TEST_GOALS),
        };
        let mut reference = self.reference.lock().unwrap_or_else(PoisonError::into_inner);
        let (random, rounds) = reference.draws[usize::from(test)]
            .get_or_insert_with(|| (Mersenne::numpy(first_seed as u32), Vec::new()));
        while rounds.len() <= round {
            rounds.push(random.choice(count, workers));
        }
        let number = first + rounds[round][worker];
        let seed = first_seed + worker as u64;
        let goals = reference
            .goals
            .entry(seed)
            .or_insert_with(|| Arc::new(Goals::new(&self.catalogue, self.config.speaker, seed)));
        (Arc::clone(goals), number, seed)
    }
}

/// Fixed words of the shop's pages and of what an agent says there, for training a tokenizer.
pub const PHRASES: [&str; 21] = [
    "Search",
    "Back to Search",
    " [SEP] ",
    "Page 1 (Total results: 50)",
    "(Total results: ",
    "Next >",
    "< Prev",
    "Price: $",
    "Rating: N.A.",
    "Description",
    "Features",
    "Reviews",
    "Buy Now",
    "search[",
    "click[",
    "click[buy now]",
    "click[back to search]",
    "click[next >]",
    "click[< prev]",
    "Find me ",
    ", and price lower than ",
];
