//! The wording of the skills that the built-in analyzer writes.
//!
//! A tiny policy reads them, so they are few, short and always the same; a tokenizer trained on
//! [`of`] spends one token on each fixed part. They say what to do: small models hardly read
//! negations.

use crate::skill::goal::Process;
use crate::skill::{research, shopping};

/// Starts the skill of a step; the command follows.
pub const DO: &str = "do: ";
/// Starts the skill of a won episode.
pub const PLAN: &str = "plan: ";
/// Starts the skill of a lost episode.
pub const REMEMBER: &str = "remember: ";
/// Between the parts of a skill.
pub const THEN: &str = "; ";

const LOOK_FOR: &str = "look in new places for the ";
const OPEN: &str = "open what is closed";
const TAKE: &str = "take the ";
const TAKE_ON_SIGHT: &str = "take at once the ";
const TAKE_ONLY: &str = "take only the ";
const CLEAN: &str = "clean it with the sinkbasin";
const HEAT: &str = "heat it with the microwave";
const COOL: &str = "cool it with the fridge";
const BEFORE_PUTTING: &str = " before you put it down";
const PUT: &str = "put it in the ";
const USE: &str = "hold it and use the ";
const TWICE: &str = "do it again with a second ";
const NEW_PLACES: &str = "go to places not seen yet";
const EXACT: &str = "use names and commands that exist";
const STRAIGHT: &str = "when you hold it go straight on";
const ACT: &str = "go, open, take or put at every step";
const HURRY: &str = "a new place at every step";

/// The fixed parts of skills in an environment, for training a tokenizer.
pub fn of(environment: &str) -> &'static [&'static str] {
    match environment {
        "webshop" => &shopping::PHRASES,
        "search" => &research::PHRASES,
        _ => &ALL,
    }
}

/// Every fixed part of skills for household tasks.
const ALL: [&str; 21] = [
    DO,
    PLAN,
    REMEMBER,
    THEN,
    LOOK_FOR,
    OPEN,
    TAKE,
    TAKE_ON_SIGHT,
    TAKE_ONLY,
    CLEAN,
    HEAT,
    COOL,
    BEFORE_PUTTING,
    PUT,
    USE,
    TWICE,
    NEW_PLACES,
    EXACT,
    STRAIGHT,
    ACT,
    HURRY,
];

/// One part of a plan or of a reminder; a plan's parts follow in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part<'a> {
    /// Look for a kind of object where one has not looked.
    LookFor(&'a str),
    /// Open closed receptacles.
    Open,
    /// Take a kind of object.
    Take(&'a str),
    /// Take it as soon as it is in view.
    TakeOnSight(&'a str),
    /// Take nothing else.
    TakeOnly(&'a str),
    /// Clean, heat or cool what is held.
    Process(Process),
    /// Do so before putting it down.
    ProcessFirst(Process),
    /// Put it in a kind of receptacle.
    Put(&'a str),
    /// Use a lamp while holding it.
    Use(&'a str),
    /// The same with a second object.
    Twice(&'a str),
    /// Visit places not yet seen.
    NewPlaces,
    /// Write commands that the environment knows.
    Exact,
    /// Go on with the task while holding the object.
    Straight,
    /// Waste no step on looking around.
    Act,
    /// Search faster.
    Hurry,
}

impl Part<'_> {
    /// The text of the part.
    pub fn text(&self) -> String {
        match self {
            Part::LookFor(object) => format!("{LOOK_FOR}{object}"),
            Part::Open => OPEN.to_owned(),
            Part::Take(object) => format!("{TAKE}{object}"),
            Part::TakeOnSight(object) => format!("{TAKE_ON_SIGHT}{object}"),
            Part::TakeOnly(object) => format!("{TAKE_ONLY}{object}"),
            Part::Process(process) => processing(*process).to_owned(),
            Part::ProcessFirst(process) => format!("{}{BEFORE_PUTTING}", processing(*process)),
            Part::Put(target) => format!("{PUT}{target}"),
            Part::Use(lamp) => format!("{USE}{lamp}"),
            Part::Twice(object) => format!("{TWICE}{object}"),
            Part::NewPlaces => NEW_PLACES.to_owned(),
            Part::Exact => EXACT.to_owned(),
            Part::Straight => STRAIGHT.to_owned(),
            Part::Act => ACT.to_owned(),
            Part::Hurry => HURRY.to_owned(),
        }
    }
}

fn processing(process: Process) -> &'static str {
    match process {
        Process::Clean => CLEAN,
        Process::Heat => HEAT,
        Process::Cool => COOL,
    }
}

/// The parts of a skill as one line.
pub fn line(start: &str, parts: &[Part]) -> String {
    let texts: Vec<String> = parts.iter().map(Part::text).collect();
    format!("{start}{}", texts.join(THEN))
}
