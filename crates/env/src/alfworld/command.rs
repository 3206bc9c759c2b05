//! Commands: their texts, which of them a state admits, in order, and what they do to it.

use crate::python;

use super::game::{Game, Set, contains, members};
use super::goal::{Condition, Treatment};
use super::state::State;
use super::variant::Variant;

/// A command over the game's numbers for objects and receptacles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// `clean OBJECT with RECEPTACLE`
    Clean(u8, u8),
    /// `close RECEPTACLE`
    Close(u8),
    /// `cool OBJECT with RECEPTACLE`
    Cool(u8, u8),
    /// `examine RECEPTACLE`
    ExamineReceptacle(u8),
    /// `examine OBJECT`
    ExamineObject(u8),
    /// `go to RECEPTACLE`
    GoTo(u8),
    /// `heat OBJECT with RECEPTACLE`
    Heat(u8, u8),
    /// `help`
    Help,
    /// `inventory`
    Inventory,
    /// `look`
    Look,
    /// `open RECEPTACLE`
    Open(u8),
    /// `move OBJECT to RECEPTACLE`, in the oldest wording `put OBJECT in/on RECEPTACLE`
    Put(u8, u8),
    /// `slice OBJECT with OBJECT`
    Slice(u8, u8),
    /// `take OBJECT from RECEPTACLE`
    Take(u8, u8),
    /// `use OBJECT`
    Use(u8),
}

/// Where a text stands in the text of all commands.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    length: u32,
}

/// The texts of all commands that can ever be admissible in a game.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    text: String,
    /// `go to`, `open`, `close` and `examine` for each receptacle.
    receptacles: Vec<[Span; 4]>,
    /// `examine` and `use` for each object.
    objects: Vec<[Span; 2]>,
    /// For each object and receptacle its place in `pairs`; `NONE` where they never meet.
    pair: Vec<u16>,
    /// `take` and `put`.
    pairs: Vec<[Span; 2]>,
    /// `clean`, `heat`, `cool` and `slice`, sorted by command.
    rare: Vec<(Command, Span)>,
}

const NONE: u16 = u16::MAX;

impl Phrases {
    pub(super) fn new(game: &Game) -> Self {
        let mut phrases = Self::default();
        let mut text = String::new();
        let mut write = |parts: &[&str]| {
            let start = text.len() as u32;
            parts.iter().for_each(|part| text.push_str(part));
            Span { start, length: text.len() as u32 - start }
        };
        let (put, to) = match game.variant {
            Variant::Data | Variant::Repository => ("move ", " to "),
            Variant::Legacy => ("put ", " in/on "),
        };
        for receptacle in &game.receptacles {
            let name = receptacle.name.as_str();
            phrases
                .receptacles
                .push(["go to ", "open ", "close ", "examine "].map(|verb| write(&[verb, name])));
        }
        for (o, object) in (0u8..).zip(&game.objects) {
            let name = object.name.as_str();
            phrases.objects.push(["examine ", "use "].map(|verb| write(&[verb, name])));
            for (r, receptacle) in (0u8..).zip(&game.receptacles) {
                if !contains(receptacle.accepts | game.initial.contents(r), o) {
                    phrases.pair.push(NONE);
                    continue;
                }
                phrases.pair.push(phrases.pairs.len() as u16);
                phrases.pairs.push([
                    write(&["take ", name, " from ", &receptacle.name]),
                    write(&[put, name, to, &receptacle.name]),
                ]);
            }
            let (can, at) = (&game.abilities, &game.stations);
            type Treat = fn(u8, u8) -> Command;
            let treatments: [(Set, Set, &str, Treat); 3] = [
                (can.cleanable, at.sinks, "clean ", Command::Clean),
                (can.heatable, at.microwaves, "heat ", Command::Heat),
                (can.coolable, at.fridges, "cool ", Command::Cool),
            ];
            for (able, stations, verb, command) in treatments {
                for r in members(if contains(able, o) { stations } else { 0 }) {
                    let span = write(&[verb, name, " with ", &game.receptacle(r).name]);
                    phrases.rare.push((command(o, r), span));
                }
            }
            for blade in members(if contains(can.sliceable, o) { can.blades } else { 0 }) {
                let span = write(&["slice ", name, " with ", &game.object(blade).name]);
                phrases.rare.push((Command::Slice(o, blade), span));
            }
        }
        phrases.rare.sort_unstable_by_key(|(command, _)| *command);
        text.shrink_to_fit();
        phrases.text = text;
        phrases
    }

    pub(super) fn of(&self, command: Command) -> &str {
        let receptacle = |r: u8, verb: usize| self.receptacles.get(usize::from(r)).map(|spans| spans[verb]);
        let object = |o: u8, verb: usize| self.objects.get(usize::from(o)).map(|spans| spans[verb]);
        let pair = |o: u8, r: u8, verb: usize| {
            let place = usize::from(o) * self.receptacles.len() + usize::from(r);
            self.pair.get(place).and_then(|p| self.pairs.get(usize::from(*p))).map(|spans| spans[verb])
        };
        let span = match command {
            Command::Help => return "help",
            Command::Inventory => return "inventory",
            Command::Look => return "look",
            Command::GoTo(r) => receptacle(r, 0),
            Command::Open(r) => receptacle(r, 1),
            Command::Close(r) => receptacle(r, 2),
            Command::ExamineReceptacle(r) => receptacle(r, 3),
            Command::ExamineObject(o) => object(o, 0),
            Command::Use(o) => object(o, 1),
            Command::Take(o, r) => pair(o, r, 0),
            Command::Put(o, r) => pair(o, r, 1),
            Command::Clean(..) | Command::Heat(..) | Command::Cool(..) | Command::Slice(..) => {
                let found = self.rare.binary_search_by_key(&command, |(command, _)| *command);
                found.ok().map(|place| self.rare[place].1)
            }
        };
        let Span { start, length } = span.unwrap_or_default();
        &self.text[start as usize..(start + length) as usize]
    }

    /// The memory the texts take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.pair.len() * 2 + self.pairs.len() * 16 + self.rare.len() * 12
    }
}

impl Game {
    /// Calls `say` with every admissible command, in the order of their texts, each once.
    pub fn visit(&self, state: &State, mut say: impl FnMut(Command)) {
        let here = self.sites[usize::from(state.site)].receptacles;
        let (at, can) = (&self.stations, &self.abilities);
        let closed = at.openable & !state.opened;
        let reach = here & !closed;

        if let Some(o) = state.held {
            members(if contains(can.cleanable, o) { here & at.sinks } else { 0 })
                .for_each(|r| say(Command::Clean(o, r)));
        }
        members(here & at.openable & state.opened).for_each(|r| say(Command::Close(r)));
        if let Some(o) = state.held {
            members(if contains(can.coolable, o) { here & at.fridges } else { 0 })
                .for_each(|r| say(Command::Cool(o, r)));
        }
        let mut held = state.held;
        for r in members(here) {
            if let Some(o) = held.filter(|o| self.object(*o).rank <= r) {
                say(Command::ExamineObject(o));
                held = None;
            }
            say(Command::ExamineReceptacle(r));
        }
        if let Some(o) = held {
            say(Command::ExamineObject(o));
        }
        for (r, receptacle) in (0u8..).zip(&self.receptacles) {
            if receptacle.site.is_some_and(|site| site != state.site) {
                say(Command::GoTo(r));
            }
        }
        if let Some(o) = state.held {
            members(if contains(can.heatable, o) { here & at.microwaves } else { 0 })
                .for_each(|r| say(Command::Heat(o, r)));
        }
        if self.variant != Variant::Legacy {
            say(Command::Help);
        }
        say(Command::Inventory);
        say(Command::Look);
        let put = |say: &mut dyn FnMut(Command)| {
            if let Some(o) = state.held {
                let accepts = |r: &u8| contains(self.receptacle(*r).accepts, o);
                members(reach).filter(accepts).for_each(|r| say(Command::Put(o, r)));
            }
        };
        if self.variant != Variant::Legacy {
            put(&mut say);
        }
        members(here & closed).for_each(|r| say(Command::Open(r)));
        if self.variant == Variant::Legacy {
            put(&mut say);
        }
        match state.held {
            Some(blade) if contains(can.blades, blade) => {
                let sliceable = can.sliceable & state.present(state.site);
                members(sliceable).for_each(|o| say(Command::Slice(o, blade)));
            }
            Some(_) => {}
            None => {
                let within = members(reach).fold(0, |all, r| all | state.contents(r));
                for o in members(within & can.pickupable) {
                    let holding = members(reach).filter(|r| contains(state.contents(*r), o));
                    holding.for_each(|r| say(Command::Take(o, r)));
                }
            }
        }
        let within = members(here).fold(0, |all, r| all | state.contents(r));
        members(within & can.toggleable).for_each(|o| say(Command::Use(o)));
    }

    /// Fills `into` with the texts of all admissible commands, sorted.
    pub fn admissible<'a>(&'a self, state: &State, into: &mut Vec<&'a str>) {
        into.clear();
        self.visit(state, |command| into.push(self.phrase(command)));
    }

    /// The admissible command with this text, white space around it aside.
    pub fn find(&self, state: &State, action: &str) -> Option<Command> {
        let action = python::strip(action);
        let mut found = None;
        self.visit(state, |command| {
            if found.is_none() && self.phrase(command) == action {
                found = Some(command);
            }
        });
        found
    }

    /// Carries out a command that the state admits.
    pub fn apply(&self, state: &mut State, command: Command) {
        match command {
            Command::Look
            | Command::Inventory
            | Command::Help
            | Command::ExamineReceptacle(_)
            | Command::ExamineObject(_) => {}
            Command::GoTo(r) => state.site = self.receptacle(r).site.unwrap_or(state.site),
            Command::Open(r) => state.opened |= 1 << r,
            Command::Close(r) => state.opened &= !(1 << r),
            Command::Take(o, r) => {
                let (object, site) = (1 << o, state.site);
                *state.contents_mut(r) &= !object;
                *state.removed_mut(r) |= object;
                *state.present_mut(site) &= !object;
                state.held = Some(o);
            }
            Command::Put(o, r) => {
                let (object, site) = (1 << o, state.site);
                *state.contents_mut(r) |= object;
                *state.removed_mut(r) &= !object;
                *state.present_mut(site) |= object;
                state.held = None;
            }
            Command::Clean(o, _) => state.clean |= 1 << o,
            Command::Heat(o, _) => {
                state.hot |= 1 << o;
                state.cool &= !(1 << o);
            }
            Command::Cool(o, _) => {
                state.cool |= 1 << o;
                state.hot &= !(1 << o);
            }
            Command::Use(o) => state.toggled |= 1 << o,
            Command::Slice(o, _) => state.sliced |= 1 << o,
        }
    }

    /// Whether the condition for winning holds.
    pub fn won(&self, state: &State) -> bool {
        let goal = &self.goal;
        match &goal.condition {
            Condition::Place { treatment, .. } => {
                let done = goal.objects
                    & match treatment {
                        None => Set::MAX,
                        Some(Treatment::Clean) => state.clean,
                        Some(Treatment::Heat) => state.hot,
                        Some(Treatment::Cool) => state.cool,
                    };
                members(goal.receptacles).any(|r| state.contents(r) & done != 0)
            }
            Condition::PlaceTwo { .. } => {
                members(goal.receptacles).any(|r| (state.contents(r) & goal.objects).count_ones() > 1)
            }
            Condition::Light { .. } => {
                let here = members(self.sites[usize::from(state.site)].receptacles);
                let lit = goal.lamps & state.toggled;
                state.held.is_some_and(|o| contains(goal.objects, o))
                    && here.fold(0, |all, r| all | state.contents(r)) & lit != 0
            }
        }
    }

    /// The memory this game takes, in bytes, roughly.
    pub fn size(&self) -> usize {
        let names = self.objects.iter().map(|o| o.id.len() + o.name.len() + o.kind.len() + size_of_val(o));
        let places =
            self.receptacles.iter().map(|r| r.id.len() + r.name.len() + r.kind.len() + size_of_val(r));
        size_of::<Self>() + self.initial.size() + self.phrases.size() + names.chain(places).sum::<usize>()
    }
}
