//! A policy as a Hugging Face folder of its own, without what training needs beside it.

use std::path::Path;

use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::kernels::tile::Precision;
use opid_lm::storage::{Disk, Storage, beside};

use crate::run::{RunError, exact_model, io, locate};

/// Writes the model that `model` names (a Hugging Face folder, a run, or a checkpoint inside a run) into the new folder
/// `out`, from its exact weights, and returns the number of parameters. The folder is there as a whole or not at all.
///
/// # Errors
/// There is no such model, it is not whole, `out` is taken, or a file cannot be written.
pub fn export(model: &Path, out: &Path, dtype: StoredDtype) -> Result<usize, RunError> {
    let folder = locate(model)?.folder;
    let taken = out.is_file() || out.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        return Err(RunError::Taken { path: out.to_owned() });
    }
    let text = TextFiles::from_folder(&folder)?;
    let model = exact_model(&folder, Precision::F32)?;
    let new = beside(out);
    io("remove", &new, Disk.remove(&new))?;
    model.save(&new, dtype, Some(&text))?;
    io("sync", &new, Disk.sync(&new))?;
    io("make", out, Disk.rename(&new, out))?;
    Ok(model.len())
}
