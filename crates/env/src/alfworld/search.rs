//! An expert that knows only what the agent has been shown, and searches for the rest.
//!
//! It looks into unseen receptacles, the likeliest and cheapest first, until it has found what the
//! task needs, and then does the errands. Every decision is made anew from the episode as it is, so
//! it copes with whatever others did in between. What it takes for granted is common sense: the
//! names in the first text, what kind of place holds what, and which furniture has doors.
//!
//! The only step it can forget ([`Slips::forget`]) is cleaning, heating or cooling: it puts the object
//! away as it is, finds that this did not do, and then takes it again.

use super::command::Command;
use super::episode::GameEpisode;
use super::game::{Game, Set, contains, members};
use super::goal::{Condition, Treatment};
use crate::environment::{Episode, Expert, Slips};
use crate::household::statistics::likelihood;
use crate::random::Draw;

/// Furniture that is usually closed, so that looking inside takes another command.
const DOORS: [&str; 5] = ["cabinet", "drawer", "fridge", "microwave", "safe"];

/// How strongly chance moves a receptacle up or down the order of search.
const WHIM: f64 = 0.5;

/// What the expert wants to do next.
enum Wish {
    /// It knows what to do.
    Errand(Command),
    /// It looks for something.
    Search(Command),
}

/// The searching expert.
pub struct Searcher {
    seed: u64,
    slips: Slips,
    acts: u64,
    /// It will leave out the treatment until it has put an object away.
    forgets: bool,
    /// For each receptacle a factor on its likelihood.
    whims: Vec<f64>,
}

impl Searcher {
    /// An expert for episodes of `game`.
    pub fn new(game: &Game, seed: u64, slips: Slips) -> Self {
        let mut draw = Draw::new(&[seed, 0]);
        let forgets = draw.chance(slips.forget);
        let whims = game.receptacles().iter().map(|_| {
            let gumbel = -(-draw.unit().max(f64::MIN_POSITIVE).ln()).max(f64::MIN_POSITIVE).ln();
            (WHIM * gumbel).exp()
        });
        Self { seed, slips, acts: 0, forgets, whims: whims.collect() }
    }

    fn whim(&self, r: u8) -> f64 {
        self.whims.get(usize::from(r)).copied().unwrap_or(1.0)
    }
}

impl Expert for Searcher {
    fn act(&mut self, episode: &dyn Episode) -> String {
        let mut draw = Draw::new(&[self.seed, 1, self.acts]);
        self.acts += 1;
        let Some(episode) = episode.as_any().downcast_ref::<GameEpisode>() else {
            return "look".to_string();
        };
        let game = episode.game();
        let scene = Scene { episode, game, expert: self };
        let wish = scene.wish();
        if draw.chance(self.slips.invalid) {
            return scene.invalid(&wish, &mut draw);
        }
        let astray = match wish {
            Wish::Search(_) if draw.chance(self.slips.revisit) => {
                scene.anywhere(episode.shown().receptacles, &mut draw)
            }
            Wish::Errand(_) if draw.chance(self.slips.wander) => scene.anywhere(Set::MAX, &mut draw),
            Wish::Search(_) | Wish::Errand(_) => None,
        };
        let (Wish::Search(wished) | Wish::Errand(wished)) = wish;
        let command = astray.filter(|command| *command != wished).unwrap_or(wished);
        if matches!(command, Command::Put(..)) {
            self.forgets = false;
        }
        game.phrase(command).to_string()
    }
}

/// An expert looking at an episode.
struct Scene<'a> {
    episode: &'a GameEpisode,
    game: &'a Game,
    expert: &'a Searcher,
}

impl Scene<'_> {
    fn is_here(&self, r: u8) -> bool {
        self.game.receptacle(r).site == Some(self.episode.state().site)
    }

    fn is_closed(&self, r: u8) -> bool {
        contains(self.game.stations().openable & !self.episode.state().opened, r)
    }

    /// The command itself where it can be given now, else a step towards the receptacle.
    fn at(&self, r: u8, command: Command) -> Command {
        if self.is_here(r) { command } else { Command::GoTo(r) }
    }

    /// As [`Scene::at`], with the receptacle opened first.
    fn within(&self, r: u8, command: Command) -> Command {
        self.at(r, if self.is_closed(r) { Command::Open(r) } else { command })
    }

    /// The reachable member of a set with the highest value; what is here comes first.
    fn nearest(&self, set: Set, value: impl Fn(u8) -> f64) -> Option<u8> {
        let reachable = members(set).filter(|r| self.game.receptacle(*r).site.is_some());
        let key = |r: &u8| (if self.is_here(*r) { 1e3 } else { 0.0 }) + value(*r);
        reachable.max_by(|a, b| key(a).total_cmp(&key(b)))
    }

    fn wish(&self) -> Wish {
        if self.game.won(self.episode.state()) {
            return Wish::Errand(Command::Look);
        }
        match self.game.condition() {
            Condition::Place { treatment, .. } => {
                let treatment = treatment.filter(|_| !self.expert.forgets);
                self.place(treatment, |_| true)
            }
            Condition::PlaceTwo { .. } => {
                let objects = self.game.goal.objects;
                let lying = |r: u8| -> u32 {
                    let seen = contains(self.episode.shown().receptacles, r);
                    if seen { (self.episode.state().contents(r) & objects).count_ones() } else { 0 }
                };
                // Both must go to one receptacle: the one that already has one, else any.
                let target = members(self.game.goal.receptacles)
                    .filter(|r| self.game.receptacle(*r).site.is_some())
                    .max_by(|a, b| {
                        (lying(*a), self.expert.whim(*a))
                            .partial_cmp(&(lying(*b), self.expert.whim(*b)))
                            .unwrap_or(std::cmp::Ordering::Equal)
                    });
                self.place(None, |r| Some(r) == target)
            }
            Condition::Light { .. } => self.light(),
        }
    }

    /// Treats a goal object and puts it into an allowed receptacle of the goal's type.
    fn place(&self, treatment: Option<Treatment>, allowed: impl Fn(u8) -> bool) -> Wish {
        let (state, shown, goal) = (self.episode.state(), self.episode.shown(), &self.game.goal);
        let (treated, stations) = match treatment {
            None => (Set::MAX, 0),
            Some(Treatment::Clean) => (shown.clean, self.game.stations().sinks),
            Some(Treatment::Heat) => (shown.hot, self.game.stations().microwaves),
            Some(Treatment::Cool) => (shown.cool, self.game.stations().fridges),
        };
        let targets = |o: u8| {
            let fits = |r: &u8| allowed(*r) && contains(self.game.receptacle(*r).accepts, o);
            members(goal.receptacles).filter(fits).fold(0, |set: Set, r| set | 1 << r)
        };
        if let Some(o) = state.held.filter(|o| contains(goal.objects, *o) && targets(*o) != 0) {
            let station = self.nearest(stations, |r| self.expert.whim(r));
            if let (false, Some(r)) = (contains(treated, o), station) {
                return Wish::Errand(self.at(
                    r,
                    match treatment {
                        Some(Treatment::Heat) => Command::Heat(o, r),
                        Some(Treatment::Cool) => Command::Cool(o, r),
                        Some(Treatment::Clean) | None => Command::Clean(o, r),
                    },
                ));
            }
            // Receptacles that need no opening are preferred.
            let value = |r: u8| self.expert.whim(r) - if self.is_closed(r) { 10.0 } else { 0.0 };
            if let Some(r) = self.nearest(targets(o), value) {
                return Wish::Errand(self.within(r, Command::Put(o, r)));
            }
        }
        let wanted = members(goal.objects).filter(|o| targets(*o) != 0);
        let wanted = wanted.filter(|o| {
            // For two objects, one that is in place already stays there.
            treatment.is_some()
                || !members(targets(*o))
                    .any(|r| contains(shown.receptacles, r) && contains(state.contents(r), *o))
        });
        self.obtain(wanted.fold(0, |set: Set, o| set | 1 << o), treated)
    }

    /// Holds a goal object at a lamp that has been used.
    fn light(&self) -> Wish {
        let (state, goal) = (self.episode.state(), &self.game.goal);
        let Some(_) = state.held.filter(|o| contains(goal.objects, *o)) else {
            return self.obtain(goal.objects, Set::MAX);
        };
        let lamps =
            members(goal.lamps).flat_map(|lamp| self.episode.known_places(lamp).map(move |r| (r, lamp)));
        let lamps: Vec<_> = lamps.filter(|(r, _)| self.game.receptacle(*r).site.is_some()).collect();
        let best = lamps.iter().max_by_key(|(r, lamp)| (self.is_here(*r), contains(state.toggled, *lamp)));
        match best {
            Some(&(r, lamp)) => Wish::Errand(self.at(r, Command::Use(lamp))),
            None => self.search(goal.lamps),
        }
    }

    /// Takes one of the objects, those in `better` first; searches where none has been seen.
    fn obtain(&self, objects: Set, better: Set) -> Wish {
        if let Some(held) = self.episode.state().held {
            return self.put_down(held);
        }
        let takeable = objects & self.game.abilities().pickupable;
        let known = members(takeable).flat_map(|o| self.episode.known_places(o).map(move |r| (o, r)));
        let known = known.filter(|(_, r)| self.game.receptacle(*r).site.is_some());
        let best = known.max_by_key(|(o, r)| (contains(better, *o), self.is_here(*r), !self.is_closed(*r)));
        match best {
            Some((o, r)) => Wish::Errand(self.within(r, Command::Take(o, r))),
            None => self.search(takeable),
        }
    }

    /// Puts down something that is in the way.
    fn put_down(&self, held: u8) -> Wish {
        let accepting = (0u8..).zip(self.game.receptacles()).filter(|(_, r)| contains(r.accepts, held));
        let accepting = accepting.fold(0, |set: Set, (r, _)| set | 1 << r);
        let value = |r: u8| self.expert.whim(r) - if self.is_closed(r) { 10.0 } else { 0.0 };
        match self.nearest(accepting, value) {
            Some(r) => Wish::Errand(self.within(r, Command::Put(held, r))),
            None => Wish::Errand(Command::Look),
        }
    }

    /// Looks into the most promising receptacle whose contents have not been shown.
    fn search(&self, objects: Set) -> Wish {
        let kinds: Vec<&str> = members(objects).map(|o| self.game.object(o).kind.as_str()).collect();
        let receptacles = self.game.receptacles();
        let alike = |kind: &str| receptacles.iter().filter(|r| r.kind == kind).count() as f64;
        let unseen = (0u8..).zip(receptacles).filter(|(n, r)| {
            let open_but_unseen_here = self.is_here(*n) && !self.is_closed(*n);
            r.site.is_some() && !contains(self.episode.shown().receptacles, *n) && !open_but_unseen_here
        });
        let value = |n: u8, kind: &str| {
            let chance = kinds.iter().map(|object| likelihood(object, kind)).fold(0.002, f64::max);
            let cost = match (self.is_here(n), DOORS.contains(&kind)) {
                (true, _) | (false, false) => 1.0,
                (false, true) => 2.0,
            };
            chance / alike(kind) / cost * self.expert.whim(n)
        };
        let best = unseen.map(|(n, r)| (n, value(n, &r.kind))).max_by(|a, b| a.1.total_cmp(&b.1));
        let command = match best {
            Some((r, _)) => self.at(r, Command::Open(r)),
            // What is left stands here unseen, its list hidden by full hands: leave and come back.
            None => (0u8..)
                .zip(receptacles)
                .find(|(n, r)| r.site.is_some() && !self.is_here(*n))
                .map_or(Command::Look, |(n, _)| Command::GoTo(n)),
        };
        Wish::Search(command)
    }

    /// A walk to some receptacle of a set, if one is elsewhere.
    fn anywhere(&self, set: Set, draw: &mut Draw) -> Option<Command> {
        let places = (0u8..).zip(self.game.receptacles());
        let elsewhere = |(n, r): &(u8, &super::game::Receptacle)| {
            contains(set, *n) && r.site.is_some() && !self.is_here(*n)
        };
        let places: Vec<u8> = places.filter(elsewhere).map(|(n, _)| n).collect();
        draw.pick(&places).map(|r| Command::GoTo(*r))
    }

    /// A command that is said as if it were possible, and is not: what an agent says that believes to
    /// be elsewhere, to hold something else, or to see what it does not.
    fn invalid(&self, wish: &Wish, draw: &mut Draw) -> String {
        let (Wish::Search(command) | Wish::Errand(command)) = wish;
        let any = |draw: &mut Draw| draw.pick(self.game.receptacles()).map_or("room 1", |r| r.name.as_str());
        let here: Vec<&str> = (0..self.game.receptacles().len() as u8)
            .filter(|&r| self.is_here(r))
            .map(|r| self.game.receptacle(r).name.as_str())
            .collect();
        let near = |draw: &mut Draw| draw.pick(&here).copied().unwrap_or("room 1");
        let objects: Vec<u8> = members(self.game.goal.objects).collect();
        let object = draw.pick(&objects).map_or("it 1", |&o| self.game.object(o).name.as_str());
        let attempts = [
            format!("take {object} from {}", near(draw)),
            format!("take {object} from {}", any(draw)),
            format!("move {object} to {}", near(draw)),
            format!("clean {object} with {}", near(draw)),
            format!("heat {object} with {}", near(draw)),
            format!("cool {object} with {}", near(draw)),
            format!("go to {}", near(draw)),
            format!("open {}", any(draw)),
            format!("{} now", self.game.phrase(*command)),
        ];
        let refused: Vec<&String> =
            attempts.iter().filter(|text| self.game.find(self.episode.state(), text).is_none()).collect();
        draw.pick(&refused).map_or_else(|| "do nothing".to_string(), |text| text.to_string())
    }
}
