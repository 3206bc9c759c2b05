//! Household games in the manner of ALFWorld, made up on the fly: no data, no end.
//!
//! A [`World`] maps a split and a number to a game. The number picks the kind of task, a scene
//! ([`Layout`]), and what lies where ([`Blueprint`]); the result is compiled like any ALFWorld game
//! and can be written as a file that the original plays.

mod folder;
mod furnish;
mod layout;
mod problem;
pub mod statistics;

use std::sync::Arc;

pub use folder::WriteError;
pub use furnish::{Blueprint, Goal, Thing};
pub use layout::{Furniture, Layout};

use crate::alfworld::{Game, GameError, GameTask, KINDS, Variant, plan};
use crate::random::Draw;
use statistics::statistics;

/// The names of the splits.
pub const SPLITS: [&str; 3] = ["train", "valid_seen", "valid_unseen"];

/// How often each kind of task occurs in ALFWorld's training games, in the order of [`KINDS`].
const SHARES: [f64; 6] = [790.0, 308.0, 650.0, 459.0, 533.0, 813.0];

/// Bounds above any real room's, on receptacles and on objects per receptacle: within them a room has
/// what the statistics of real rooms give it.
const UNBOUNDED: (usize, f64) = (100, 10.0);

/// How many times a game is drawn anew before the settings are called impossible.
const ATTEMPTS: u64 = 200;

/// What games a world has.
#[derive(Clone, Debug, PartialEq)]
pub struct HouseholdConfig {
    /// The least and the most receptacles of a room; 0 and 0 make rooms as large and as full as
    /// ALFWorld's.
    pub size: (usize, usize),
    /// Objects per receptacle, at most; without effect in rooms as large as ALFWorld's.
    pub crowding: f64,
    /// The kinds of tasks; all six where it is empty.
    pub kinds: Vec<String>,
    /// Scenes of each kind of room for `train` and `valid_seen`.
    pub scenes: usize,
    /// Further scenes of each kind of room, for `valid_unseen`.
    pub unseen_scenes: usize,
}

impl Default for HouseholdConfig {
    fn default() -> Self {
        Self { size: (6, 10), crowding: 1.5, kinds: Vec::new(), scenes: 28, unseen_scenes: 4 }
    }
}

/// Why there is no such world or game.
#[derive(Debug, thiserror::Error)]
pub enum HouseholdError {
    /// A setting that makes no sense.
    #[error("household: {0}")]
    Setting(String),
    /// An unknown split.
    #[error("household has no split `{0}`; it has {known}", known = SPLITS.join(", "))]
    Split(String),
    /// The settings leave no possible game.
    #[error(
        "household: no game of kind {kind} could be made with {min} to {max} receptacles; allow more receptacles, \
         more scenes or other kinds"
    )]
    Impossible {
        /// The kind of task.
        kind: &'static str,
        /// The least number of receptacles.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A game that was made does not compile; this is a mistake in the generator.
    #[error("household: a game that was made is not valid: {0}")]
    Game(#[from] GameError),
}

/// A made game: its plan and commands that win it.
#[derive(Debug)]
pub struct Made {
    /// A name, unique within the split.
    pub id: String,
    /// The plan.
    pub blueprint: Blueprint,
    /// The compiled game.
    pub game: Game,
    /// Commands that win.
    pub walkthrough: Vec<String>,
}

/// All games of a configuration and a seed.
#[derive(Debug)]
pub struct World {
    config: HouseholdConfig,
    seed: u64,
    kinds: Vec<(&'static str, f64)>,
}

impl World {
    /// A world; the configuration is checked here.
    pub fn new(mut config: HouseholdConfig, seed: u64) -> Result<Self, HouseholdError> {
        if config.size == (0, 0) {
            (config.size, config.crowding) = ((UNBOUNDED.0, UNBOUNDED.0), UNBOUNDED.1);
        }
        let refuse = |what: String| Err(HouseholdError::Setting(what));
        let (min, max) = config.size;
        if min < 4 || max < min || max > 100 {
            return refuse(format!(
                "a size of {min} to {max} receptacles; the least is 4, the most 100, and the first must not be larger \
                 (0 and 0 make rooms of real size)"
            ));
        }
        if !(config.crowding > 0.0 && config.crowding <= 10.0) {
            return refuse(format!(
                "{} objects per receptacle; it must be above 0 and at most 10",
                config.crowding
            ));
        }
        if config.scenes == 0 || config.unseen_scenes == 0 {
            return refuse("there must be at least one scene and one unseen scene".to_string());
        }
        if let Some(unknown) = config.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return refuse(format!("no kind of task `{unknown}`; there are {}", KINDS.join(", ")));
        }
        let chosen = |kind: &str| config.kinds.is_empty() || config.kinds.iter().any(|k| k == kind);
        let kinds = KINDS.into_iter().zip(SHARES).filter(|(kind, _)| chosen(kind)).collect();
        Ok(Self { config, seed, kinds })
    }

    /// The scenes that a split draws from, as a range of numbers for each kind of room.
    pub fn scenes(&self, split: &str) -> Result<std::ops::Range<usize>, HouseholdError> {
        match split {
            "train" | "valid_seen" => Ok(0..self.config.scenes),
            "valid_unseen" => Ok(self.config.scenes..self.config.scenes + self.config.unseen_scenes),
            _ => Err(HouseholdError::Split(split.to_string())),
        }
    }

    /// A scene of a kind of room (`kitchen`, `living`, `bedroom` or `bathroom`).
    pub fn layout(&self, room: &str, scene: usize) -> Option<Layout> {
        let (number, (room, _)) = (0u64..).zip(&statistics().rooms).find(|(_, (name, _))| *name == room)?;
        Some(Layout::new(room, self.config.size, &[self.seed, 1, number, scene as u64]))
    }

    /// Makes a game; always the same one for the same split and index.
    pub fn make(&self, split: &str, index: usize) -> Result<Made, HouseholdError> {
        let scenes = self.scenes(split)?;
        let which = SPLITS.iter().position(|s| *s == split).unwrap_or_default() as u64;
        let mut draw = Draw::new(&[self.seed, 2, which, index as u64]);
        let weights: Vec<f64> = self.kinds.iter().map(|(_, share)| *share).collect();
        let kind = self.kinds[draw.weighted(&weights).unwrap_or_default()].0;
        let table = statistics();
        let rooms: Vec<(&str, f64)> =
            table.rooms.iter().map(|(name, room)| (name.as_str(), table.room_share(kind, room))).collect();
        let shares: Vec<f64> = rooms.iter().map(|(_, share)| *share).collect();
        for attempt in 0..ATTEMPTS {
            let mut draw = Draw::new(&[self.seed, 3, which, index as u64, attempt]);
            let room = rooms[draw.weighted(&shares).unwrap_or_default()].0;
            let scene = scenes.start + draw.below(scenes.len());
            let Some(layout) = self.layout(room, scene) else { continue };
            let Some(blueprint) = Blueprint::draw(layout, kind, self.config.crowding, &mut draw) else {
                continue;
            };
            let game = Game::compile(Variant::Data, &blueprint.task, &blueprint.problem())?;
            let start = game.start();
            let walkthrough = plan::solve(&game, &start);
            if let Some(walkthrough) =
                walkthrough.filter(|commands| !commands.is_empty() && !game.won(&start))
            {
                let Goal { kind, object, receptacle } = &blueprint.goal;
                let id = format!("{split}/{kind}-{object}-None-{receptacle}-{room}{scene}/game_{index}");
                return Ok(Made { id, blueprint, game, walkthrough });
            }
        }
        Err(HouseholdError::Impossible { kind, min: self.config.size.0, max: self.config.size.1 })
    }

    /// Makes a game as a task.
    pub fn task(&self, split: &str, index: usize) -> Result<Arc<GameTask>, HouseholdError> {
        let made = self.make(split, index)?;
        Ok(Arc::new(GameTask::new(made.id, made.game, Some(made.walkthrough))))
    }
}
