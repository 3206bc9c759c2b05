//! A compiled game: tables over small integers, shared by every episode of it.
//!
//! Objects and receptacles are numbered in the order of their display names, because the list of
//! admissible commands is sorted by text: walking a bit set upwards then yields commands in order,
//! with no comparison. Texts that list things follow the order of the ids instead, which is kept
//! beside it. Every command's text is written once, here.

use std::collections::HashMap;

use super::command::Command;
use super::goal::{Condition, GoalError};
use super::pddl::PddlError;
use super::state::State;
use super::variant::Variant;

/// A set of objects or of receptacles: bit `i` stands for number `i`.
pub type Set = u128;

/// The most objects, receptacles or places a game may have; the largest real game has 73 objects.
pub const MOST: usize = 128;

/// The numbers in a set, upwards.
pub fn members(mut set: Set) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as u8)?;
        set &= set - 1;
        Some(lowest)
    })
}

/// Whether number `i` is in the set.
pub fn contains(set: Set, i: u8) -> bool {
    set >> i & 1 == 1
}

/// Why a problem is not a game this engine can play.
#[derive(Debug, thiserror::Error)]
pub enum GameError {
    /// The text is not a PDDL problem.
    #[error("pddl_problem: {0}")]
    Pddl(#[from] PddlError),
    /// The condition for winning is unknown.
    #[error("pddl_problem: {0}")]
    Goal(#[from] GoalError),
    /// The problem belongs to another domain.
    #[error("pddl_problem: the problem is of domain `{0}`, not `alfred`")]
    Domain(String),
    /// A fact that does not fit the domain.
    #[error("pddl_problem: in (:init ...): `({predicate} {arguments})`: {what}")]
    Fact {
        /// The fact's predicate.
        predicate: String,
        /// Its arguments, separated by spaces.
        arguments: String,
        /// What is wrong with it.
        what: String,
    },
    /// The agent is missing or not unique, or has no place.
    #[error("pddl_problem: {0}")]
    Agent(&'static str),
    /// More things than fit.
    #[error("pddl_problem: {count} {what}; this engine holds at most {MOST}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// Of what.
        what: &'static str,
    },
}

/// A piece of furniture that things lie in or on.
#[derive(Debug)]
pub struct Receptacle {
    /// The PDDL name.
    pub id: String,
    /// The display name, for example `countertop 1`.
    pub name: String,
    /// The type without the final `type`, for example `countertop`.
    pub kind: String,
    /// The place it is reached from; without one it is out of reach.
    pub site: Option<u8>,
    /// What it may hold by its type.
    pub accepts: Set,
}

/// A thing that lies somewhere.
#[derive(Debug)]
pub struct Object {
    /// The PDDL name.
    pub id: String,
    /// The display name, for example `apple 1`.
    pub name: String,
    /// The type without the final `type`, for example `apple`.
    pub kind: String,
    /// How many receptacles come before it when display names are sorted.
    pub(super) rank: u8,
}

/// A place where the agent can stand.
#[derive(Debug)]
pub struct Site {
    /// The receptacles within reach.
    pub receptacles: Set,
    /// The same, in the order in which texts list them.
    pub(super) listed: Vec<u8>,
    /// The display name, for example `loc 12`.
    pub(super) name: String,
}

/// What objects can be used for, each a set of objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Abilities {
    /// Can be taken.
    pub pickupable: Set,
    /// Can be cleaned.
    pub cleanable: Set,
    /// Can be heated.
    pub heatable: Set,
    /// Can be cooled.
    pub coolable: Set,
    /// Can be used (switched).
    pub toggleable: Set,
    /// Can be sliced.
    pub sliceable: Set,
    /// Can slice.
    pub blades: Set,
    /// Can hold things themselves.
    pub vessels: Set,
}

/// Which receptacles do what, each a set of receptacles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stations {
    /// Has a door.
    pub openable: Set,
    /// Cleans.
    pub sinks: Set,
    /// Heats.
    pub microwaves: Set,
    /// Cools.
    pub fridges: Set,
}

/// The condition for winning over the game's own numbers.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) condition: Condition,
    /// Objects of the goal's type.
    pub(super) objects: Set,
    /// Receptacles of the goal's type.
    pub(super) receptacles: Set,
    /// Lamps of the goal's type.
    pub(super) lamps: Set,
}

/// A compiled game.
#[derive(Debug)]
pub struct Game {
    pub(super) variant: Variant,
    pub(super) task: String,
    pub(super) goal: Goal,
    pub(super) receptacles: Vec<Receptacle>,
    pub(super) objects: Vec<Object>,
    /// All objects, in the order in which texts list them.
    pub(super) listed: Vec<u8>,
    pub(super) sites: Vec<Site>,
    pub(super) abilities: Abilities,
    pub(super) stations: Stations,
    /// What lies inside objects that hold things, as a list in words.
    pub(super) inside: HashMap<u8, String>,
    pub(super) phrases: super::command::Phrases,
    pub(super) initial: State,
    pub(super) intro: String,
}

impl Game {
    /// The edition of the rules.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// What the agent is asked to do: the text after `Your task is to: `.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The condition for winning.
    pub fn condition(&self) -> &Condition {
        &self.goal.condition
    }

    /// The receptacles, in the order of their display names.
    pub fn receptacles(&self) -> &[Receptacle] {
        &self.receptacles
    }

    /// The objects within reach, in the order of their display names.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// What objects can be used for.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Which receptacles do what.
    pub fn stations(&self) -> &Stations {
        &self.stations
    }

    /// The text an episode begins with.
    pub fn intro(&self) -> &str {
        &self.intro
    }

    /// The state an episode begins in.
    pub fn start(&self) -> State {
        self.initial.clone()
    }

    /// The text of a command; empty for one that can never be admissible in this game.
    pub fn phrase(&self, command: Command) -> &str {
        self.phrases.of(command)
    }

    pub(super) fn receptacle(&self, r: u8) -> &Receptacle {
        &self.receptacles[usize::from(r)]
    }

    pub(super) fn object(&self, o: u8) -> &Object {
        &self.objects[usize::from(o)]
    }
}
