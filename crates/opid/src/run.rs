//! A run's folder: configuration, metrics, trajectories and checkpoints.
//!
//! A checkpoint is written beside its place, synced and renamed; its manifest, with length and hash of
//! every file, is the last file in. A folder without a valid manifest does not exist for the reader.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::error::LoadError;
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, MomentsError};
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::recipe::{Recipe, RecipeError};

/// A run folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or folder.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds a run already.
    #[error(
        "{path} holds a run already: continue it with --resume {path}, or choose another folder with --run DIR"
    )]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such folder, or it is neither a run nor a model.
    #[error(
        "{path} is no model: give a Hugging Face folder (with config.json), a run folder (with config.toml) or a \
         checkpoint inside a run"
    )]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// There is nothing to continue.
    #[error(
        "{path} has no complete checkpoint: it stopped before its starting policy was saved; remove the folder and \
         start again"
    )]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint's model.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// A checkpoint's moments.
    #[error(transparent)]
    Moments(#[from] MomentsError),
    /// A checkpoint without the teacher.
    #[error(
        "the checkpoint of step {step} has no average/, the teacher of skill.teacher = \"average\": the run was begun \
         with another teacher; go on with that one, or start a new run"
    )]
    NoAverage {
        /// Training step.
        step: u64,
    },
    /// The stored configuration.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file's content.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Turns an I/O error into one that names the file.
pub(crate) fn io<T>(action: &'static str, path: &Path, result: std::io::Result<T>) -> Result<T, RunError> {
    result.map_err(|source| RunError::Io { action, path: path.to_owned(), source })
}

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
}

/// What a checkpoint says about itself; the last file written.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    step: u64,
    files: Vec<FileEntry>,
}

/// Length and hash of a file.
#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    name: String,
    bytes: u64,
    sha256: String,
}

const MANIFEST: &str = "manifest.json";
const MOMENTS: &str = "optimizer.safetensors";
/// Folder of the f32 weights in a checkpoint of another number format.
const EXACT: &str = "exact";
/// Folder in a checkpoint with the average of the policies.
const AVERAGE: &str = "average";

impl RunFolder {
    /// Refuses a folder that holds a run, and makes nothing.
    pub fn refuse_taken(path: &Path) -> Result<(), RunError> {
        match path.join("config.toml").exists() {
            true => Err(RunError::Exists { path: path.to_owned() }),
            false => Ok(()),
        }
    }

    /// Starts a new run: the folder must be absent or empty of runs.
    pub fn create(path: &Path, recipe: &Recipe) -> Result<Self, RunError> {
        Self::refuse_taken(path)?;
        for folder in ["trajectories", "checkpoints"] {
            let folder = path.join(folder);
            io("make", &folder, fs::create_dir_all(&folder))?;
        }
        let config = path.join("config.toml");
        io("write", &config, fs::write(&config, recipe.to_toml()))?;
        let file = path.join("metrics.jsonl");
        let metrics = io("write", &file, File::create(&file))?;
        Ok(RunFolder { path: path.to_owned(), metrics })
    }

    /// Opens a run to continue it after training step `step`; later metrics are dropped.
    pub fn reopen(path: &Path, step: u64) -> Result<Self, RunError> {
        let file = path.join("metrics.jsonl");
        let old = io("read", &file, File::open(&file))?;
        let mut kept = Vec::new();
        for line in BufReader::new(old).lines() {
            let line = io("read", &file, line)?;
            // A line that was cut off in a crash is dropped with the rest.
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { break };
            if value["step"].as_u64().is_some_and(|s| s > step) {
                break;
            }
            kept.push(line + "\n");
        }
        let beside = path.join("metrics.jsonl.new");
        let text = kept.concat();
        io("write", &beside, fs::write(&beside, text))?;
        io("replace", &file, fs::rename(&beside, &file))?;
        let metrics = io("write", &file, File::options().append(true).open(&file))?;
        Ok(RunFolder { path: path.to_owned(), metrics })
    }

    /// The recipe of an existing run.
    pub fn recipe(path: &Path) -> Result<Recipe, RunError> {
        Ok(Recipe::read(Some(&path.join("config.toml")), &[])?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line to `metrics.jsonl`.
    pub fn log(&mut self, record: &impl Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_string(record).expect("metrics are plain data");
        line.push('\n');
        let path = self.path.join("metrics.jsonl");
        io("write", &path, self.metrics.write_all(line.as_bytes()))
    }

    /// Writes `trajectories/NAME.jsonl.gz`, one record a line.
    pub fn write_trajectories<T: Serialize>(&self, name: &str, records: &[T]) -> Result<(), RunError> {
        let path = self.path.join("trajectories").join(format!("{name}.jsonl.gz"));
        let beside = path.with_extension("new");
        let file = io("write", &beside, File::create(&beside))?;
        let mut out = GzEncoder::new(file, Compression::fast());
        for record in records {
            let line = serde_json::to_vec(record).expect("trajectories are plain data");
            io("write", &beside, out.write_all(&line).and_then(|()| out.write_all(b"\n")))?;
        }
        io("write", &beside, out.finish())?;
        io("rename", &path, fs::rename(&beside, &path))
    }

    /// The place of the checkpoint after a training step.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join("checkpoints").join(format!("step_{step}"))
    }

    /// Writes the checkpoint of a training step: a Hugging Face folder, the optimizer's moments, and the average
    /// of the policies if it is the teacher.
    pub fn save(
        &self,
        step: u64,
        model: &Model,
        optimizer: Option<&AdamW>,
        average: Option<&Model>,
        dtype: StoredDtype,
        text: &TextFiles,
    ) -> Result<PathBuf, RunError> {
        let place = self.checkpoint(step);
        let beside = place.with_extension("new");
        if beside.exists() {
            io("remove", &beside, fs::remove_dir_all(&beside))?;
        }
        model.save(&beside, dtype, Some(text))?;
        if let Some(optimizer) = optimizer {
            optimizer.save(&beside.join(MOMENTS))?;
        }
        if let Some(average) = average {
            average.save(&beside.join(AVERAGE), StoredDtype::F32, None)?;
        }
        // Training goes on from exact weights, and compares with the exact starting policy, whatever
        // the exported number format.
        if dtype != StoredDtype::F32 {
            model.save(&beside.join(EXACT), StoredDtype::F32, None)?;
        }
        let mut files = Vec::new();
        for path in files_below(&beside)? {
            let name = path.strip_prefix(&beside).unwrap_or(&path).display().to_string();
            let (bytes, sha256) = io("read", &path, digest::of_file(&path))?;
            io("sync", &path, File::open(&path).and_then(|f| f.sync_all()))?;
            files.push(FileEntry { name, bytes, sha256 });
        }
        let manifest = serde_json::to_vec_pretty(&Manifest { step, files }).expect("plain data");
        let path = beside.join(MANIFEST);
        io(
            "write",
            &path,
            File::create(&path).and_then(|mut f| f.write_all(&manifest).and_then(|()| f.sync_all())),
        )?;
        if place.exists() {
            io("remove", &place, fs::remove_dir_all(&place))?;
        }
        io("rename", &place, fs::rename(&beside, &place))?;
        Ok(place)
    }

    /// Removes all but the last `keep` checkpoints; the first (the starting policy) always stays.
    pub fn prune(&self, keep: usize) -> Result<(), RunError> {
        let mut steps = complete_checkpoints(&self.path)?;
        steps.retain(|&s| s > 0);
        if keep == 0 || steps.len() <= keep {
            return Ok(());
        }
        steps.truncate(steps.len() - keep);
        for step in steps {
            let path = self.checkpoint(step);
            io("remove", &path, fs::remove_dir_all(&path))?;
        }
        Ok(())
    }
}

/// Everything a checkpoint holds.
#[derive(Debug)]
pub struct Checkpoint {
    /// Training steps done.
    pub step: u64,
    /// The policy.
    pub model: Model,
    /// Its optimizer; absent for the starting policy.
    pub optimizer: Option<AdamW>,
    /// The average of the policies; absent if it is not the teacher.
    pub average: Option<Model>,
}

/// Loads the last complete checkpoint of a run.
pub fn last_checkpoint(
    run: &Path,
    config: AdamWConfig,
    precision: Precision,
) -> Result<Checkpoint, RunError> {
    let (step, folder) = last_complete(run)?;
    let model = exact_model(&folder, precision)?;
    let moments = folder.join(MOMENTS);
    let optimizer = match moments.exists() {
        true => Some(AdamW::load(&moments, model.len(), config)?),
        false => None,
    };
    let average = folder.join(AVERAGE);
    let average = average.is_dir().then(|| Model::open(&average, precision)).transpose()?;
    Ok(Checkpoint { step, model, optimizer, average })
}

/// The model of a checkpoint, with the weights it had in training.
pub fn exact_model(checkpoint: &Path, precision: Precision) -> Result<Model, LoadError> {
    let exact = checkpoint.join(EXACT);
    Model::open(if exact.is_dir() { &exact } else { checkpoint }, precision)
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
pub fn locate(path: &Path) -> Result<Located, RunError> {
    let config = path.join("config.toml");
    if config.is_file() {
        return Ok(Located { folder: last_complete(path)?.1, recipe: Some(config) });
    }
    if !path.join("config.json").is_file() {
        return Err(RunError::NoModel { path: path.to_owned() });
    }
    // The way up does not show in a path such as `.`.
    let place = io("find", path, path.canonicalize())?;
    let above = place.parent().filter(|p| p.ends_with("checkpoints")).and_then(Path::parent);
    let recipe = above.map(|run| run.join("config.toml")).filter(|config| config.is_file());
    Ok(Located { folder: path.to_owned(), recipe })
}

/// Whether a run can be continued: it has a complete checkpoint.
pub fn has_checkpoint(run: &Path) -> bool {
    last_complete(run).is_ok()
}

/// Step and folder of the last complete checkpoint of a run.
fn last_complete(run: &Path) -> Result<(u64, PathBuf), RunError> {
    let steps = complete_checkpoints(run)?;
    let step = steps.last().copied().ok_or_else(|| RunError::NoCheckpoint { path: run.to_owned() })?;
    Ok((step, run.join("checkpoints").join(format!("step_{step}"))))
}

/// Steps of the complete checkpoints of a run, in order.
fn complete_checkpoints(run: &Path) -> Result<Vec<u64>, RunError> {
    let folder = run.join("checkpoints");
    let mut steps = Vec::new();
    for entry in io("read", &folder, fs::read_dir(&folder))? {
        let path = io("read", &folder, entry)?.path();
        let step = path.file_name().and_then(|n| n.to_str()?.strip_prefix("step_")?.parse().ok());
        if let Some(step) = step
            && is_complete(&path)
        {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Whether every file of the manifest is there with its length and hash.
fn is_complete(folder: &Path) -> bool {
    let Ok(text) = fs::read(folder.join(MANIFEST)) else { return false };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return false };
    manifest.files.iter().all(|f| {
        let path = folder.join(&f.name);
        fs::metadata(&path).is_ok_and(|m| m.len() == f.bytes)
            && digest::of_file(&path).is_ok_and(|(_, sha256)| sha256 == f.sha256)
    })
}

/// All files below a folder, in order of name.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut files = Vec::new();
    for entry in io("read", folder, fs::read_dir(folder))? {
        let path = io("read", folder, entry)?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
