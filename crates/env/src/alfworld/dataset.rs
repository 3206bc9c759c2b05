//! The games of a split of the ALFWorld data on disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::episode::GameTask;
use super::file::{FILE_NAME, GameFile, LoadError};

/// The kinds of tasks, as the folders of games begin.
pub const KINDS: [&str; 6] = [
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
];

/// The folder under the data's root that holds the splits.
pub(crate) const RELEASE: &str = "json_2.1.1";

/// Why a split could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// There is no such folder.
    #[error(
        "no ALFWorld games at {}: fetch them with `alfworld-download` (from the `alfworld` Python package) and set \
         ALFWORLD_DATA to the folder that holds {RELEASE}; the built-in environment `household` needs no data",
        .0.display()
    )]
    Missing(PathBuf),
    /// The folder holds no games.
    #[error("{} holds no playable game ({FILE_NAME} in a folder of one of the six kinds of tasks)", .0.display())]
    Empty(PathBuf),
    /// A folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A game could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no game with this number.
    #[error("game {index} was asked for, but the split has {count}")]
    Index {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// The games of a split, sorted by path; each is loaded when first asked for.
#[derive(Debug)]
pub struct Dataset {
    root: PathBuf,
    /// Folders of games, relative to the root.
    games: Vec<String>,
    /// Games in use, so that a group of episodes shares one; no others are kept, as loading is quick.
    loaded: Mutex<Vec<Weak<GameTask>>>,
}

impl Dataset {
    /// Lists the games under `<data>/json_2.1.1/<split>`.
    ///
    /// Left out, as the original does, are games with sliced objects or movable receptacles, other
    /// kinds of tasks, and games whose file does not say that they can be won.
    pub fn open(data: &Path, split: &str) -> Result<Self, DatasetError> {
        let root = data.join(RELEASE);
        let folder = root.join(split);
        if !folder.is_dir() {
            return Err(DatasetError::Missing(folder));
        }
        let mut games = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(path) = folders.pop() {
            let read = |source| DatasetError::Read { path: path.clone(), source };
            let mut has_game = false;
            for entry in std::fs::read_dir(&path).map_err(read)? {
                let entry = entry.map_err(read)?;
                // Folders may be linked, so the entry's own type does not do.
                if entry.file_name() == FILE_NAME {
                    has_game = true;
                } else if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
            let relative = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if has_game && is_playable(&relative) && says_solvable(&path.join(FILE_NAME)).map_err(read)? {
                games.push(relative);
            }
        }
        if games.is_empty() {
            return Err(DatasetError::Empty(folder));
        }
        games.sort_unstable();
        let loaded = Mutex::new(games.iter().map(|_| Weak::new()).collect());
        Ok(Self { root, games, loaded })
    }

    /// The number of games.
    pub fn len(&self) -> usize {
        self.games.len()
    }

    /// Whether there are none; a split that could be opened has at least one.
    pub fn is_empty(&self) -> bool {
        self.games.is_empty()
    }

    /// The names of the games: their folders, relative to `json_2.1.1`.
    pub fn ids(&self) -> &[String] {
        &self.games
    }

    /// A game, shared with whoever else is using it.
    pub fn task(&self, index: usize) -> Result<Arc<GameTask>, DatasetError> {
        let count = self.games.len();
        let id = self.games.get(index).ok_or(DatasetError::Index { index, count })?;
        let lock = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = lock()[index].upgrade() {
            return Ok(task);
        }
        let file = GameFile::load(&self.root.join(id).join(FILE_NAME))?;
        let task = Arc::new(GameTask::new(id.clone(), file.game, file.walkthrough));
        lock()[index] = Arc::downgrade(&task);
        Ok(task)
    }
}

/// Whether the original would play a game in this folder.
fn is_playable(path: &str) -> bool {
    let known = path.split('/').any(|part| {
        let kind = part.split('-').next().unwrap_or_default();
        KINDS.contains(&kind)
    });
    known && !path.contains("movable") && !path.contains("Sliced")
}

/// Whether the file says that the game can be won; the original skips those that do not say so.
fn says_solvable(path: &Path) -> std::io::Result<bool> {
    const MARK: &[u8] = b"\"solvable\":";
    /// The statement usually comes after the long texts, near the end.
    const TAIL: u64 = 4096;
    let answer = |text: &[u8]| {
        let at = text.windows(MARK.len()).rposition(|window| window == MARK)?;
        Some(text[at + MARK.len()..].trim_ascii_start().starts_with(b"true"))
    };
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    if let Some(solvable) = answer(&text) {
        return Ok(solvable);
    }
    file.rewind()?;
    text.clear();
    file.read_to_end(&mut text)?;
    Ok(answer(&text).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::household::{HouseholdConfig, World};

    /// A folder with one game, or with another text in its place.
    fn lay_out(data: &Path, folder: &str, text: &str) {
        let folder = data.join(RELEASE).join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(FILE_NAME), text).expect("a file");
    }

    #[test]
    fn lists_what_the_original_plays_and_shares_loaded_games() {
        let data = tempfile::tempdir().expect("a folder");
        let world = World::new(HouseholdConfig::default(), 1).expect("good settings");
        let made = world.make("train", 0).expect("a game");
        let game = made.blueprint.file(&made.walkthrough);
        lay_out(data.path(), "train/pick_two_obj_and_place-B/trial_2", &game);
        lay_out(data.path(), "train/pick_two_obj_and_place-B/trial_1", &game);
        lay_out(data.path(), "train/look_at_obj_in_light-A/trial_1", &game);
        lay_out(
            data.path(),
            "train/look_at_obj_in_light-A/trial_2",
            &game.replace("\"solvable\":true", "\"solvable\": false"),
        );
        lay_out(
            data.path(),
            "train/look_at_obj_in_light-A/trial_3",
            &game.replace("\"solvable\":true", "\"other\":1"),
        );
        lay_out(data.path(), "train/pick_and_place_simple-AppleSliced/trial_1", &game);
        lay_out(data.path(), "train/pick_and_place_with_movable_recep-C/trial_1", &game);
        lay_out(data.path(), "train/dance-D/trial_1", &game);

        let dataset = Dataset::open(data.path(), "train").expect("a split");
        let listed = [
            "train/look_at_obj_in_light-A/trial_1",
            "train/pick_two_obj_and_place-B/trial_1",
            "train/pick_two_obj_and_place-B/trial_2",
        ];
        assert_eq!(dataset.ids(), listed);
        let task = dataset.task(1).expect("a game");
        assert!(Arc::ptr_eq(&task, &dataset.task(1).expect("the same game")));
        assert_eq!(task.game().task(), made.game.task());
        assert_eq!(
            dataset.task(3).expect_err("too far").to_string(),
            "game 3 was asked for, but the split has 3"
        );
    }

    #[test]
    fn a_broken_game_is_named() {
        let data = tempfile::tempdir().expect("a folder");
        lay_out(data.path(), "valid_seen/look_at_obj_in_light-A/trial_1", "{\"solvable\": true}");
        let dataset = Dataset::open(data.path(), "valid_seen").expect("a split");
        let error = dataset.task(0).expect_err("not a game").to_string();
        assert!(error.contains("trial_1") && error.contains("pddl_domain"), "{error}");
        assert!(matches!(Dataset::open(data.path(), "train"), Err(DatasetError::Missing(_))));
    }
}
