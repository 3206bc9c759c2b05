//! Checkpoints: written beside their place, synced and renamed; the manifest, with length and hash of every file, is
//! the last file in. A folder without a valid manifest does not exist for the reader.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::error::LoadError;
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig};
use opid_lm::storage::{Storage, beside, replace};
use serde::{Deserialize, Serialize};

use super::{RunError, WARM_START, io};
use crate::digest;
use crate::warm_start::Standing;

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
/// How far a warm start is.
const STANDING: &str = "warm_start.json";
/// Folder of the f32 weights in a checkpoint of another number format.
const EXACT: &str = "exact";
/// Folder in a checkpoint with the average of the policies.
const AVERAGE: &str = "average";
/// Ending of a folder that another one takes the place of.
const OLD: &str = "old";

/// Why a checkpoint folder is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was not finished, or is no checkpoint.
    NoManifest,
    /// The manifest is no manifest.
    Manifest(String),
    /// A file of the manifest is missing.
    Missing(String),
    /// A file cannot be read.
    Unreadable(String, String),
    /// A file has another length: name, bytes found, bytes of the manifest.
    Length(String, u64, u64),
    /// A file has another hash.
    Hash(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoManifest => write!(f, "it has no manifest.json, so it was never finished"),
            Fault::Manifest(reason) => write!(f, "its manifest.json cannot be read: {reason}"),
            Fault::Missing(name) => write!(f, "{name} is missing"),
            Fault::Unreadable(name, reason) => write!(f, "{name} cannot be read: {reason}"),
            Fault::Length(name, found, said) => write!(f, "{name} has {found} bytes instead of {said}"),
            Fault::Hash(name) => {
                write!(f, "{name} does not have the content that was written (its hash differs)")
            }
        }
    }
}

/// What is written as the checkpoint of a training step. Training shares it, and copies what it changes meanwhile.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Training steps done.
    pub step: u64,
    /// The policy.
    pub model: Arc<Model>,
    /// Its optimizer; none for the starting policy.
    pub optimizer: Option<Arc<AdamW>>,
    /// The average of the policies, if it is the teacher.
    pub average: Option<Arc<Model>>,
    /// How far a warm start is that is not finished.
    pub standing: Option<Standing>,
    /// Number format of the exported weights.
    pub dtype: StoredDtype,
    /// Tokens and chat template.
    pub text: Arc<TextFiles>,
}

impl Snapshot {
    /// Writes the checkpoint into the folder `checkpoints`, and returns its place.
    ///
    /// # Errors
    /// An operation fails; what was there before is there still.
    pub fn write(&self, storage: &dyn Storage, checkpoints: &Path) -> Result<PathBuf, RunError> {
        let place = folder_of(checkpoints, self.step);
        let new = beside(&place);
        io("remove", &new, storage.remove(&new))?;
        self.model.save_to(storage, &new, self.dtype, Some(&self.text))?;
        if let Some(optimizer) = &self.optimizer {
            optimizer.save(storage, &new.join(MOMENTS))?;
        }
        if let Some(average) = &self.average {
            average.save_to(storage, &new.join(AVERAGE), StoredDtype::F32, None)?;
        }
        if let Some(standing) = &self.standing {
            let (path, json) = (new.join(STANDING), serde_json::to_vec(standing).expect("plain data"));
            io("write", &path, replace(storage, &path, &mut |path| fs::write(path, &json)))?;
        }
        // Training goes on from exact weights, and compares with the exact starting policy, whatever
        // the exported number format.
        if self.dtype != StoredDtype::F32 {
            self.model.save_to(storage, &new.join(EXACT), StoredDtype::F32, None)?;
        }
        let mut files = Vec::new();
        for path in files_below(&new)? {
            let name = path.strip_prefix(&new).unwrap_or(&path).display().to_string();
            let (bytes, sha256) = io("read", &path, digest::of_file(&path))?;
            files.push(FileEntry { name, bytes, sha256 });
        }
        let folders = [EXACT, AVERAGE].map(|name| new.join(name));
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            io("sync", folder, storage.sync(folder))?;
        }
        let manifest = serde_json::to_vec_pretty(&Manifest { step: self.step, files }).expect("plain data");
        let path = new.join(MANIFEST);
        io("write", &path, replace(storage, &path, &mut |path| fs::write(path, &manifest)))?;
        io("sync", &new, storage.sync(&new))?;
        // What is at the place is not whole, or this step was saved before.
        let old = place.with_extension(OLD);
        if place.exists() {
            io("remove", &old, storage.remove(&old))?;
            io("rename", &place, storage.rename(&place, &old))?;
        }
        io("rename", &place, storage.rename(&new, &place))?;
        io("sync", checkpoints, storage.sync(checkpoints))?;
        io("remove", &old, storage.remove(&old))?;
        Ok(place)
    }
}

/// The folder of a training step.
pub(super) fn folder_of(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step_{step}"))
}

/// Removes all but the last `keep` checkpoints and those of the steps `kept`; the first (the starting policy) always
/// stays, and `keep = 0` removes none.
///
/// # Errors
/// A folder cannot be read or removed.
pub fn prune(storage: &dyn Storage, checkpoints: &Path, keep: usize, kept: &[u64]) -> Result<(), RunError> {
    // Hashes are not compared again: it would take as long as writing did.
    let mut steps = begun(checkpoints)?;
    steps.retain(|&step| step > 0 && folder_of(checkpoints, step).join(MANIFEST).is_file());
    if keep == 0 {
        return Ok(());
    }
    steps.truncate(steps.len().saturating_sub(keep));
    for step in steps.into_iter().filter(|step| !kept.contains(step)) {
        let path = folder_of(checkpoints, step);
        // A folder that is removed in part must not look like one.
        let old = path.with_extension(OLD);
        io("remove", &old, storage.remove(&old))?;
        io("rename", &path, storage.rename(&path, &old))?;
        io("remove", &old, storage.remove(&old))?;
    }
    Ok(())
}

/// Removes what a crash left half written or half removed.
///
/// # Errors
/// A folder cannot be read or removed.
pub(super) fn clear(storage: &dyn Storage, checkpoints: &Path) -> Result<(), RunError> {
    for entry in io("read", checkpoints, fs::read_dir(checkpoints))? {
        let path = io("read", checkpoints, entry)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("step_") && (name.ends_with(".partial") || name.ends_with(".old")) {
            io("remove", &path, storage.remove(&path))?;
        }
    }
    Ok(())
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
    /// Later checkpoints that are not whole, the latest first.
    pub passed_over: Vec<(u64, Fault)>,
}

/// Loads the last complete checkpoint of a run.
///
/// # Errors
/// There is none, or it does not fit `config`.
pub fn last_checkpoint(
    run: &Path,
    config: AdamWConfig,
    precision: Precision,
) -> Result<Checkpoint, RunError> {
    let Last { step, folder, passed_over } = last_complete(run)?;
    let model = exact_model(&folder, precision)?;
    let optimizer = optimizer_in(&folder, model.len(), config)?;
    let average = folder.join(AVERAGE);
    let average = average.is_dir().then(|| Model::open(&average, precision)).transpose()?;
    Ok(Checkpoint { step, model, optimizer, average, passed_over })
}

/// The optimizer of a checkpoint, for a model of `len` parameters; absent where none has stepped.
///
/// # Errors
/// It cannot be read, or does not fit.
pub fn optimizer_in(checkpoint: &Path, len: usize, config: AdamWConfig) -> Result<Option<AdamW>, RunError> {
    let moments = checkpoint.join(MOMENTS);
    match moments.exists() {
        true => Ok(Some(AdamW::load(&moments, len, config)?)),
        false => Ok(None),
    }
}

/// The model of a checkpoint, with the weights it had in training.
///
/// # Errors
/// The folder cannot be read.
pub fn exact_model(checkpoint: &Path, precision: Precision) -> Result<Model, LoadError> {
    let exact = checkpoint.join(EXACT);
    Model::open(if exact.is_dir() { &exact } else { checkpoint }, precision)
}

/// Folder of the starting policy of a run.
///
/// # Errors
/// It is not whole.
pub fn start_of(run: &Path) -> Result<PathBuf, RunError> {
    let path = folder_of(&run.join("checkpoints"), 0);
    match check(&path) {
        Ok(_) => Ok(path),
        Err(fault) => Err(RunError::NoStart { path, fault }),
    }
}

/// The last complete checkpoint.
pub(super) struct Last {
    /// Training steps done.
    pub step: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Later ones that are not whole, the latest first.
    pub passed_over: Vec<(u64, Fault)>,
}

/// Finds the last complete checkpoint of a run.
pub(super) fn last_complete(run: &Path) -> Result<Last, RunError> {
    last_in(&run.join("checkpoints"))?.ok_or_else(|| RunError::NoCheckpoint { path: run.to_owned() })
}

/// Finds the last complete checkpoint in a folder that may be missing.
fn last_in(checkpoints: &Path) -> Result<Option<Last>, RunError> {
    let mut passed_over = Vec::new();
    for step in begun(checkpoints)?.into_iter().rev() {
        let folder = folder_of(checkpoints, step);
        match check(&folder) {
            Ok(_) => return Ok(Some(Last { step, folder, passed_over })),
            Err(fault) => passed_over.push((step, fault)),
        }
    }
    Ok(None)
}

/// A warm start that was stopped.
#[derive(Debug)]
pub struct Unfinished {
    /// What is kept of it: a Hugging Face folder, with the optimizer.
    pub folder: PathBuf,
    /// How far it is.
    pub standing: Standing,
}

/// What a run keeps of a warm start that was stopped, if it does.
///
/// # Errors
/// A file cannot be read.
pub fn unfinished(run: &Path) -> Result<Option<Unfinished>, RunError> {
    let Some(Last { folder, .. }) = last_in(&run.join(WARM_START))? else { return Ok(None) };
    let path = folder.join(STANDING);
    let standing = serde_json::from_slice(&io("read", &path, fs::read(&path))?);
    let standing = io("read", &path, standing.map_err(Into::into))?;
    Ok(Some(Unfinished { folder, standing }))
}

/// Whether a run can be continued: it has a complete checkpoint.
pub fn has_checkpoint(run: &Path) -> bool {
    last_complete(run).is_ok()
}

/// Steps of all folders of checkpoints, whole or not, in order; none where there is no folder for them.
///
/// # Errors
/// The folder cannot be read.
pub fn begun(checkpoints: &Path) -> Result<Vec<u64>, RunError> {
    let mut steps = Vec::new();
    if !checkpoints.is_dir() {
        return Ok(steps);
    }
    for entry in io("read", checkpoints, fs::read_dir(checkpoints))? {
        let path = io("read", checkpoints, entry)?.path();
        steps.extend(path.file_name().and_then(|n| n.to_str()?.strip_prefix("step_")?.parse::<u64>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Checks that every file of the manifest is there with its length and hash; gives the bytes of all.
///
/// # Errors
/// The first that is not.
pub fn check(folder: &Path) -> Result<u64, Fault> {
    let text = fs::read(folder.join(MANIFEST)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::NoManifest,
        _ => Fault::Manifest(error.to_string()),
    })?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| Fault::Manifest(error.to_string()))?;
    let mut sum = 0;
    for FileEntry { name, bytes, sha256 } in &manifest.files {
        // A manifest speaks of its own folder only.
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Fault::Manifest(format!("{name:?} is not the name of a file in the folder")));
        }
        let path = folder.join(name);
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::Missing(name.clone()),
            _ => Fault::Unreadable(name.clone(), error.to_string()),
        };
        let found = fs::metadata(&path).map_err(unreadable)?.len();
        if found != *bytes {
            return Err(Fault::Length(name.clone(), found, *bytes));
        }
        if digest::of_file(&path).map_err(unreadable)?.1 != *sha256 {
            return Err(Fault::Hash(name.clone()));
        }
        sum += bytes;
    }
    match manifest.files.iter().any(|file| file.name == "config.json") {
        true => Ok(sum),
        false => Err(Fault::Manifest("it does not name config.json".to_owned())),
    }
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
