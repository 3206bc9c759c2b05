//! Which tasks a run trains on and is evaluated on: fixed by the recipe's seed alone.

use std::sync::Arc;

use opid_env::catalog::{self, CatalogError, Options, TaskSource};
use opid_env::environment::Task;
use opid_env::household::HouseholdConfig;
use opid_env::random::Draw;

use crate::recipe::Environment;
use crate::retriever::{self, RetrieverError};

/// An environment's tasks, limited to the kinds a recipe asks for.
pub struct Tasks {
    source: Box<dyn TaskSource>,
    kinds: Vec<String>,
    fraction: f64,
    seed: u64,
}

/// Tasks that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// The environment, its data or a split.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Who finds passages.
    #[error(transparent)]
    Retriever(#[from] RetrieverError),
    /// The recipe's kinds leave nothing.
    #[error("split {split} has no task of the kinds {kinds:?} (environment.kinds)")]
    NoneOfKind {
        /// The split.
        split: String,
        /// The kinds asked for.
        kinds: Vec<String>,
    },
}

impl Tasks {
    /// Opens the environment of a recipe.
    ///
    /// # Errors
    /// The environment is unknown or its data are not there.
    pub fn open(environment: &Environment, seed: u64) -> Result<Self, TasksError> {
        let mut household =
            HouseholdConfig { kinds: environment.kinds.clone(), ..HouseholdConfig::default() };
        household.size = environment.receptacles;
        // The world of games is the same for every seed of a run: seeds compare like with like.
        let retriever = match &*environment.name {
            "search" => retriever::open(&environment.search)?,
            _ => None,
        };
        let options = Options {
            seed: 0,
            household,
            shop: environment.shop.config(),
            search: environment.search_config(),
            retriever,
            data: None,
        };
        let source = catalog::open(&environment.name, options)?;
        let (kinds, fraction) = (environment.kinds.clone(), environment.fraction);
        Ok(Tasks { source, kinds, fraction, seed })
    }

    /// The environment.
    pub fn source(&self) -> &dyn TaskSource {
        self.source.as_ref()
    }

    fn wanted(&self, task: &dyn Task) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|k| k == task.kind())
    }

    /// The tasks number `first..first + count` of an endless training sequence.
    ///
    /// A finite split is walked in a new random order on each pass; an endless one in its own order.
    pub fn training(
        &self,
        split: &str,
        first: usize,
        count: usize,
    ) -> Result<Vec<Arc<dyn Task>>, TasksError> {
        let Some(len) = self.source.len(split)? else {
            return (first..first + count).map(|i| Ok(self.source.task(split, i)?)).collect();
        };
        let part = self.part(len);
        let len = part.len();
        let mut tasks = Vec::with_capacity(count);
        let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
        let (mut at, mut missed) = (first, 0);
        while tasks.len() < count {
            if missed > len || len == 0 {
                return Err(TasksError::NoneOfKind { split: split.into(), kinds: self.kinds.clone() });
            }
            let pass = at / len;
            if order.0 != pass {
                order = (pass, part.clone());
                Draw::new(&[self.seed, TRAINING_ORDER, pass as u64]).shuffle(&mut order.1);
            }
            // A task of another kind is replaced by the next one; the sequence stays a function of `at`.
            let task = self.source.task(split, order.1[(at + missed) % len])?;
            if self.wanted(task.as_ref()) {
                tasks.push(task);
                at += 1;
                missed = 0;
            } else {
                missed += 1;
            }
        }
        Ok(tasks)
    }

    /// The tasks of a finite training split that are trained on: a share of them in a fixed random order.
    fn part(&self, len: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..len).collect();
        if self.fraction < 1.0 {
            Draw::new(&[PART_ORDER]).shuffle(&mut all);
            all.truncate(((len as f64 * self.fraction).round() as usize).max(1));
        }
        all
    }

    /// The first `count` tasks of a split, each once; all of a finite split for 0.
    ///
    /// A finite split is drawn from in a fixed random order, because its files are sorted by kind.
    pub fn panel(&self, split: &str, count: usize) -> Result<Vec<Arc<dyn Task>>, TasksError> {
        let len = self.source.len(split)?;
        let mut order: Vec<usize> = (0..len.unwrap_or(count)).collect();
        if len.is_some() {
            Draw::new(&[PANEL_ORDER]).shuffle(&mut order);
        }
        let count = if count == 0 { order.len() } else { count };
        let mut tasks = Vec::new();
        for index in order {
            let task = self.source.task(split, index)?;
            if self.wanted(task.as_ref()) {
                tasks.push(task);
            }
            if tasks.len() == count {
                break;
            }
        }
        if tasks.is_empty() {
            return Err(TasksError::NoneOfKind { split: split.into(), kinds: self.kinds.clone() });
        }
        Ok(tasks)
    }
}

const TRAINING_ORDER: u64 = 1;
const PANEL_ORDER: u64 = 2;
const PART_ORDER: u64 = 3;
