//! The built-in analyzer for household tasks and shopping: skills from the text of a finished episode.
//!
//! It stands in for the language model that the paper (arXiv 2606.26790) asks for skills, so
//! that everything runs offline and deterministically. It reads only what the episode showed, and every
//! advice for a step is drawn from what was shown before that step: advice that a policy could not have
//! known ("the apple is in fridge 1") would punish sensible search. Bad steps get the better command,
//! decisive ones their own; a won episode gets its plan, a lost one what to remember.

use std::collections::BTreeMap;

use crate::skill::goal::{Destination, Goal};
use crate::skill::household::{Household, INVALID, kind};
use crate::skill::phrases::{DO, PLAN, Part, REMEMBER, line};
use crate::skill::{fault, research, shopping};
use crate::trajectory::{Trajectory, Turn};

/// One step of a finished episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The observation that the policy acted on; that of step 0 names the receptacles of the room.
    pub before: String,
    /// The command, such as `go to desk 1`.
    pub action: String,
    /// The answer of the environment.
    pub after: String,
}

/// The skills of one episode.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Analysis {
    /// What happened, for people.
    pub summary: String,
    /// The skill of the episode: a plan after success, what to remember after failure.
    pub episode_skill: String,
    /// Skills of single steps, by their 0-based number.
    pub step_skills: BTreeMap<usize, String>,
}

/// An episode that the analyzer cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HindsightError {
    /// The goal is none of the six household tasks, and the episode is no visit to a shop.
    #[error(
        "the built-in analyzer reads household tasks such as \"put a clean mug in shelf\", and shopping, not {goal:?}; \
         use a language model as analyzer for other tasks"
    )]
    Goal {
        /// The goal text.
        goal: String,
    },
}

/// What was wrong with a step, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The wanted object was in view and not taken.
    Missed,
    /// The object was carried on or put down before it was cleaned, heated or cooled.
    Unprocessed,
    /// Another object was taken.
    WrongObject,
    /// The object was put somewhere else than asked.
    Misplaced,
    /// A closed receptacle was left closed.
    LeftClosed,
    /// A place already seen was visited without need.
    Revisit,
    /// With the object in hand, a place that does not serve it was visited.
    Detour,
    /// The command was not possible.
    Invalid,
    /// The step changed and showed nothing.
    Idle,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Fault::Missed,
        Fault::Unprocessed,
        Fault::WrongObject,
        Fault::Misplaced,
        Fault::LeftClosed,
        Fault::Revisit,
        Fault::Detour,
        Fault::Invalid,
        Fault::Idle,
    ];

    /// How the summary names it.
    fn name(self) -> &'static str {
        match self {
            Fault::Missed => "object in view not taken",
            Fault::Unprocessed => "object not cleaned, heated or cooled first",
            Fault::WrongObject => "wrong object taken",
            Fault::Misplaced => "object put elsewhere",
            Fault::LeftClosed => "closed receptacle not opened",
            Fault::Revisit => "place visited again",
            Fault::Detour => "detour with the object in hand",
            Fault::Invalid => "impossible command",
            Fault::Idle => "idle step",
        }
    }

    /// What to remember next time.
    fn reminder(self, goal: &Goal) -> Part<'_> {
        match (self, goal.process, &goal.destination) {
            (Fault::Missed, ..) => Part::TakeOnSight(&goal.object),
            (Fault::Unprocessed, Some(process), _) => Part::ProcessFirst(process),
            (Fault::WrongObject, ..) => Part::TakeOnly(&goal.object),
            (Fault::Misplaced, _, Destination::Receptacle(target)) => Part::Put(target),
            (Fault::Misplaced, _, Destination::Lamp(lamp)) => Part::Use(lamp),
            (Fault::LeftClosed, ..) => Part::Open,
            (Fault::Revisit, ..) => Part::NewPlaces,
            (Fault::Detour | Fault::Unprocessed, ..) => Part::Straight,
            (Fault::Invalid, ..) => Part::Exact,
            (Fault::Idle, ..) => Part::Act,
        }
    }
}

/// The verdict on one step.
enum Verdict {
    Bad(Fault, Option<String>),
    Decisive,
    Fair,
}

/// Draws skills from the record of an episode: at most `most` step skills, the most critical ones.
///
/// Errs if it is neither a question of the made-up world nor a visit to a shop, and its goal is not the text of a
/// household task.
pub fn read(t: &Trajectory, most: usize) -> Result<Analysis, HindsightError> {
    if let Some(analysis) = research::read(t, most) {
        return Ok(analysis);
    }
    let step = |(i, turn): (usize, &Turn)| Step {
        before: turn.observation.clone(),
        action: turn.action.clone(),
        after: t.answer(i).to_owned(),
    };
    let steps: Vec<Step> = t.turns.iter().enumerate().map(step).collect();
    analyze(&t.goal, t.won, &steps, most)
}

/// Draws skills from a finished episode: at most `most` step skills, the most critical ones.
///
/// Errs if it is no visit to a shop, and `goal` is not the text of a household task.
pub fn analyze(goal: &str, won: bool, steps: &[Step], most: usize) -> Result<Analysis, HindsightError> {
    if steps.first().is_some_and(|first| shopping::is_shop(&first.before)) {
        return Ok(shopping::analyze(goal, won, steps, most));
    }
    let goal = Goal::parse(goal).ok_or_else(|| HindsightError::Goal { goal: goal.to_owned() })?;
    let mut household = Household::default();
    if let Some(first) = steps.first() {
        household.read("", &first.before);
    }
    let mut faults = Vec::new();
    let mut ranked = Vec::new();
    let mut parts = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match judge(&household, &goal, step) {
            Verdict::Bad(fault, better) => {
                faults.push(fault);
                // Advice to do what was done would contradict the verdict.
                if let Some(better) = better.filter(|better| *better != step.action.trim()) {
                    ranked.push((rank(Some(fault), won), number, better));
                }
            }
            Verdict::Decisive => ranked.push((rank(None, won), number, step.action.trim().to_owned())),
            Verdict::Fair => {}
        }
        parts.extend(plan_part(&household, &goal, step));
        household.read(&step.action, &step.after);
    }
    ranked.sort();
    let step_skills = ranked
        .into_iter()
        .take(most)
        .map(|(_, number, command)| (number, format!("{DO}{command}")))
        .collect();
    let episode_skill = if won { plan(parts, &goal) } else { reminders(&faults, &household, &goal) };
    let summary = fault::summary(won, &format!("{} steps", steps.len()), &faults, Fault::name);
    Ok(Analysis { summary, episode_skill, step_skills })
}

/// The order in which steps get skills: grave mistakes, then decisive steps of a success, then waste;
/// a failure's own good steps come last.
fn rank(fault: Option<Fault>, won: bool) -> usize {
    match fault {
        Some(fault) if fault <= Fault::Misplaced => fault as usize,
        None if won => Fault::ALL.len(),
        Some(fault) => Fault::ALL.len() + 1 + fault as usize,
        None => 3 * Fault::ALL.len(),
    }
}

/// Judges a step by what was known before it and what came of it.
fn judge(known: &Household, goal: &Goal, step: &Step) -> Verdict {
    let action = step.action.trim();
    let better = known.advice(goal);
    if step.after.contains(INVALID) {
        return Verdict::Bad(Fault::Invalid, better);
    }
    if better.as_deref() == Some(action) {
        let decisive = ["take ", "move ", "clean ", "heat ", "cool ", "use "];
        // Which place or closed door held the object, nobody could know: going and opening are fair.
        let frees_hand = known.held.is_some() && !known.holds_wanted(goal);
        let is_decisive = !frees_hand && decisive.iter().any(|verb| action.starts_with(verb));
        return if is_decisive { Verdict::Decisive } else { Verdict::Fair };
    }
    let missed = known.wanted_in_view(goal).is_some();
    let fault = match action.split_once(' ') {
        Some(("take", object)) => match object.split_once(" from ") {
            // The first of two wanted objects was taken back from its place.
            Some((object, _)) if kind(object) == goal.object && goal.count > 1 && !missed => Fault::Misplaced,
            Some((object, _)) if kind(object) == goal.object => return Verdict::Decisive,
            _ => Fault::WrongObject,
        },
        _ if missed => Fault::Missed,
        Some(("go", _)) => match judge_walk(known, goal, action) {
            Some(fault) => fault,
            None => return Verdict::Fair,
        },
        Some(("move", _)) if known.holds_wanted(goal) => match known.pending(goal) {
            Some(_) => Fault::Unprocessed,
            None if places_right(goal, action) => return Verdict::Decisive,
            None => Fault::Misplaced,
        },
        Some(("move", _)) => return Verdict::Fair,
        Some(("open", place)) if !known.seen(place) => return Verdict::Fair,
        Some(("use", lamp)) if matches!(&goal.destination, Destination::Lamp(kind_of) if kind(lamp) == kind_of) =>
        {
            // A lamp once on stays on, so this serves even with empty hands.
            return Verdict::Fair;
        }
        Some(("clean" | "heat" | "cool", _)) if known.holds_wanted(goal) && known.pending(goal).is_some() => {
            Fault::Unprocessed
        }
        _ => Fault::Idle,
    };
    Verdict::Bad(fault, better)
}

/// What is wrong with going somewhere, if anything.
fn judge_walk(known: &Household, goal: &Goal, action: &str) -> Option<Fault> {
    let place = action.strip_prefix("go to ").unwrap_or_default();
    if known.holds_wanted(goal) {
        if known.serves_held(place, goal) {
            return None;
        }
        let to_destination =
            matches!(&goal.destination, Destination::Receptacle(target) if kind(place) == target);
        let forgotten = to_destination && known.pending(goal).is_some();
        return Some(if forgotten { Fault::Unprocessed } else { Fault::Detour });
    }
    let left_closed = known.here.as_deref().is_some_and(|here| known.closed(here) && !known.seen(here));
    if left_closed && known.held.is_none() {
        return Some(Fault::LeftClosed);
    }
    (!known.useful(place, goal)).then_some(Fault::Revisit)
}

/// Whether a `move` puts the object into a receptacle of the kind asked for.
fn places_right(goal: &Goal, action: &str) -> bool {
    let place = action.rsplit_once(" to ").map_or("", |(_, place)| place);
    matches!(&goal.destination, Destination::Receptacle(target) if kind(place) == target)
}

/// The part of a plan that a step shows, other than its end.
fn plan_part<'a>(known: &Household, goal: &'a Goal, step: &Step) -> Option<Part<'a>> {
    if step.after.contains(INVALID) {
        return None;
    }
    let action = step.action.trim();
    let (verb, rest) = action.split_once(' ')?;
    match verb {
        "go" if known.held.is_none() => {
            let place = rest.strip_prefix("to ").unwrap_or(rest);
            (!known.seen(place) && !known.closed(place)).then_some(Part::LookFor(&goal.object))
        }
        "open" if known.held.is_none() => Some(Part::Open),
        "take" if kind(rest.split(" from ").next().unwrap_or(rest)) == goal.object => {
            Some(Part::Take(&goal.object))
        }
        "clean" | "heat" | "cool" => {
            let process = known.pending(goal).filter(|process| process.verb() == verb);
            process.map(Part::Process)
        }
        _ => None,
    }
}

/// The plan of a won episode: the kinds of steps it took, in the order that always works (a lamp may
/// have been used before the object was found), always with the goal.
fn plan<'a>(mut parts: Vec<Part<'a>>, goal: &'a Goal) -> String {
    parts.push(match &goal.destination {
        Destination::Receptacle(target) => Part::Put(target),
        Destination::Lamp(lamp) => Part::Use(lamp),
    });
    if goal.count > 1 {
        parts.push(Part::Twice(&goal.object));
    }
    parts.sort();
    parts.dedup();
    line(PLAN, &parts)
}

/// What to remember after a failure: the gravest mistake, then the most frequent other one.
fn reminders(faults: &[Fault], household: &Household, goal: &Goal) -> String {
    let mut parts: Vec<Part> = fault::worst(faults).into_iter().map(|fault| fault.reminder(goal)).collect();
    let unfinished = household.holds_wanted(goal).then(|| household.pending(goal)).flatten();
    if let Some(process) = unfinished
        && !parts.contains(&Part::ProcessFirst(process))
    {
        parts.push(Part::ProcessFirst(process));
    }
    if parts.is_empty() {
        parts.extend([Part::LookFor(&goal.object), Part::Hurry]);
    }
    parts.dedup();
    line(REMEMBER, &parts)
}
