//! `game.tw-pddl`: one JSON object with the domain, the grammar and the problem of a game.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::game::{Game, GameError};
use super::variant::{VariantError, recognise};

/// The name of a game's file in its folder.
pub const FILE_NAME: &str = "game.tw-pddl";

/// A game file that has been read and compiled.
#[derive(Debug)]
pub struct GameFile {
    /// The game.
    pub game: Game,
    /// Whether the file says that the game can be won.
    pub solvable: Option<bool>,
    /// Commands that win, where the file has them.
    pub walkthrough: Option<Vec<String>>,
}

/// Why a text is not a game file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not the expected JSON.
    #[error("not a game.tw-pddl file: {0}")]
    Json(#[from] serde_json::Error),
    /// Unknown rules.
    #[error(transparent)]
    Variant(#[from] VariantError),
    /// A problem that does not fit the rules.
    #[error(transparent)]
    Game(#[from] GameError),
}

/// Why a game file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a game.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    pddl_domain: Cow<'a, str>,
    #[serde(borrow)]
    grammar: Cow<'a, str>,
    #[serde(borrow)]
    pddl_problem: Cow<'a, str>,
    #[serde(default)]
    solvable: Option<bool>,
    #[serde(default)]
    walkthrough: Option<Vec<String>>,
}

impl GameFile {
    /// Reads the text of a game file.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let fields: Fields = serde_json::from_str(text)?;
        let (variant, task) = recognise(&fields.pddl_domain, &fields.grammar)?;
        let game = Game::compile(variant, &task, &fields.pddl_problem)?;
        Ok(Self { game, solvable: fields.solvable, walkthrough: fields.walkthrough })
    }

    /// Reads a game file.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text).map_err(|source| LoadError::File { path: path.to_path_buf(), source })
    }
}
