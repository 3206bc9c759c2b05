//! What an episode's texts have shown of the household so far, and what to do next knowing only that.

use std::collections::{BTreeMap, BTreeSet};

use crate::skill::goal::{Destination, Goal, Process};

/// What the environment answers to a command that it does not know or that is not possible now.
pub(super) const INVALID: &str = "Nothing happens";

/// The state of the household as far as it was shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Household {
    /// Receptacles named at the start, in that order, then others in the order of their discovery.
    places: Vec<String>,
    /// Contents of the places that were seen open.
    contents: BTreeMap<String, Vec<String>>,
    /// Places that are closed, as far as is known.
    closed: BTreeSet<String>,
    /// The place one stands at.
    pub here: Option<String>,
    /// Other places within reach from there.
    beside: BTreeSet<String>,
    /// The object in the hand.
    pub held: Option<String>,
    /// Where the object in the hand was taken from.
    origin: Option<String>,
    processed: BTreeSet<(Process, String)>,
}

impl Household {
    /// Takes in an observation: the first of the episode (after no action), or the answer to an action.
    pub fn read(&mut self, action: &str, text: &str) {
        if let Some(list) = between(text, "You are facing the ", ".") {
            let facing = list.split(", ").map(|place| place.trim_start_matches("and ").to_owned());
            self.beside.extend(facing.filter(|place| self.here.as_ref() != Some(place)));
        }
        if let (true, Some(place), Some(here)) =
            (text.contains(INVALID), action.trim().strip_prefix("go to "), &self.here)
            && here != place
            && self.places.iter().any(|known| known == place)
        {
            // One cannot go to what is within reach already.
            self.beside.insert(place.to_owned());
        }
        if let Some(place) = between(text, "You arrive at ", ".") {
            self.add_place(place);
            self.here = Some(place.to_owned());
            self.beside.clear();
        }
        if let Some(list) = between(text, "Looking quickly around you, you see ", ".") {
            items(list).into_iter().for_each(|place| self.add_place(&place));
        }
        if let Some(place) = between(text, "You open the ", ".") {
            self.add_place(place);
            self.closed.remove(place);
        }
        if let Some(place) = between(text, "You close the ", ".") {
            self.closed.insert(place.to_owned());
        }
        if let Some(place) = between(text, "The ", " is closed.") {
            // The subject is the last "The" before the verb.
            let place = place.rsplit("The ").next().unwrap_or(place).to_owned();
            self.closed.insert(place);
        }
        self.read_contents(text);
        self.read_hand(text);
    }

    fn read_contents(&mut self, text: &str) {
        let open = between(text, "In it, you see ", ".").zip(between(text, "The ", " is open."));
        let surface = between(text, "On the ", ".").and_then(|rest| rest.split_once(", you see "));
        let seen = open.map(|(list, place)| (place.rsplit("The ").next().unwrap_or(place), list)).or(surface);
        if let Some((place, list)) = seen {
            self.closed.remove(place);
            self.contents.insert(place.to_owned(), items(list));
        }
    }

    fn read_hand(&mut self, text: &str) {
        if let Some((object, place)) =
            between(text, "You pick up the ", ".").and_then(|rest| rest.split_once(" from the "))
        {
            if let Some(contents) = self.contents.get_mut(place) {
                contents.retain(|other| other != object);
            }
            self.held = Some(object.to_owned());
            self.origin = Some(place.to_owned());
        }
        let put = between(text, "You move the ", ".").and_then(|rest| rest.split_once(" to the "));
        if let Some((object, place)) = put {
            self.contents.entry(place.to_owned()).or_default().push(object.to_owned());
            self.held = None;
        }
        for process in [Process::Clean, Process::Heat, Process::Cool] {
            let start = format!("You {} the ", process.verb());
            let done = between(text, &start, ".").and_then(|rest| rest.split_once(" using the "));
            if let Some((object, _)) = done {
                self.processed.insert((process, object.to_owned()));
            }
        }
    }

    fn add_place(&mut self, place: &str) {
        if !self.places.iter().any(|known| known == place) {
            self.places.push(place.to_owned());
        }
    }

    /// Whether the inside of a place was seen.
    pub fn seen(&self, place: &str) -> bool {
        self.contents.contains_key(place)
    }

    /// Whether a place is known to be closed.
    pub fn closed(&self, place: &str) -> bool {
        self.closed.contains(place)
    }

    /// Whether a place is within reach.
    fn at(&self, place: &String) -> bool {
        self.here.as_ref() == Some(place) || self.beside.contains(place)
    }

    /// The open places within reach, the one that was gone to first.
    fn open_places(&self) -> impl Iterator<Item = &String> {
        self.here.iter().chain(&self.beside).filter(|place| !self.closed(place))
    }

    /// Whether an object of the goal's kind is in the hand.
    pub fn holds_wanted(&self, goal: &Goal) -> bool {
        self.held.as_deref().is_some_and(|held| kind(held) == goal.object)
    }

    /// What still has to be done with the object in the hand before it is put down.
    pub fn pending(&self, goal: &Goal) -> Option<Process> {
        let held = self.held.as_ref()?;
        goal.process.filter(|process| !self.processed.contains(&(*process, held.clone())))
    }

    /// The place that the object goes to, when the goal names a kind of receptacle: where one of two
    /// wanted objects already lies, else the first of the kind.
    fn destination<'a>(&'a self, goal: &Goal) -> Option<&'a String> {
        let Destination::Receptacle(target) = &goal.destination else {
            return None;
        };
        let there = |place: &&String| self.wanted_in(place, goal).count();
        let mut of_kind = self.places.iter().filter(|place| kind(place) == target);
        let first = of_kind.clone().next();
        of_kind.find(|place| goal.count > 1 && there(place) > 0).or(first)
    }

    fn wanted_in<'a>(&'a self, place: &str, goal: &'a Goal) -> impl Iterator<Item = &'a String> {
        self.contents.get(place).into_iter().flatten().filter(|object| kind(object) == goal.object)
    }

    /// A wanted object in a place from which it has to be taken.
    fn to_take<'a>(&'a self, place: &str, goal: &'a Goal) -> Option<&'a String> {
        // The first of two wanted objects stays where it was put.
        let settled = goal.count > 1 && self.destination(goal).is_some_and(|target| target == place);
        self.wanted_in(place, goal).next().filter(|_| !settled)
    }

    /// The wanted object that is in view, free to be taken, and its place.
    pub fn wanted_in_view<'a>(&'a self, goal: &'a Goal) -> Option<(&'a String, &'a String)> {
        let mut places = self.open_places().filter(|_| self.held.is_none());
        places.find_map(|place| Some((self.to_take(place, goal)?, place)))
    }

    /// Whether going to a place that was seen before can serve the goal.
    pub fn useful(&self, place: &str, goal: &Goal) -> bool {
        if self.closed(place) || !self.seen(place) {
            return true;
        }
        if !self.holds_wanted(goal) {
            return self.to_take(place, goal).is_some();
        }
        match (self.pending(goal), &goal.destination) {
            (Some(process), _) => kind(place) == process.appliance(),
            (None, Destination::Receptacle(target)) => kind(place) == target,
            (None, Destination::Lamp(lamp)) => self.lamp_in(place, lamp).is_some(),
        }
    }

    fn lamp_in(&self, place: &str, lamp: &str) -> Option<&String> {
        self.contents.get(place).into_iter().flatten().find(|object| kind(object) == lamp)
    }

    /// Whether a place can serve the object in the hand: the appliance or the destination.
    pub fn serves_held(&self, place: &str, goal: &Goal) -> bool {
        match (self.pending(goal), &goal.destination) {
            (Some(process), _) => kind(place) == process.appliance(),
            (None, Destination::Receptacle(target)) => kind(place) == target,
            // A lamp may stand anywhere that was not looked at.
            (None, Destination::Lamp(_)) => self.useful(place, goal),
        }
    }

    /// A sensible next command, from nothing but what was shown so far.
    pub fn advice(&self, goal: &Goal) -> Option<String> {
        match &self.held {
            Some(held) if self.holds_wanted(goal) => self.advice_with(held, goal),
            Some(other) => {
                // Not every receptacle takes every object, and no text says so; its own one does.
                let origin = self.origin.as_ref()?;
                Some(match self.at(origin) {
                    true if self.closed(origin) => format!("open {origin}"),
                    true => format!("move {other} to {origin}"),
                    false => format!("go to {origin}"),
                })
            }
            None => self.advice_empty_handed(goal),
        }
    }

    fn advice_with(&self, held: &str, goal: &Goal) -> Option<String> {
        if let Some(process) = self.pending(goal) {
            let mut reached = self.here.iter().chain(&self.beside);
            return match reached.find(|place| kind(place) == process.appliance()) {
                Some(here) => Some(format!("{} {held} with {here}", process.verb())),
                None => self.go_to_kind(process.appliance()),
            };
        }
        match &goal.destination {
            Destination::Receptacle(_) => {
                let target = self.destination(goal)?;
                match self.at(target) {
                    true if self.closed(target) => Some(format!("open {target}")),
                    true => Some(format!("move {held} to {target}")),
                    false => Some(format!("go to {target}")),
                }
            }
            Destination::Lamp(lamp) => {
                let at_hand = self.open_places().find_map(|place| self.lamp_in(place, lamp));
                if let Some(lamp) = at_hand {
                    return Some(format!("use {lamp}"));
                }
                let known = self.places.iter().find(|place| self.lamp_in(place, lamp).is_some());
                known.map(|place| format!("go to {place}")).or_else(|| self.search())
            }
        }
    }

    fn advice_empty_handed(&self, goal: &Goal) -> Option<String> {
        if let Some((object, place)) = self.wanted_in_view(goal) {
            return Some(format!("take {object} from {place}"));
        }
        let known = self.places.iter().find(|place| self.to_take(place, goal).is_some());
        match known {
            Some(place) if self.at(place) => Some(format!("open {place}")),
            Some(place) => Some(format!("go to {place}")),
            None => self.search(),
        }
    }

    /// Opens what one stands before, else goes on to a place not yet visited, else to a closed one.
    fn search(&self) -> Option<String> {
        let mut reached = self.here.iter().chain(&self.beside).filter(|place| !self.seen(place));
        if let Some(place) = reached.next() {
            return Some(format!("{} {place}", if self.closed(place) { "open" } else { "examine" }));
        }
        let unseen = |place: &&String| !self.seen(place);
        let unvisited = self.places.iter().filter(unseen).find(|place| !self.closed(place));
        unvisited.or(self.places.iter().find(unseen)).map(|place| format!("go to {place}"))
    }

    fn go_to_kind(&self, wanted: &str) -> Option<String> {
        self.places.iter().find(|place| kind(place) == wanted).map(|place| format!("go to {place}"))
    }
}

/// The kind of a thing: its name without the number.
pub(super) fn kind(name: &str) -> &str {
    match name.rsplit_once(' ') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
        _ => name,
    }
}

/// The text between the first `start` and the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

/// The things of a list such as "a pen 1, a mug 2, and a book 1"; none for "nothing".
fn items(list: &str) -> Vec<String> {
    list.split(", ")
        .map(|item| item.trim().trim_start_matches("and "))
        .filter_map(|item| item.strip_prefix("a ").or(item.strip_prefix("an ")))
        .map(str::to_owned)
        .collect()
}
