//! An experiment file, read and checked: which recipes, with which seeds, from which starting policy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::recipe::{Recipe, with_suggestion};
use crate::tasks::{Tasks, TasksError};

/// An experiment file that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the experiment {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, or a key or value is not one an experiment has.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Everything else that is wrong with it, and with the recipes of its cells.
    #[error("{path} cannot be run:\n{}", problems.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problems: Vec<String>,
    },
}

/// An experiment file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Name of the experiment, and of its folder under `runs/`.
    name: String,
    /// The recipe of all cells, relative to this file; without one, the built-in recipe.
    recipe: Option<PathBuf>,
    /// Every cell is run once with each of these seeds.
    seeds: Vec<u64>,
    /// Changes to the recipe of every cell, `key=value`.
    #[serde(default)]
    set: Vec<String>,
    /// The cell that the others are compared with.
    baseline: Option<String>,
    /// The cells.
    #[serde(default)]
    cell: Vec<CellEntry>,
}

/// A cell as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellEntry {
    /// Its name in tables, and of its folder.
    name: String,
    /// A recipe of its own, relative to the file.
    recipe: Option<PathBuf>,
    /// Changes to the recipe, after those of all cells.
    #[serde(default)]
    set: Vec<String>,
}

/// A checked experiment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the experiment.
    pub name: String,
    /// Every cell is run once with each.
    pub seeds: Vec<u64>,
    /// Index of the cell that the others are compared with.
    pub baseline: Option<usize>,
    /// The cells, in the order of the file.
    pub cells: Vec<Cell>,
    /// Recipes of the starting policies that are made first.
    pub starts: Vec<Start>,
}

/// A method, or a variant of one, that is run with every seed.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its recipe; the seed is still to be filled in. With a starting policy of the experiment it has neither a
    /// `[warm_start]` nor a `policy.model`.
    pub recipe: Recipe,
    /// Index of the starting policy that the experiment makes; none where the recipe names a model.
    pub start: Option<usize>,
}

/// A starting policy, made once for all cells that say the same of it.
#[derive(Clone, Debug)]
pub struct Start {
    /// Name of its folder.
    pub name: String,
    /// What `opid sft` makes it by.
    pub recipe: Recipe,
}

impl Plan {
    /// Reads an experiment file and the recipes of all its cells.
    ///
    /// # Errors
    /// The file cannot be read or parsed; or a list of everything that is wrong with the cells, their recipes, and the
    /// comparison of one with another.
    pub fn read(path: &Path) -> Result<Plan, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text).map_err(|error| PlanError::Malformed {
            path: path.to_owned(),
            reason: with_suggestion(error.to_string().trim_end()),
        })?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let mut problems = file.faults();
        let mut plan = Plan {
            name: file.name.clone(),
            seeds: file.seeds.clone(),
            baseline: None,
            cells: Vec::new(),
            starts: Vec::new(),
        };
        for entry in &file.cell {
            match file.recipes(entry, beside) {
                Ok((base, recipe)) => plan.add(&entry.name, &base, recipe),
                Err(problem) => problems.push(format!("cell {}: {problem}", entry.name)),
            }
        }
        problems.extend(plan.incomparable());
        match problems.is_empty() {
            true => {
                plan.baseline = plan.cells.iter().position(|cell| file.baseline.as_ref() == Some(&cell.name));
                Ok(plan)
            }
            false => Err(PlanError::Unusable { path: path.to_owned(), problems }),
        }
    }

    /// Every run: all cells with the first seed, then all with the next, so that cells can be compared early.
    pub fn runs(&self) -> impl Iterator<Item = (&Cell, u64)> {
        self.seeds.iter().flat_map(|seed| self.cells.iter().map(|cell| (cell, *seed)))
    }

    /// Adds a cell, and its starting policy if no cell before has the same.
    fn add(&mut self, name: &str, base: &Recipe, mut recipe: Recipe) {
        let start = recipe.warm_start.is_some().then(|| {
            let wanted = start_recipe(base, &recipe);
            recipe.warm_start = None;
            self.starts.iter().position(|start| start.recipe == wanted).unwrap_or_else(|| {
                let folder = if self.starts.is_empty() { "start".into() } else { format!("start-{name}") };
                self.starts.push(Start { name: folder, recipe: wanted });
                self.starts.len() - 1
            })
        });
        self.cells.push(Cell { name: name.to_owned(), recipe, start });
    }

    /// What keeps cells from being compared: they must play the same games at the same temperatures.
    fn incomparable(&self) -> Vec<String> {
        let Some((first, others)) = self.cells.split_first() else { return Vec::new() };
        let panel = |recipe: &Recipe| {
            let (env, e) = (&recipe.environment, &recipe.evaluation);
            [
                ("environment.name", env.name.clone()),
                ("environment.max_turns", env.max_turns.to_string()),
                ("environment.receptacles", format!("{:?}", env.receptacles)),
                ("environment.kinds", format!("{:?}", env.kinds)),
                ("evaluation.split", e.split.clone()),
                ("evaluation.games", e.games.to_string()),
                ("evaluation.temperatures", format!("{:?}", e.temperatures)),
            ]
        };
        let mut problems = Vec::new();
        for other in others {
            for ((key, here), (_, there)) in panel(&first.recipe).iter().zip(panel(&other.recipe)) {
                if *here != there {
                    problems.push(format!(
                        "cells {} and {} cannot be compared: {key} is {here} in one and {there} in the other; set it \
                         alike, for example in the experiment's own set",
                        first.name, other.name
                    ));
                }
            }
        }
        problems
    }

    /// Opens the tasks that all cells are evaluated on, and those that each trains on: what is missing is found before
    /// anything runs.
    ///
    /// # Errors
    /// The environment is unknown, its data are not there, or a split has no such tasks.
    pub fn check_tasks(&self) -> Result<(), TasksError> {
        let mut opened: Vec<&crate::recipe::Environment> = Vec::new();
        for Cell { recipe, .. } in &self.cells {
            if opened.contains(&&recipe.environment) {
                continue;
            }
            opened.push(&recipe.environment);
            let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
            tasks.panel(&recipe.evaluation.split, recipe.evaluation.games)?;
            tasks.training(&recipe.environment.split, 0, 1)?;
        }
        Ok(())
    }
}

impl File {
    /// What is wrong apart from recipes.
    fn faults(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        if !is_folder_name(&self.name) {
            problems
                .push(format!("name {:?} names a folder: use letters, digits, `.`, `_` and `-`", self.name));
        }
        if self.seeds.is_empty() {
            problems.push("seeds: give at least one, for example seeds = [1, 2, 3]".into());
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            problems.push(format!("seeds: {:?} has one twice, which would only repeat a run", self.seeds));
        }
        if self.cell.is_empty() {
            problems.push("there is no cell: add [[cell]] with a name and set = [\"key=value\"]".into());
        }
        for cell in &self.cell {
            if !is_folder_name(&cell.name) {
                let name = &cell.name;
                problems.push(format!("cell {name:?} names a folder: use letters, digits, `.`, `_` and `-`"));
            }
            if !names.insert(cell.name.as_str()) {
                problems.push(format!("two cells are named {}: give each a name of its own", cell.name));
            }
        }
        for change in self.set.iter().chain(self.cell.iter().flat_map(|cell| &cell.set)) {
            let key = change.split('=').next().unwrap_or_default().trim();
            if let "seed" | "name" = key {
                problems.push(format!(
                    "set {change:?}: a run's {key} is made from `seeds` and the names; leave it out"
                ));
            }
        }
        if let Some(baseline) = self.baseline.as_deref().filter(|b| !names.contains(b)) {
            let near = |name: &&&str| strsim::jaro_winkler(baseline, name) > 0.7;
            let hint = names.iter().find(near).map(|name| format!("; did you mean `{name}`?"));
            let all = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            problems.push(format!(
                "baseline `{baseline}` is no cell; cells are {all}{}",
                hint.unwrap_or_default()
            ));
        }
        problems
    }

    /// The recipe of a cell without and with its own changes, or what is wrong with it.
    fn recipes(&self, cell: &CellEntry, beside: &Path) -> Result<(Recipe, Recipe), String> {
        let path = cell.recipe.as_ref().or(self.recipe.as_ref()).map(|recipe| beside.join(recipe));
        let read = |changes: &[String]| Recipe::read(path.as_deref(), changes).map_err(|e| e.to_string());
        let base = read(&self.set)?;
        let mut recipe = read(&[&self.set[..], &cell.set].concat())?;
        recipe.name = format!("{}-{}", self.name, cell.name);
        Ok((base, recipe))
    }
}

/// The recipe of a cell's starting policy: what the cell says of the policy, its prompts, its warm start and the games
/// it is shown, and the rest as it is before the cell's changes. So cells share a starting policy if they differ in the
/// method, or train on a share of the tasks; all seeds of a cell share it, too.
fn start_recipe(base: &Recipe, cell: &Recipe) -> Recipe {
    let mut start = Recipe { name: format!("{}-start", base.name), ..base.clone() };
    start.environment = cell.environment.clone();
    start.environment.fraction = base.environment.fraction;
    start.policy = cell.policy.clone();
    start.prompt = cell.prompt.clone();
    start.warm_start = cell.warm_start.clone();
    start
}

/// Whether a name can be a folder's everywhere, and stand in a table without quotes.
fn is_folder_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}
