//! Every environment by its name: the one place where names and settings become tasks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::alfworld::{Dataset, DatasetError, PHRASES};
use crate::environment::Task;
use crate::household::{self, HouseholdConfig, HouseholdError, World};
use crate::retrieval::Retriever;
use crate::search::library::{self, Questions, SearchConfig, SearchError};
use crate::webshop::{self, Shop, ShopConfig, ShopError};

/// The names of the environments.
pub const NAMES: [&str; 4] = ["household", "alfworld", "webshop", "search"];

/// The names of those that make tasks without end, so that a whole split cannot be played.
pub const ENDLESS: [&str; 1] = ["household"];

/// The splits of the ALFWorld data.
const ALFWORLD_SPLITS: [&str; 4] = ["train", "valid_train", "valid_seen", "valid_unseen"];

/// Settings of all environments; each takes what concerns it.
#[derive(Clone, Default)]
pub struct Options {
    /// What everything random about the environment itself is keyed by.
    pub seed: u64,
    /// `household`: what games there are.
    pub household: HouseholdConfig,
    /// `search`: questions, and what is searched for their answers.
    pub search: SearchConfig,
    /// `search`: who finds passages; without one, BM25 over the corpus, or over the pages of the made-up world.
    pub retriever: Option<Arc<dyn Retriever>>,
    /// `webshop`: what shop it is; where it names no folder, `$WEBSHOP_DATA` does, and without that products are made up.
    pub shop: ShopConfig,
    /// `alfworld`: the folder that holds `json_2.1.1`; where it is missing, `$ALFWORLD_DATA`.
    pub data: Option<PathBuf>,
}

/// Why an environment or a task of it is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// An unknown environment.
    #[error("no environment is called `{0}`; there are {known}", known = NAMES.join(", "))]
    Name(String),
    /// An unknown split.
    #[error("alfworld has no split `{0}`; it has {known}", known = ALFWORLD_SPLITS.join(", "))]
    Split(String),
    /// No folder was given.
    #[error(
        "alfworld needs its games: set ALFWORLD_DATA to the folder that holds json_2.1.1 (`alfworld-download` from \
         the `alfworld` Python package fetches them); the built-in environment `household` needs no data"
    )]
    NoData,
    /// The games cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The games cannot be made.
    #[error(transparent)]
    Household(#[from] HouseholdError),
    /// The questions cannot be had.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The shop cannot be opened.
    #[error(transparent)]
    Shop(#[from] ShopError),
}

/// Where the tasks of an environment come from.
pub trait TaskSource: Send + Sync {
    /// The number of tasks in a split; nothing where there is no end of them.
    fn len(&self, split: &str) -> Result<Option<usize>, CatalogError>;
    /// A task of a split; always the same for the same number.
    fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, CatalogError>;
    /// The names of the splits.
    fn splits(&self) -> Vec<&str>;
    /// The fixed phrases of the environment's texts, for training a tokenizer.
    fn phrases(&self) -> Vec<&'static str>;
    /// Names of things that all tasks share, where there are many of them: none can be told from its parts.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Opens an environment.
pub fn open(name: &str, options: Options) -> Result<Box<dyn TaskSource>, CatalogError> {
    match name {
        "household" => Ok(Box::new(Household(World::new(options.household, options.seed)?))),
        "alfworld" => {
            let data = options.data.or_else(|| std::env::var_os("ALFWORLD_DATA").map(PathBuf::from));
            Ok(Box::new(Alfworld { data: data.ok_or(CatalogError::NoData)?, splits: Mutex::default() }))
        }
        "search" => Ok(Box::new(Questions::open(options.search, options.retriever)?)),
        "webshop" => {
            let data = options.shop.data.or_else(|| std::env::var_os("WEBSHOP_DATA").map(PathBuf::from));
            Ok(Box::new(Shop::open(ShopConfig { data, ..options.shop }, options.seed)?))
        }
        _ => Err(CatalogError::Name(name.to_string())),
    }
}

struct Household(World);

impl TaskSource for Household {
    fn len(&self, split: &str) -> Result<Option<usize>, CatalogError> {
        self.0.scenes(split)?;
        Ok(None)
    }

    fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, CatalogError> {
        Ok(self.0.task(split, index)?)
    }

    fn splits(&self) -> Vec<&str> {
        household::SPLITS.to_vec()
    }

    fn phrases(&self) -> Vec<&'static str> {
        PHRASES.to_vec()
    }
}

/// Splits are listed when first asked for.
struct Alfworld {
    data: PathBuf,
    splits: Mutex<Vec<(&'static str, Arc<Dataset>)>>,
}

impl Alfworld {
    fn split(&self, name: &str) -> Result<Arc<Dataset>, CatalogError> {
        let known = ALFWORLD_SPLITS.into_iter().find(|split| *split == name);
        let split = known.ok_or_else(|| CatalogError::Split(name.to_string()))?;
        let mut splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, dataset)) = splits.iter().find(|(name, _)| *name == split) {
            return Ok(Arc::clone(dataset));
        }
        let dataset = Arc::new(Dataset::open(&self.data, split)?);
        splits.push((split, Arc::clone(&dataset)));
        Ok(dataset)
    }
}

impl TaskSource for Alfworld {
    fn len(&self, split: &str) -> Result<Option<usize>, CatalogError> {
        Ok(Some(self.split(split)?.len()))
    }

    fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, CatalogError> {
        Ok(self.split(split)?.task(index)?)
    }

    fn splits(&self) -> Vec<&str> {
        ALFWORLD_SPLITS.to_vec()
    }

    fn phrases(&self) -> Vec<&'static str> {
        PHRASES.to_vec()
    }
}

impl TaskSource for Questions {
    fn len(&self, split: &str) -> Result<Option<usize>, CatalogError> {
        Ok(Some(self.split(split)?.len()))
    }

    fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, CatalogError> {
        Ok(Questions::task(self, split, index)?)
    }

    fn splits(&self) -> Vec<&str> {
        Questions::splits(self).collect()
    }

    fn phrases(&self) -> Vec<&'static str> {
        library::phrases()
    }
}

impl TaskSource for Shop {
    fn len(&self, split: &str) -> Result<Option<usize>, CatalogError> {
        Ok(Shop::len(self, split)?)
    }

    fn task(&self, split: &str, index: usize) -> Result<Arc<dyn Task>, CatalogError> {
        Ok(Shop::task(self, split, index)?)
    }

    fn splits(&self) -> Vec<&str> {
        webshop::SPLITS.to_vec()
    }

    fn phrases(&self) -> Vec<&'static str> {
        webshop::PHRASES.to_vec()
    }

    fn names(&self) -> Vec<String> {
        self.catalogue().products().iter().map(|product| product.asin.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_answered_with_the_known_ones() {
        let error = open("chess", Options::default()).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("no environment is called `chess`; there are household, alfworld, webshop, search")
        );
        let household = open("household", Options::default()).expect("household needs nothing");
        let error = household.len("test").expect_err("no such split").to_string();
        assert_eq!(error, "household has no split `test`; it has train, valid_seen, valid_unseen");
        assert_eq!(household.len("train").expect("a split"), None);
        assert_eq!(ENDLESS, ["household"]);
    }

    #[test]
    fn missing_data_is_explained() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options { data: Some(folder.path().to_path_buf()), ..Options::default() };
        let alfworld = open("alfworld", options).expect("opening reads nothing");
        let error = alfworld.len("train").expect_err("the folder is empty").to_string();
        assert!(error.contains("alfworld-download") && error.contains("household"), "{error}");
        let error = alfworld.len("test").expect_err("no such split").to_string();
        assert!(error.contains("valid_seen"), "{error}");
    }
}
