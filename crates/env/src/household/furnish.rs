//! One game in a scene: its goal, its objects and where they lie.

use super::layout::{Layout, coordinates, count};
use super::statistics::{Room, Statistics, statistics};
use crate::random::Draw;

/// An object of a game.
#[derive(Clone, Debug)]
pub struct Thing {
    /// The type, for example `Mug`.
    pub kind: &'static str,
    /// The PDDL name.
    pub id: String,
    /// Where it lies: numbers of the scene's receptacles, all of them within reach of one place.
    pub places: Vec<usize>,
    /// It is cool already.
    pub cool: bool,
}

/// What must be done, by the names of types.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The kind of task, for example `pick_and_place_simple`.
    pub kind: &'static str,
    /// The object's type.
    pub object: &'static str,
    /// The type of the receptacle, or of the lamp.
    pub receptacle: &'static str,
}

/// Everything that makes up a game.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The scene.
    pub layout: Layout,
    /// The goal.
    pub goal: Goal,
    /// The objects.
    pub things: Vec<Thing>,
    /// The task in words.
    pub task: String,
}

/// The task of looking at something under a lamp, whose goals name no receptacle.
pub(super) const LIGHT: &str = "look_at_obj_in_light";
const TWO: &str = "pick_two_obj_and_place";

/// The furniture that a kind of task needs besides its receptacle.
fn station(kind: &str) -> Option<&'static str> {
    match kind {
        "pick_clean_then_place_in_recep" => Some("SinkBasin"),
        "pick_heat_then_place_in_recep" => Some("Microwave"),
        "pick_cool_then_place_in_recep" => Some("Fridge"),
        _ => None,
    }
}

impl Statistics {
    /// Whether receptacles of a type hold objects of a type.
    pub fn accepts(&self, receptacle: &str, object: &str) -> bool {
        self.can_contain.get(receptacle).is_some_and(|all| all.iter().any(|o| o == object))
    }

    /// How likely a goal is in a kind of room, in proportion.
    fn goal_share(&self, kind: &str, goal: &(String, String, f64), room: &Room) -> f64 {
        let (object, receptacle, games) = goal;
        let present = |table: &std::collections::BTreeMap<String, super::statistics::Histogram>,
                       name: &str| {
            table.get(name).map_or(0.0, |histogram| histogram.values().sum())
        };
        let place = if kind == LIGHT { &room.objects } else { &room.receptacles };
        let needs = station(kind).map_or(1.0, |station| present(&room.receptacles, station));
        games * present(&room.objects, object) * present(place, receptacle) * needs * room.games
    }

    /// How likely a kind of room is for a kind of task, in proportion.
    pub(super) fn room_share(&self, kind: &str, room: &Room) -> f64 {
        self.goals[kind].iter().map(|goal| self.goal_share(kind, goal, room)).sum()
    }
}

/// The receptacles in which an object can lie, with weights; more than one where it lies in both.
fn places(layout: &Layout, room: &Room, object: &str, avoid: Option<&str>) -> Vec<(Vec<usize>, f64)> {
    let table = statistics();
    // A lamp is not put anywhere by hand, so the table of what can be put where does not list it.
    let fits = |kind: &str| Some(kind) != avoid && (object == "DeskLamp" || table.accepts(kind, object));
    let of = |kind: &str| -> Vec<usize> {
        let alike = layout.furniture.iter().enumerate().filter(|(_, f)| f.kind == kind);
        if fits(kind) { alike.map(|(number, _)| number).collect() } else { Vec::new() }
    };
    let mut options = Vec::new();
    for (names, share) in room.placement.get(object).into_iter().flatten() {
        match names.split_once('+') {
            None => {
                let alike = of(names);
                options.extend(alike.iter().map(|n| (vec![*n], share / alike.len() as f64)));
            }
            Some((one, other)) => {
                for first in of(one) {
                    let near =
                        |second: &usize| layout.furniture[*second].site == layout.furniture[first].site;
                    let together = of(other).into_iter().filter(|second| *second != first).filter(near);
                    options.extend(together.map(|second| (vec![first, second], *share)));
                }
            }
        }
    }
    if options.is_empty() {
        let any = layout.furniture.iter().enumerate().filter(|(_, f)| fits(f.kind));
        options.extend(any.map(|(number, _)| (vec![number], 1.0)));
    }
    options
}

/// Draws a goal that the scene allows.
fn choose_goal(layout: &Layout, kind: &'static str, draw: &mut Draw) -> Option<Goal> {
    let table = statistics();
    let room = &table.rooms[layout.room];
    let goals = &table.goals[kind];
    let possible = |(object, receptacle, _): &&(String, String, f64)| {
        let placed = if kind == LIGHT {
            !places(layout, room, receptacle, None).is_empty()
        } else {
            layout.has(receptacle) && table.accepts(receptacle, object)
        };
        placed && station(kind).is_none_or(|station| layout.has(station))
    };
    let share = |goal: &(String, String, f64)| {
        if possible(&goal) { table.goal_share(kind, goal, room) } else { 0.0 }
    };
    let (object, receptacle, _) = &goals[draw.weighted(&goals.iter().map(share).collect::<Vec<_>>())?];
    Some(Goal { kind, object, receptacle })
}

/// The task in one of the two wordings that ALFWorld has for its kind.
fn wording(goal: &Goal, first: bool) -> String {
    let (object, receptacle) = (goal.object.to_lowercase(), goal.receptacle.to_lowercase());
    let treated = |adjective: &str, verb: &str| {
        if first {
            format!("put a {adjective} {object} in {receptacle}.")
        } else {
            format!("{verb} some {object} and put it in {receptacle}.")
        }
    };
    match (goal.kind, first) {
        ("pick_clean_then_place_in_recep", _) => treated("clean", "clean"),
        ("pick_heat_then_place_in_recep", _) => treated("hot", "heat"),
        ("pick_cool_then_place_in_recep", _) => treated("cool", "cool"),
        (TWO, true) => format!("put two {object} in {receptacle}."),
        (TWO, false) => format!("find two {object} and put them in {receptacle}."),
        (LIGHT, true) => format!("look at {object} under the {receptacle}."),
        (LIGHT, false) => format!("examine the {object} with the {receptacle}."),
        (_, true) => format!("put a {object} in {receptacle}."),
        (_, false) => format!("put some {object} on {receptacle}."),
    }
}

impl Blueprint {
    /// Draws a game of a kind in a scene; nothing where the scene does not allow one.
    ///
    /// `crowding` bounds the number of objects, per receptacle of the scene.
    pub fn draw(layout: Layout, kind: &'static str, crowding: f64, draw: &mut Draw) -> Option<Self> {
        let table = statistics();
        let room = &table.rooms[layout.room];
        let goal = choose_goal(&layout, kind, draw)?;

        let mut others: Vec<&'static str> = Vec::new();
        let mut wanted = 0;
        for (object, histogram) in &room.objects {
            let number = count(histogram, draw);
            if object == goal.object {
                wanted = number;
            } else if kind != LIGHT || object != goal.receptacle {
                others.extend((0..number).map(|_| object.as_str()));
            }
        }
        draw.shuffle(&mut others);
        let mut kinds: Vec<&'static str> = Vec::new();
        if kind == LIGHT {
            kinds.push(goal.receptacle);
        }
        kinds.extend((0..wanted.max(if kind == TWO { 2 } else { 1 })).map(|_| goal.object));
        let most = (crowding * layout.furniture.len() as f64).round() as usize;
        let room_left = most.saturating_sub(kinds.len());
        kinds.extend(
            others
                .into_iter()
                .filter(|object| !places(&layout, room, object, None).is_empty())
                .take(room_left),
        );

        let mut things: Vec<Thing> = Vec::new();
        let mut placed = 0;
        for object in kinds {
            // What is asked for must not be done already, so goal objects stay away from the goal's
            // receptacles; of two objects, one may be there.
            let avoids = object == goal.object && kind != LIGHT && (kind != TWO || placed > 0);
            let options = places(&layout, room, object, avoids.then_some(goal.receptacle));
            let weights: Vec<f64> = options.iter().map(|(_, weight)| *weight).collect();
            let Some(option) = draw.weighted(&weights) else {
                if object == goal.object || object == goal.receptacle {
                    return None;
                }
                continue;
            };
            let places = options[option].0.clone();
            if object == goal.object {
                placed += 1;
            }
            let chilled = places.iter().any(|p| layout.furniture[*p].kind == "Fridge");
            let cool = chilled && table.abilities[object].contains('c') && draw.chance(0.03);
            things.push(Thing { kind: object, id: format!("{object}{}", coordinates(draw)), places, cool });
        }
        let task = wording(&goal, draw.chance(0.5));
        Some(Self { layout, goal, things, task })
    }
}
