//! The texts a game answers with, to the letter.

use super::command::Command;
use super::game::{Game, contains};
use super::state::State;
use super::variant::Variant;

/// The fixed phrases that the texts are made of, for training a tokenizer.
pub const PHRASES: [&str; 42] = [
    "-= Welcome to TextWorld, ALFRED! =-\n\n",
    "You are in the middle of a room. Looking quickly around you, you see",
    ".\n\nYour task is to:",
    "Nothing happens.",
    "You arrive at",
    ". On the",
    ", you see nothing.",
    ", you see a",
    ", a",
    ", and a",
    ". The",
    "is closed.",
    "is open. In it, you see nothing.",
    "is open. In it, you see a",
    "You open the",
    "You close the",
    "You pick up the",
    "from the",
    "You move the",
    "to the",
    "You clean the",
    "You heat the",
    "You cool the",
    "using the",
    "You turn on the",
    "You sliced the",
    "with the",
    "You are carrying: a",
    "You are not carrying anything.",
    "You are facing the",
    ". Next to it, you see nothing.",
    "This is a normal",
    "There's nothing special about",
    "go to",
    "open",
    "close",
    "take",
    "move",
    "clean",
    "heat",
    "cool",
    "use",
];

const NOTHING_HAPPENS: &str = "Nothing happens.";

const HELP: &str = "Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
";

/// Appends names as a list in words, each after `article`.
pub(super) fn list<'a>(text: &mut String, article: &str, names: impl Iterator<Item = &'a str>) {
    let mut names = names.peekable();
    if names.peek().is_none() {
        text.push_str("nothing");
    }
    let mut first = true;
    while let Some(name) = names.next() {
        if !first {
            text.push_str(if names.peek().is_some() { ", " } else { ", and " });
        }
        first = false;
        text.push_str(article);
        text.push_str(name);
    }
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

pub(super) fn intro(game: &Game, listed: &[u8]) -> String {
    let mut text = String::from("-= Welcome to TextWorld, ALFRED! =-\n\n");
    if game.sites[usize::from(game.initial.site)].receptacles == 0 {
        text.push_str("You are in the middle of a room. Looking quickly around you, you see ");
        let placed = listed.iter().map(|r| game.receptacle(*r)).filter(|r| r.site.is_some());
        list(&mut text, "a ", placed.map(|r| r.name.as_str()));
        text.push('.');
    } else {
        look(game, &game.initial, &mut text);
    }
    push(&mut text, &["\n\nYour task is to: ", &game.task]);
    text
}

fn look(game: &Game, state: &State, text: &mut String) {
    let site = &game.sites[usize::from(state.site)];
    if site.receptacles == 0 {
        text.push_str("You are in the middle of a room. Looking quickly around you, you see nothing.");
        return;
    }
    text.push_str("You are facing the ");
    list(text, "", site.listed.iter().map(|r| game.receptacle(*r).name.as_str()));
    text.push_str(". Next to it, you see ");
    // Something is "on the floor" if it was taken out of one receptacle and put in another here.
    let present = state.present(state.site);
    let floor = game.listed.iter().filter(|o| contains(present, **o)).flat_map(|o| {
        let left = site.listed.iter().filter(|r| contains(state.removed(**r), *o));
        left.map(|_| game.object(*o).name.as_str())
    });
    list(text, "a ", floor);
    text.push('.');
}

fn receptacle(game: &Game, state: &State, r: u8, text: &mut String) {
    let name = game.receptacle(r).name.as_str();
    match (contains(game.stations.openable, r), contains(state.opened, r)) {
        (true, false) => return push(text, &["The ", name, " is closed."]),
        (true, true) => push(text, &["The ", name, " is open. In it, you see "]),
        (false, _) => push(text, &["On the ", name, ", you see "]),
    }
    let contents = state.contents(r);
    let inside = game.listed.iter().filter(|o| contains(contents, **o));
    list(text, "a ", inside.map(|o| game.object(*o).name.as_str()));
    text.push('.');
}

fn object(game: &Game, state: &State, o: u8, text: &mut String) {
    let name = game.object(o).name.as_str();
    if contains(game.abilities.vessels, o) {
        let inside = game.inside.get(&o).map_or("nothing", String::as_str);
        return push(text, &["This is a normal ", name, ". In it, you see ", inside, "."]);
    }
    let [clean, hot, cool, sliced, toggled] =
        [state.clean, state.hot, state.cool, state.sliced, state.toggled].map(|set| contains(set, o));
    let qualities = match (clean, hot, cool, sliced) {
        (true, true, _, true) => "hot and clean sliced",
        (true, false, true, true) => "cool and clean sliced",
        (true, false, false, true) => "clean sliced",
        (false, true, _, true) => "hot sliced",
        (false, false, true, true) => "cool sliced",
        (true, true, _, false) => "hot and clean",
        (true, false, true, false) => "cool and clean",
        (false, true, _, false) => "hot",
        (true, false, false, false) => "clean",
        (false, false, true, false) => "cold",
        (false, false, false, _) if toggled && contains(game.abilities.toggleable, o) => {
            return push(text, &["This ", name, " is on."]);
        }
        (false, false, false, true) if contains(game.abilities.sliceable, o) => "sliced",
        (false, false, false, _) => {
            return push(text, &["There's nothing special about ", name, "."]);
        }
    };
    push(text, &["This is a ", qualities, " ", name, "."]);
}

impl Game {
    /// Carries out an action and writes the answer to `text`; says which command it was, if any.
    pub fn step(&self, state: &mut State, action: &str, text: &mut String) -> Option<Command> {
        text.clear();
        let command = self.find(state, action);
        match command {
            None => text.push_str(NOTHING_HAPPENS),
            Some(command) => {
                self.apply(state, command);
                self.answer(state, command, text);
            }
        }
        command
    }

    /// Appends the answer to a command that led to this state.
    fn answer(&self, state: &State, command: Command, text: &mut String) {
        let r_name = |r: u8| self.receptacle(r).name.as_str();
        let o_name = |o: u8| self.object(o).name.as_str();
        match command {
            Command::Look => look(self, state, text),
            Command::Help => text.push_str(HELP),
            Command::Inventory => match state.held {
                Some(o) => push(text, &["You are carrying: a ", o_name(o), "."]),
                None => text.push_str("You are not carrying anything."),
            },
            Command::ExamineReceptacle(r) => receptacle(self, state, r, text),
            Command::ExamineObject(o) => object(self, state, o, text),
            Command::GoTo(r) => {
                let place = match self.variant {
                    Variant::Data | Variant::Repository => r_name(r),
                    Variant::Legacy => self.sites[usize::from(state.site)].name.as_str(),
                };
                push(text, &["You arrive at ", place, ". "]);
                receptacle(self, state, r, text);
            }
            Command::Open(r) => {
                push(text, &["You open the ", r_name(r), ". "]);
                receptacle(self, state, r, text);
            }
            Command::Close(r) => push(text, &["You close the ", r_name(r), "."]),
            Command::Take(o, r) => push(text, &["You pick up the ", o_name(o), " from the ", r_name(r), "."]),
            Command::Put(o, r) => match self.variant {
                Variant::Data | Variant::Repository => {
                    push(text, &["You move the ", o_name(o), " to the ", r_name(r), "."]);
                }
                Variant::Legacy => push(text, &["You put the ", o_name(o), " in/on the ", r_name(r), "."]),
            },
            Command::Clean(o, r) => push(text, &["You clean the ", o_name(o), " using the ", r_name(r), "."]),
            Command::Heat(o, r) => push(text, &["You heat the ", o_name(o), " using the ", r_name(r), "."]),
            Command::Cool(o, r) => push(text, &["You cool the ", o_name(o), " using the ", r_name(r), "."]),
            Command::Use(o) => push(text, &["You turn on the ", o_name(o), "."]),
            Command::Slice(o, k) => push(text, &["You sliced the ", o_name(o), " with the ", o_name(k), "."]),
        }
    }
}
