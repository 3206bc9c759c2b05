//! An oracle: from any state, a short list of commands that wins, knowing where everything lies.
//!
//! Every task is a few errands (fetch, treat, put, use) whose only choices are which object, which
//! station and which receptacle; all of them are tried and the shortest result is kept.

use super::command::Command;
use super::game::{Game, Set, contains, members};
use super::goal::{Condition, Treatment};
use super::state::State;

/// Commands carried out so far and the state they led to.
#[derive(Clone)]
struct Errands<'a> {
    game: &'a Game,
    state: State,
    commands: Vec<Command>,
}

impl Errands<'_> {
    fn act(&mut self, command: Command) {
        self.game.apply(&mut self.state, command);
        self.commands.push(command);
    }

    fn go(&mut self, receptacle: u8) -> Option<()> {
        if self.game.receptacle(receptacle).site? != self.state.site {
            self.act(Command::GoTo(receptacle));
        }
        Some(())
    }

    fn go_and_open(&mut self, receptacle: u8) -> Option<()> {
        self.go(receptacle)?;
        if self.is_closed(receptacle) {
            self.act(Command::Open(receptacle));
        }
        Some(())
    }

    fn is_closed(&self, receptacle: u8) -> bool {
        contains(self.game.stations.openable & !self.state.opened, receptacle)
    }

    /// Puts down what is held where that takes the fewest commands.
    fn empty_hands(&mut self) -> Option<()> {
        let Some(object) = self.state.held else { return Some(()) };
        let receptacles = (0u8..).zip(&self.game.receptacles);
        let options = receptacles.filter(|(_, r)| r.site.is_some() && contains(r.accepts, object));
        let cost = |r: u8, site: Option<u8>| {
            usize::from(site != Some(self.state.site)) + usize::from(self.is_closed(r))
        };
        let (nearest, _) = options.min_by_key(|(r, table)| cost(*r, table.site))?;
        self.put(object, nearest)
    }

    /// Takes an object into empty hands, unless it is held already.
    fn fetch(&mut self, object: u8, from: u8) -> Option<()> {
        if self.state.held == Some(object) {
            return Some(());
        }
        self.empty_hands()?;
        self.go_and_open(from)?;
        self.act(Command::Take(object, from));
        Some(())
    }

    fn put(&mut self, object: u8, into: u8) -> Option<()> {
        self.go_and_open(into)?;
        self.act(Command::Put(object, into));
        Some(())
    }
}

/// Collects finished errands and keeps the shortest.
struct Shortest<'a> {
    start: Errands<'a>,
    best: Option<Vec<Command>>,
}

impl<'a> Shortest<'a> {
    fn attempt(&mut self, run: impl FnOnce(&mut Errands<'a>) -> Option<()>) {
        let mut errands = self.start.clone();
        let done = run(&mut errands).is_some() && errands.game.won(&errands.state);
        if done && self.best.as_ref().is_none_or(|best| errands.commands.len() < best.len()) {
            self.best = Some(errands.commands);
        }
    }
}

/// Where an object can be had from: receptacles within reach that hold it; any one if it is held.
fn sources(game: &Game, state: &State, object: u8) -> Vec<u8> {
    if state.held == Some(object) {
        return vec![0];
    }
    let pickupable = contains(game.abilities.pickupable, object);
    let holds =
        |r: &u8| pickupable && game.receptacle(*r).site.is_some() && contains(state.contents(*r), object);
    (0..game.receptacles.len() as u8).filter(holds).collect()
}

/// Commands that win from `state`, or nothing where no plan of the usual form does.
pub fn solve_commands(game: &Game, state: &State) -> Option<Vec<Command>> {
    if game.won(state) {
        return Some(Vec::new());
    }
    let start = Errands { game, state: state.clone(), commands: Vec::new() };
    let mut shortest = Shortest { start, best: None };
    let goal = &game.goal;
    let targets = |o: u8| members(goal.receptacles).filter(move |r| contains(game.receptacle(*r).accepts, o));
    match goal.condition {
        Condition::Place { treatment, .. } => {
            for object in members(goal.objects) {
                for treat in treatments(game, state, object, treatment) {
                    for from in sources(game, state, object) {
                        for into in targets(object) {
                            shortest.attempt(|errands| {
                                errands.fetch(object, from)?;
                                if let Some((station, command)) = treat {
                                    errands.go(station)?;
                                    errands.act(command);
                                }
                                // It may lie in two receptacles, and still be in the right one.
                                if errands.game.won(&errands.state) {
                                    return Some(());
                                }
                                errands.put(object, into)
                            });
                        }
                    }
                }
            }
        }
        Condition::PlaceTwo { .. } => {
            for into in members(goal.receptacles) {
                let missing: Set = goal.objects & !state.contents(into);
                let ready = (state.contents(into) & goal.objects).count_ones();
                for first in members(missing).filter(|o| contains(game.receptacle(into).accepts, *o)) {
                    for from in sources(game, state, first) {
                        if ready == 1 {
                            shortest.attempt(|errands| {
                                errands.fetch(first, from)?;
                                errands.put(first, into)
                            });
                            continue;
                        }
                        for second in members(missing & !(1 << first)).filter(|o| state.held != Some(*o)) {
                            for from_too in sources(game, state, second) {
                                shortest.attempt(|errands| {
                                    errands.fetch(first, from)?;
                                    errands.put(first, into)?;
                                    errands.fetch(second, from_too)?;
                                    errands.put(second, into)
                                });
                            }
                        }
                    }
                }
            }
        }
        Condition::Light { .. } => {
            for object in members(goal.objects) {
                for from in sources(game, state, object) {
                    for at in 0..game.receptacles.len() as u8 {
                        for lamp in members(goal.lamps & state.contents(at)) {
                            shortest.attempt(|errands| {
                                errands.fetch(object, from)?;
                                errands.go(at)?;
                                if !contains(errands.state.toggled, lamp) {
                                    errands.act(Command::Use(lamp));
                                }
                                Some(())
                            });
                        }
                    }
                }
            }
        }
    }
    shortest.best
}

/// The ways to give an object the treatment it lacks; a single `None` where it lacks none.
fn treatments(
    game: &Game,
    state: &State,
    object: u8,
    treatment: Option<Treatment>,
) -> Vec<Option<(u8, Command)>> {
    let (done, stations) = match treatment {
        None => return vec![None],
        Some(Treatment::Clean) => (state.clean, game.stations.sinks),
        Some(Treatment::Heat) => (state.hot, game.stations.microwaves),
        Some(Treatment::Cool) => (state.cool, game.stations.fridges),
    };
    if contains(done, object) {
        return vec![None];
    }
    let command = |r: u8| match treatment {
        Some(Treatment::Heat) => Command::Heat(object, r),
        Some(Treatment::Cool) => Command::Cool(object, r),
        Some(Treatment::Clean) | None => Command::Clean(object, r),
    };
    members(stations).map(|r| Some((r, command(r)))).collect()
}

/// The texts of commands that win from `state`, or nothing where no plan of the usual form does.
pub fn solve(game: &Game, state: &State) -> Option<Vec<String>> {
    let commands = solve_commands(game, state)?;
    Some(commands.into_iter().map(|command| game.phrase(command).to_string()).collect())
}
