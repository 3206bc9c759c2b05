//! Writes made games where ALFWorld keeps its own: `json_2.1.1/<split>/<task>/<trial>/`.
//!
//! Besides the game, the original wants a `traj_data.json` in the folder: it passes over folders that
//! have none, takes the kind of task from it, and its expert reads the goal there.

use std::path::{Path, PathBuf};

use super::Made;
use super::furnish::LIGHT;
use crate::alfworld::{FILE_NAME, RELEASE};

/// A game that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub struct WriteError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: std::io::Error,
}

impl Made {
    /// Writes the game under `data`, the folder that `ALFWORLD_DATA` is to name; returns its file.
    ///
    /// # Errors
    /// The folder cannot be made or a file cannot be written.
    pub fn write(&self, data: &Path) -> Result<PathBuf, WriteError> {
        let folder = data.join(RELEASE).join(&self.id);
        std::fs::create_dir_all(&folder).map_err(|source| WriteError { path: folder.clone(), source })?;
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            match std::fs::write(&path, text) {
                Ok(()) => Ok(path),
                Err(source) => Err(WriteError { path, source }),
            }
        };
        put("traj_data.json", self.trajectory_data())?;
        put(FILE_NAME, self.blueprint.file(&self.walkthrough))
    }

    /// What the original wants to know of a game besides its rules.
    fn trajectory_data(&self) -> String {
        let goal = &self.blueprint.goal;
        let (parent, lamp) = if goal.kind == LIGHT { ("", goal.receptacle) } else { (goal.receptacle, "") };
        serde_json::json!({
            "task_type": goal.kind,
            "pddl_params": {
                "mrecep_target": "",
                "object_sliced": false,
                "object_target": goal.object,
                "parent_target": parent,
                "toggle_target": lamp,
            },
        })
        .to_string()
    }
}
