//! The folder of an experiment: where its runs are, how far each is, and what is left to do.
//!
//! `cells/CELL/seed_N/` is a run; beside it are the recipe it was begun with (`seed_N.toml`) and what it wrote to the
//! terminal (`seed_N.log`). `start/` is the starting policy, a run folder of `opid sft`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::jobs::Job;
use super::plan::{Cell, Plan, Start};
use crate::evaluate::Way;
use crate::log::Log;
use crate::recipe::{Recipe, WarmStart};
use crate::run::{RunError, RunFolder, has_checkpoint, io, unfinished};
use crate::train::{Evaluated, TrainError, check_skill_gain};

/// An experiment's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or a run in it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Somebody is at work in it.
    #[error(
        "{path} is in use by another `opid experiment`, or by a run that one began and could not end: wait for it, or \
         end it"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A run was begun with another recipe.
    #[error(
        "{path} was begun with another recipe than the experiment has now:\n{}\nso its results would be mixed with \
         others: name another folder with --folder, give the experiment or the cell another name, or remove that run",
        differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
    )]
    Changed {
        /// The run.
        path: PathBuf,
        /// The keys that differ, with both values.
        differences: Vec<String>,
    },
    /// Skills do not make a starting policy better.
    #[error("{path}: {reason}")]
    Start {
        /// The starting policy's folder.
        path: PathBuf,
        /// Why no cell can go on from it.
        reason: Box<TrainError>,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    New,
    /// Stopped before its starting policy was saved: it begins again.
    Lost,
    /// It can be resumed; so many steps are in its metrics.
    Begun(u64),
    /// Trained to the end and evaluated.
    Finished,
}

/// The folder of an experiment.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at a path; nothing is made.
    ///
    /// # Errors
    /// The working directory is not known.
    pub fn new(path: &Path) -> Result<Folder, RunError> {
        // Runs name their starting policy by its path, from wherever they are continued.
        Ok(Folder { path: io("find", path, std::path::absolute(path))? })
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a run.
    pub fn run(&self, cell: &Cell, seed: u64) -> PathBuf {
        self.path.join("cells").join(&cell.name).join(format!("seed_{seed}"))
    }

    /// The folder of a starting policy.
    pub fn start(&self, start: &Start) -> PathBuf {
        self.path.join(&start.name)
    }

    /// The recipe of a run.
    pub fn recipe(&self, plan: &Plan, cell: &Cell, seed: u64) -> Recipe {
        let mut recipe = Recipe { seed, ..cell.recipe.clone() };
        if let Some(start) = cell.start {
            let start = &plan.starts[start];
            recipe.policy.model = self.start(start).join("checkpoints/step_0").display().to_string();
            // As in a run that makes its policy itself, games that the expert has shown do not come again.
            recipe.environment.first_task += start.recipe.warm_start.as_ref().map_or(0, WarmStart::tasks);
        }
        recipe
    }

    /// Makes the folder and keeps others out of it for as long as the file lives, here or in a run that was given it.
    ///
    /// # Errors
    /// Somebody else has it, or it cannot be made.
    pub fn lock(&self) -> Result<File, FolderError> {
        io("make", &self.path, fs::create_dir_all(&self.path))?;
        let path = self.path.join("lock");
        let file = io("write", &path, File::create(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(RunError::Io { action: "lock", path, source }.into()),
        }
    }

    /// Refuses runs and starting policies that were begun with other recipes than the plan has.
    ///
    /// # Errors
    /// One was, or cannot be read.
    pub fn check(&self, plan: &Plan) -> Result<(), FolderError> {
        for start in &plan.starts {
            same_recipe(&self.start(start), &start.recipe, false)?;
        }
        for (cell, seed) in plan.runs() {
            // Where a shared starting policy lies does not matter, the experiment may have been moved.
            same_recipe(&self.run(cell, seed), &self.recipe(plan, cell, seed), cell.start.is_some())?;
        }
        Ok(())
    }

    /// How far a run is.
    ///
    /// # Errors
    /// Its metrics cannot be read.
    pub fn state(&self, cell: &Cell, seed: u64) -> Result<State, RunError> {
        let run = self.run(cell, seed);
        if !run.join("config.toml").exists() {
            return Ok(State::New);
        }
        if !run.join("metrics.jsonl").exists() {
            return Ok(State::Lost);
        }
        let log = Log::read(&run)?;
        let last: Vec<&Evaluated> = log.evaluations_after(cell.recipe.steps).collect();
        let made = |way: Way| last.iter().any(|e| e.way() == way);
        Ok(match Way::all(&cell.recipe.evaluation).all(made) {
            true => State::Finished,
            false if has_checkpoint(&run) => State::Begun(log.steps.last().map_or(0, |line| line.step)),
            false => State::Lost,
        })
    }

    /// Whether a starting policy is made, and measured if its recipe says so.
    ///
    /// # Errors
    /// Its metrics cannot be read.
    pub fn is_made(&self, start: &Start) -> Result<bool, RunError> {
        let run = self.start(start);
        if !run.join("checkpoints/step_0/manifest.json").exists() || !has_checkpoint(&run) {
            return Ok(false);
        }
        let probed = start.recipe.warm_start.as_ref().is_some_and(|warm| warm.probe_games > 0);
        Ok(!probed || Log::read(&run)?.probe.is_some())
    }

    /// What makes the starting policies that are missing, or goes on with one that was stopped.
    ///
    /// # Errors
    /// A file or folder cannot be written.
    pub fn start_jobs(&self, plan: &Plan) -> Result<Vec<Job>, RunError> {
        let mut jobs = Vec::new();
        for start in &plan.starts {
            let run = self.start(start);
            if self.is_made(start)? {
                continue;
            }
            if unfinished(&run)?.is_some() {
                jobs.push(Job::new(&start.name, &["sft".as_ref(), "--resume".as_ref(), run.as_ref()], &run));
            } else {
                remove(&run)?;
                let recipe = write_recipe(&run, &start.recipe)?;
                jobs.push(Job::new(
                    &start.name,
                    &["sft".as_ref(), recipe.as_ref(), "--run".as_ref(), run.as_ref()],
                    &run,
                ));
            }
        }
        Ok(jobs)
    }

    /// Refuses starting policies that skills do not help, where a method that distils them would start.
    ///
    /// # Errors
    /// There is one, or its metrics cannot be read.
    pub fn check_starts(&self, plan: &Plan) -> Result<(), FolderError> {
        for (index, start) in plan.starts.iter().enumerate() {
            let taught =
                |cell: &&Cell| cell.start == Some(index) && cell.recipe.algorithm.teaches(&cell.recipe.skill);
            let Some(warm) =
                start.recipe.warm_start.as_ref().filter(|_| plan.cells.iter().any(|c| taught(&c)))
            else {
                continue;
            };
            let path = self.start(start);
            if let Some(probe) = Log::read(&path)?.probe {
                check_skill_gain(warm, probe.plain.success, probe.workflow.success)
                    .map_err(|reason| FolderError::Start { path, reason: Box::new(reason) })?;
            }
        }
        Ok(())
    }

    /// What is left of the runs, all cells of a seed before those of the next; what is left of a run that cannot be
    /// resumed is removed.
    ///
    /// # Errors
    /// A file or folder cannot be read or written.
    pub fn run_jobs(&self, plan: &Plan) -> Result<Vec<Job>, RunError> {
        let mut jobs = Vec::new();
        for (cell, seed) in plan.runs() {
            let run = self.run(cell, seed);
            let name = format!("{} seed {seed}", cell.name);
            let job = match self.state(cell, seed)? {
                State::Finished => continue,
                State::Begun(_) => {
                    Job::new(&name, &["train".as_ref(), "--resume".as_ref(), run.as_ref()], &run)
                }
                State::New | State::Lost => {
                    remove(&run)?;
                    let recipe = write_recipe(&run, &self.recipe(plan, cell, seed))?;
                    Job::new(
                        &name,
                        &["train".as_ref(), recipe.as_ref(), "--run".as_ref(), run.as_ref()],
                        &run,
                    )
                }
            };
            jobs.push(Job { steps: cell.recipe.steps, ..job });
        }
        Ok(jobs)
    }
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<(), RunError> {
    match folder.exists() {
        true => io("remove", folder, fs::remove_dir_all(folder)),
        false => Ok(()),
    }
}

/// Writes the recipe of a run beside its folder.
fn write_recipe(run: &Path, recipe: &Recipe) -> Result<PathBuf, RunError> {
    let path = run.with_extension("toml");
    let above = run.parent().unwrap_or(run);
    io("make", above, fs::create_dir_all(above))?;
    io("write", &path, fs::write(&path, recipe.to_toml()))?;
    Ok(path)
}

/// Refuses a run that was begun with another recipe, wherever its starting policy lies if it `moves`.
fn same_recipe(run: &Path, wanted: &Recipe, moves: bool) -> Result<(), FolderError> {
    if !run.join("config.toml").exists() {
        return Ok(());
    }
    let mut begun = RunFolder::recipe(run)?;
    if moves {
        begun.policy.model.clone_from(&wanted.policy.model);
    }
    if begun == *wanted {
        return Ok(());
    }
    let tables =
        [&begun, wanted].map(|recipe| recipe.to_toml().parse::<Table>().expect("a recipe is a table"));
    let [before, now] = tables.map(Value::Table);
    let mut differences = Vec::new();
    collect_differences("", Some(&before), Some(&now), &mut differences);
    Err(FolderError::Changed { path: run.to_owned(), differences })
}

/// Collects the dotted keys whose values differ.
fn collect_differences(key: &str, before: Option<&Value>, now: Option<&Value>, found: &mut Vec<String>) {
    match (before, now) {
        (before, now) if before == now => {}
        (Some(Value::Table(before)), Some(Value::Table(now))) => {
            let added = now.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let dotted = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect_differences(&dotted, before.get(name), now.get(name), found);
            }
        }
        (before, now) => {
            let say = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
            found.push(format!("{key}: {} then, {} now", say(before), say(now)));
        }
    }
}
