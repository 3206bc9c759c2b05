//! What can be wrong with a checkpoint folder.

use std::path::{Path, PathBuf};

/// A checkpoint folder that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be opened, read or mapped.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name promises.
    #[error("{path} is malformed: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// `config.json` describes a model that this crate does not compute.
    #[error("{path}: {reason}; supported are dense qwen2 and qwen3 decoders with full attention")]
    Unsupported {
        /// The configuration file.
        path: PathBuf,
        /// Which setting is outside what is supported.
        reason: String,
    },
    /// The folder holds no weights.
    #[error(
        "{path} holds neither model.safetensors nor model.safetensors.index.json; \
         give a Hugging Face folder with safetensors weights"
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// The architecture needs a tensor that the checkpoint does not have.
    #[error("{path} has no tensor {name}, which config.json asks for; is the checkpoint complete?")]
    MissingTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// The checkpoint has a tensor that the architecture does not know.
    #[error(
        "{path} has the tensor {name}, which a model of this config.json does not have; \
         merge adapters and remove foreign tensors first"
    )]
    UnexpectedTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the architecture gives it.
    #[error("tensor {name} in {path} has shape {found:?}, but config.json gives {expected:?}")]
    Shape {
        /// The folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a number format other than f32, bf16 and f16.
    #[error("tensor {name} in {path} is stored as {dtype}; convert it to f32, bf16 or f16")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The number format found.
        dtype: String,
    },
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, LoadError> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| LoadError::Malformed { path: path.to_owned(), reason: error.to_string() })
}
