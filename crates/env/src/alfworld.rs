//! ALFWorld's text games, exactly as the Python original plays them, without Python.
//!
//! A `game.tw-pddl` file ([`GameFile`]) says which edition of the rules it follows ([`Variant`]) and
//! holds a PDDL problem, which is compiled into a [`Game`]: tables shared by all episodes. A
//! [`State`] is small; the game lists its admissible [`Command`]s, carries them out and answers in
//! the original's words.

mod command;
mod compile;
mod dataset;
mod episode;
mod file;
mod game;
mod goal;
mod name;
mod pddl;
pub mod plan;
mod search;
mod state;
mod text;
mod variant;

pub use command::Command;
pub(crate) use dataset::RELEASE;
pub use dataset::{Dataset, DatasetError, KINDS};
pub use episode::{GameEpisode, GameTask, Shown};
pub use file::{FILE_NAME, FileError, GameFile, LoadError};
pub use game::{
    Abilities, Game, GameError, MOST, Object, Receptacle, Set, Site, Stations, contains, members,
};
pub use goal::{Condition, GoalError, Treatment};
pub use pddl::PddlError;
pub use search::Searcher;
pub use state::State;
pub use text::PHRASES;
pub use variant::{Variant, VariantError};
