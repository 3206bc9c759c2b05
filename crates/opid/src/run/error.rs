//! What can be wrong with a run's folder.

use std::path::{Path, PathBuf};

use opid_lm::error::LoadError;
use opid_lm::optimizer::MomentsError;

use super::Fault;
use crate::recipe::RecipeError;

/// A run folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or folder.
    #[error("cannot {action} {path}: {source}{}", advice(source))]
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
    /// A folder that is to be made.
    #[error("{path} is there already, and not empty: name another folder")]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// There is nothing to continue.
    #[error(
        "{path} has no complete checkpoint: opid inspect {path} shows what there is; where it stopped before its starting \
         policy was saved, opid train --resume {path} begins it again"
    )]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// The starting policy, with which training compares, cannot be used.
    #[error(
        "the starting policy in {path} cannot be used ({fault}), and training compares with it: put a copy of that \
         folder back, or begin a new run (policy.model can be a later checkpoint of this one)"
    )]
    NoStart {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// A model in a run that is not whole.
    #[error("the checkpoint {path} is not whole: {fault}; opid inspect shows which checkpoints of a run are")]
    NotWhole {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// A checkpoint's model.
    #[error("{_0}{advice}", advice = match .0 { LoadError::Write { source, .. } => advice(source), _ => "" })]
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

/// What to do about an error of the system.
pub(crate) fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            "; the run is safe up to its last checkpoint: make room (checkpoint.keep says how many checkpoints stay), \
             then go on with opid train --resume"
        }
        PermissionDenied | ReadOnlyFilesystem => "; give a folder that you may write to with --run DIR",
        _ => "",
    }
}

/// Turns an I/O error into one that names the file.
///
/// # Errors
/// That of `result`.
pub fn io<T>(action: &'static str, path: &Path, result: std::io::Result<T>) -> Result<T, RunError> {
    result.map_err(|source| RunError::Io { action, path: path.to_owned(), source })
}
