//! A run's folder: configuration, metrics, trajectories and checkpoints, and what is learnt of a warm start as long as
//! that is not finished.
//!
//! Whatever is read again is written beside its place, synced and renamed, but for `metrics.jsonl`, which grows line by
//! line: it is synced before a checkpoint counts, and what is in it of later steps is dropped when a run goes on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;
use opid_lm::storage::{Storage, replace};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

mod checkpoint;
mod error;

pub use checkpoint::{
    Checkpoint, Fault, Snapshot, Unfinished, begun, check, exact_model, has_checkpoint, last_checkpoint,
    optimizer_in, prune, start_of, unfinished,
};
pub(crate) use error::advice;
pub use error::{RunError, io};

use crate::recipe::Recipe;

/// An open run folder. When it is dropped, a checkpoint that is being written is finished first.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    storage: Arc<dyn Storage>,
    /// Writes a checkpoint beside training.
    saving: Option<JoinHandle<Result<PathBuf, RunError>>>,
}

const METRICS: &str = "metrics.jsonl";
const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
const WARM_START: &str = "warm_start";

impl RunFolder {
    /// Refuses a folder that holds a run, and makes nothing.
    pub fn refuse_taken(path: &Path) -> Result<(), RunError> {
        match path.join(CONFIG).exists() {
            true => Err(RunError::Exists { path: path.to_owned() }),
            false => Ok(()),
        }
    }

    /// Starts a new run: the folder must be absent or empty of runs.
    pub fn create(path: &Path, recipe: &Recipe, storage: Arc<dyn Storage>) -> Result<Self, RunError> {
        Self::refuse_taken(path)?;
        Self::begin(path, recipe, storage)
    }

    /// Starts a run again that has no checkpoint yet, or a new one.
    pub(crate) fn begin(path: &Path, recipe: &Recipe, storage: Arc<dyn Storage>) -> Result<Self, RunError> {
        for folder in ["trajectories", CHECKPOINTS] {
            let folder = path.join(folder);
            io("make", &folder, storage.make_folder(&folder))?;
        }
        checkpoint::clear(storage.as_ref(), &path.join(CHECKPOINTS))?;
        let file = path.join(METRICS);
        io("write", &file, replace(storage.as_ref(), &file, &mut |path| File::create(path).map(drop)))?;
        let metrics = io("write", &file, File::options().append(true).open(&file))?;
        // The last: with it the folder is a run, which can be resumed.
        let (config, toml) = (path.join(CONFIG), recipe.to_toml());
        io("write", &config, replace(storage.as_ref(), &config, &mut |path| fs::write(path, &toml)))?;
        io("sync", path, storage.sync(path))?;
        Ok(RunFolder { path: path.to_owned(), metrics, storage, saving: None })
    }

    /// Opens a run to continue it after training step `step`; later metrics are dropped.
    pub fn reopen(path: &Path, step: u64, storage: Arc<dyn Storage>) -> Result<Self, RunError> {
        let mut folder =
            Self::reopen_before(path, &|line| line["step"].as_u64().is_some_and(|s| s > step), storage)?;
        folder.forget_warm_start()?;
        Ok(folder)
    }

    /// Opens a run to continue it; the first line of its metrics that is `later`, and what follows, is dropped.
    pub(crate) fn reopen_before(
        path: &Path,
        later: &dyn Fn(&Value) -> bool,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, RunError> {
        checkpoint::clear(storage.as_ref(), &path.join(CHECKPOINTS))?;
        let file = path.join(METRICS);
        let old = io("read", &file, File::open(&file))?;
        let mut kept = Vec::new();
        for line in BufReader::new(old).split(b'\n') {
            let line = io("read", &file, line)?;
            // A line that was cut off in a crash is dropped with the rest.
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { break };
            if later(&value) {
                break;
            }
            kept.extend_from_slice(&line);
            kept.push(b'\n');
        }
        io("write", &file, replace(storage.as_ref(), &file, &mut |path| fs::write(path, &kept)))?;
        io("sync", path, storage.sync(path))?;
        let metrics = io("write", &file, File::options().append(true).open(&file))?;
        Ok(RunFolder { path: path.to_owned(), metrics, storage, saving: None })
    }

    /// The recipe of an existing run.
    pub fn recipe(path: &Path) -> Result<Recipe, RunError> {
        Ok(Recipe::read(Some(&path.join(CONFIG)), &[])?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line to `metrics.jsonl`.
    pub fn log(&mut self, record: &impl Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_string(record).expect("metrics are plain data");
        line.push('\n');
        let path = self.path.join(METRICS);
        io("write", &path, self.storage.append(&path, &mut self.metrics, line.as_bytes()))
    }

    /// Writes `trajectories/NAME.jsonl.gz`, one record a line.
    pub fn write_trajectories<T: Serialize + Sync>(&self, name: &str, records: &[T]) -> Result<(), RunError> {
        let path = self.path.join("trajectories").join(format!("{name}.jsonl.gz"));
        let line = |record: &T| {
            let mut line = serde_json::to_vec(record).expect("trajectories are plain data");
            line.push(b'\n');
            line
        };
        let lines: Vec<Vec<u8>> = records.par_iter().map(line).collect();
        let mut fill = |path: &Path| {
            let mut out = GzEncoder::new(File::create(path)?, Compression::fast());
            lines.iter().try_for_each(|line| out.write_all(line))?;
            out.finish().map(drop)
        };
        io("write", &path, replace(self.storage.as_ref(), &path, &mut fill))
    }

    /// The place of the checkpoint after a training step.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        checkpoint::folder_of(&self.path.join(CHECKPOINTS), step)
    }

    /// Writes a checkpoint beside training, then removes others: all but the last `keep` and those of the steps
    /// `kept`. Waits for the checkpoint before.
    ///
    /// # Errors
    /// The checkpoint before could not be written, or no thread can be started.
    pub fn save(&mut self, snapshot: Snapshot, keep: usize, kept: Vec<u64>) -> Result<(), RunError> {
        self.write(CHECKPOINTS, snapshot, keep, kept)
    }

    /// Writes what is learnt of a warm start beside it, in place of what was kept before.
    ///
    /// # Errors
    /// As of [`save`](Self::save).
    pub(crate) fn keep(&mut self, snapshot: Snapshot) -> Result<(), RunError> {
        let folder = self.path.join(WARM_START);
        io("make", &folder, self.storage.make_folder(&folder))?;
        checkpoint::clear(self.storage.as_ref(), &folder)?;
        self.write(WARM_START, snapshot, 1, Vec::new())
    }

    /// Removes what is kept of a warm start, which is finished.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn forget_warm_start(&mut self) -> Result<(), RunError> {
        self.finish()?;
        let folder = self.path.join(WARM_START);
        match folder.exists() {
            true => io("remove", &folder, self.storage.remove(&folder)),
            false => Ok(()),
        }
    }

    fn write(
        &mut self,
        place: &'static str,
        snapshot: Snapshot,
        keep: usize,
        kept: Vec<u64>,
    ) -> Result<(), RunError> {
        self.finish()?;
        let (run, storage) = (self.path.clone(), self.storage.clone());
        let work = move || {
            // What was measured up to here outlasts what the checkpoint outlasts.
            for synced in [run.join(METRICS), run.join("trajectories")] {
                io("sync", &synced, storage.sync(&synced))?;
            }
            let checkpoints = run.join(place);
            let place = snapshot.write(storage.as_ref(), &checkpoints)?;
            drop(snapshot);
            prune(storage.as_ref(), &checkpoints, keep, &kept)?;
            Ok(place)
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work);
        self.saving = Some(io("start the thread that writes", &self.path.join(place), thread)?);
        Ok(())
    }

    /// Removes all checkpoints but the last `keep` and those of the steps `kept`; see [`prune`].
    ///
    /// # Errors
    /// A folder cannot be read or removed.
    pub fn prune(&self, keep: usize, kept: &[u64]) -> Result<(), RunError> {
        prune(self.storage.as_ref(), &self.path.join(CHECKPOINTS), keep, kept)
    }

    /// Waits for the checkpoint that is being written, if there is one.
    ///
    /// # Errors
    /// It could not be written.
    pub fn finish(&mut self) -> Result<(), RunError> {
        let written = self.saving.take().map(|thread| match thread.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        written.transpose().map(drop)
    }

    /// Says why the last checkpoint could not be written, if that is known already.
    ///
    /// # Errors
    /// It could not.
    pub fn check_saving(&mut self) -> Result<(), RunError> {
        match self.saving.as_ref().is_some_and(JoinHandle::is_finished) {
            true => self.finish(),
            false => Ok(()),
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Whoever could be told has gone on with another error, or asked before.
        let _ = self.saving.take().map(JoinHandle::join);
    }
}

/// A model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its Hugging Face folder.
    pub folder: PathBuf,
    /// The configuration of the run it comes from, if it does.
    pub recipe: Option<PathBuf>,
}

/// Finds the model that `path` names: a Hugging Face folder, a run (its last complete checkpoint), or
/// a checkpoint inside a run.
///
/// # Errors
/// There is none, or it is a checkpoint that is not whole.
pub fn locate(path: &Path) -> Result<Located, RunError> {
    let config = path.join(CONFIG);
    if config.is_file() {
        return Ok(Located { folder: checkpoint::last_complete(path)?.folder, recipe: Some(config) });
    }
    if !path.join("config.json").is_file() {
        return Err(RunError::NoModel { path: path.to_owned() });
    }
    // The way up does not show in a path such as `.`.
    let place = io("find", path, path.canonicalize())?;
    let above = place.parent().filter(|p| p.ends_with("checkpoints")).and_then(Path::parent);
    let recipe = above.map(|run| run.join(CONFIG)).filter(|config| config.is_file());
    if recipe.is_some() {
        check(path).map_err(|fault| RunError::NotWhole { path: path.to_owned(), fault })?;
    }
    Ok(Located { folder: path.to_owned(), recipe })
}
