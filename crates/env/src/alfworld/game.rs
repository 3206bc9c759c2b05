//! A compiled game: tables over small integers, shared by every episode of it.
//!
//! Objects and receptacles are numbered in the order of their display names, because the list of
//! admissible commands is sorted by text: walking a bit set upwards then yields commands in order,
//! with no comparison. Texts that list things follow the order of the ids instead, which is kept
//! beside it. Every command's text is written once, here.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::command::Command;
use super::goal::{Condition, GoalError, Treatment};
use super::name::Names;
use super::pddl::{PddlError, Problem};
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

/// The predicates of the domain with the types of their arguments.
const PREDICATES: [(&str, &[&str]); 33] = [
    ("atlocation", &["agent", "location"]),
    ("receptacleatlocation", &["receptacle", "location"]),
    ("objectatlocation", &["object", "location"]),
    ("openable", &["receptacle"]),
    ("opened", &["receptacle"]),
    ("inreceptacle", &["object", "receptacle"]),
    ("isreceptacleobject", &["object"]),
    ("inreceptacleobject", &["object", "object"]),
    ("isreceptacleobjectfull", &["object"]),
    ("wasinreceptacle", &["object", "receptacle"]),
    ("checked", &["receptacle"]),
    ("examined", &["location"]),
    ("receptacletype", &["receptacle", "rtype"]),
    ("cancontain", &["rtype", "otype"]),
    ("objecttype", &["object", "otype"]),
    ("holds", &["agent", "object"]),
    ("holdsany", &["agent"]),
    ("holdsanyreceptacleobject", &["agent"]),
    ("full", &["receptacle"]),
    ("isclean", &["object"]),
    ("cleanable", &["object"]),
    ("ishot", &["object"]),
    ("heatable", &["object"]),
    ("iscool", &["object"]),
    ("coolable", &["object"]),
    ("pickupable", &["object"]),
    ("moveable", &["object"]),
    ("toggleable", &["object"]),
    ("ison", &["object"]),
    ("istoggled", &["object"]),
    ("sliceable", &["object"]),
    ("issliced", &["object"]),
    ("distance", &["location", "location"]),
];

/// The arguments of every fact, grouped by predicate; checked against the domain.
struct Facts<'a>(HashMap<&'static str, Vec<[&'a str; 2]>>);

impl<'a> Facts<'a> {
    fn new(problem: &Problem<'a>) -> Result<Self, GameError> {
        let mut groups: HashMap<&'static str, Vec<[&'a str; 2]>> = HashMap::new();
        let signatures: HashMap<_, _> = PREDICATES.into_iter().map(|entry| (entry.0, entry)).collect();
        for fact in &problem.facts {
            let refuse = |what: String| GameError::Fact {
                predicate: fact.predicate.to_string(),
                arguments: fact.arguments.join(" "),
                what,
            };
            let Some((predicate, types)) = signatures.get(fact.predicate) else {
                return Err(refuse("the domain has no such predicate".to_string()));
            };
            if types.len() != fact.arguments.len() {
                return Err(refuse(format!("it takes {} arguments", types.len())));
            }
            let mut pair = [""; 2];
            for ((slot, argument), kind) in pair.iter_mut().zip(&fact.arguments).zip(*types) {
                match problem.objects.get(argument) {
                    Some(declared) if declared == kind => *slot = argument,
                    Some(declared) => {
                        return Err(refuse(format!("`{argument}` is declared as {declared}, not as {kind}")));
                    }
                    None => return Err(refuse(format!("`{argument}` is not declared in (:objects ...)"))),
                }
            }
            groups.entry(predicate).or_default().push(pair);
        }
        Ok(Self(groups))
    }

    fn of(&self, predicate: &str) -> &[[&'a str; 2]] {
        self.0.get(predicate).map_or(&[], Vec::as_slice)
    }
}

/// Numbers given to ids in the order of their display names.
struct Numbers<'a> {
    ids: Vec<&'a str>,
    number: HashMap<&'a str, u8>,
    /// All numbers, in the order of the ids.
    listed: Vec<u8>,
}

impl<'a> Numbers<'a> {
    fn new(ids: HashSet<&'a str>, names: &Names, what: &'static str) -> Result<Self, GameError> {
        let mut ids: Vec<_> = ids.into_iter().collect();
        if ids.len() > MOST {
            return Err(GameError::TooMany { count: ids.len(), what });
        }
        ids.sort_unstable_by_key(|id| (names.of(id), *id));
        let number: HashMap<_, _> = (0u8..).zip(&ids).map(|(n, id)| (*id, n)).collect();
        let mut listed: Vec<u8> = (0..ids.len() as u8).collect();
        listed.sort_unstable_by_key(|n| ids[usize::from(*n)]);
        Ok(Self { ids, number, listed })
    }

    /// The set of those ids that are first arguments of the predicate.
    fn set(&self, facts: &Facts, predicate: &str) -> Set {
        facts.of(predicate).iter().filter_map(|[id, _]| self.number.get(id)).fold(0, |set, n| set | 1 << n)
    }
}

fn without_type(name: &str) -> &str {
    name.strip_suffix("type").unwrap_or(name)
}

impl Game {
    /// Compiles a problem under a variant of the rules; `task` is the sentence that states the task.
    pub fn compile(variant: Variant, task: &str, pddl_problem: &str) -> Result<Self, GameError> {
        let text = pddl_problem.to_lowercase();
        let problem = Problem::parse(&text)?;
        if problem.domain != "alfred" {
            return Err(GameError::Domain(problem.domain.to_string()));
        }
        let condition = Condition::parse(&problem.goal)?;
        let facts = Facts::new(&problem)?;
        let entities: HashSet<&str> =
            problem.facts.iter().flat_map(|f| f.arguments.iter().copied()).collect();
        let names = Names::new(entities.iter().copied());

        let mut receptacle_ids: HashSet<&str> =
            facts.of("receptacleatlocation").iter().map(|[r, _]| *r).collect();
        receptacle_ids.extend(facts.of("inreceptacle").iter().map(|[_, r]| *r));
        // Objects that lie in no receptacle cannot be reached, except by a knife.
        let mut object_ids: HashSet<&str> = facts.of("inreceptacle").iter().map(|[o, _]| *o).collect();
        object_ids.extend(facts.of("sliceable").iter().map(|[o, _]| *o));
        object_ids.extend(facts.of("holds").iter().map(|[_, o]| *o));
        let receptacles = Numbers::new(receptacle_ids, &names, "receptacles")?;
        let objects = Numbers::new(object_ids, &names, "objects within reach")?;

        let start = match facts.of("atlocation") {
            [[_, location]] => *location,
            [] => return Err(GameError::Agent("(:init ...) does not say where the agent is")),
            _ => {
                return Err(GameError::Agent(
                    "(:init ...) puts the agent, or several, in more than one place",
                ));
            }
        };
        let mut site_ids: HashSet<&str> = facts.of("receptacleatlocation").iter().map(|[_, l]| *l).collect();
        site_ids.insert(start);
        let sites = Numbers::new(site_ids, &names, "places")?;

        let mut kinds: [HashMap<&str, Vec<&str>>; 2] = Default::default();
        for (kinds, predicate) in kinds.iter_mut().zip(["objecttype", "receptacletype"]) {
            for [id, kind] in facts.of(predicate) {
                kinds.entry(id).or_default().push(kind);
            }
        }
        let kinds_of = |which: usize, id: &str| kinds[which].get(id).map_or(&[][..], Vec::as_slice);
        let of_kind = |which: usize, numbers: &Numbers, wanted: &[&str]| -> Set {
            let fits = |id: &str| kinds_of(which, id).iter().any(|kind| wanted.contains(kind));
            (0u8..).zip(&numbers.ids).filter(|(_, id)| fits(id)).fold(0, |set, (n, _)| set | 1 << n)
        };

        let mut site_of: HashMap<&str, u8> = HashMap::new();
        for [receptacle, location] in facts.of("receptacleatlocation") {
            if site_of.insert(receptacle, sites.number[location]).is_some_and(|s| s != sites.number[location])
            {
                return Err(GameError::Fact {
                    predicate: "receptacleatlocation".to_string(),
                    arguments: format!("{receptacle} {location}"),
                    what: "the receptacle already has another place".to_string(),
                });
            }
        }
        let mut accepted: BTreeMap<&str, Set> = BTreeMap::new();
        for [receptacle, object] in facts.of("cancontain") {
            *accepted.entry(receptacle).or_default() |= of_kind(0, &objects, &[object]);
        }

        let receptacle_table: Vec<_> = receptacles
            .ids
            .iter()
            .map(|id| Receptacle {
                id: id.to_string(),
                name: names.of(id).to_string(),
                kind: kinds_of(1, id).first().map_or("", |kind| without_type(kind)).to_string(),
                site: site_of.get(id).copied(),
                accepts: kinds_of(1, id)
                    .iter()
                    .filter_map(|kind| accepted.get(kind))
                    .fold(0, |all, set| all | set),
            })
            .collect();
        let object_table: Vec<_> = objects
            .ids
            .iter()
            .map(|id| Object {
                id: id.to_string(),
                name: names.of(id).to_string(),
                kind: kinds_of(0, id).first().map_or("", |kind| without_type(kind)).to_string(),
                rank: receptacle_table.partition_point(|r| r.name.as_str() < names.of(id)) as u8,
            })
            .collect();
        let site_table: Vec<_> = (0u8..)
            .zip(&sites.ids)
            .map(|(n, id)| {
                let here = |r: &u8| receptacle_table[usize::from(*r)].site == Some(n);
                let listed: Vec<u8> = receptacles.listed.iter().copied().filter(here).collect();
                let receptacles = listed.iter().fold(0, |set: Set, r| set | 1 << r);
                Site { receptacles, listed, name: names.of(id).to_string() }
            })
            .collect();

        let sink_types: &[&str] = match variant {
            Variant::Repository => &["sinkbasintype"],
            Variant::Data | Variant::Legacy => &["sinktype", "sinkbasintype"],
        };
        let stations = Stations {
            openable: receptacles.set(&facts, "openable"),
            sinks: of_kind(1, &receptacles, sink_types),
            microwaves: of_kind(1, &receptacles, &["microwavetype"]),
            fridges: of_kind(1, &receptacles, &["fridgetype"]),
        };
        let abilities = Abilities {
            pickupable: objects.set(&facts, "pickupable"),
            cleanable: objects.set(&facts, "cleanable"),
            heatable: objects.set(&facts, "heatable"),
            coolable: objects.set(&facts, "coolable"),
            toggleable: objects.set(&facts, "toggleable"),
            sliceable: objects.set(&facts, "sliceable"),
            blades: of_kind(0, &objects, &["knifetype", "butterknifetype"]),
            vessels: objects.set(&facts, "isreceptacleobject"),
        };

        let held = match (facts.of("holds"), facts.of("holdsany")) {
            ([], []) => None,
            ([[_, object]], [_]) => Some(objects.number[object]),
            _ => {
                return Err(GameError::Agent(
                    "(:init ...) is at odds with itself about what the agent holds",
                ));
            }
        };
        let mut initial = State::new(receptacles.ids.len(), sites.ids.len(), sites.number[start]);
        initial.held = held;
        initial.opened = receptacles.set(&facts, "opened");
        initial.clean = objects.set(&facts, "isclean");
        initial.hot = objects.set(&facts, "ishot");
        initial.cool = objects.set(&facts, "iscool");
        initial.sliced = objects.set(&facts, "issliced");
        initial.toggled = objects.set(&facts, "istoggled");
        for [object, receptacle] in facts.of("inreceptacle") {
            *initial.contents_mut(receptacles.number[receptacle]) |= 1 << objects.number[object];
        }
        for [object, location] in facts.of("objectatlocation") {
            if let (Some(o), Some(site)) = (objects.number.get(object), sites.number.get(location)) {
                *initial.present_mut(*site) |= 1 << o;
            }
        }

        let goal = match &condition {
            Condition::Place { object, receptacle, treatment } => Goal {
                objects: of_kind(0, &objects, &[object])
                    & match treatment {
                        None => Set::MAX,
                        Some(Treatment::Clean) => abilities.cleanable,
                        Some(Treatment::Heat) => abilities.heatable,
                        Some(Treatment::Cool) => abilities.coolable,
                    },
                receptacles: of_kind(1, &receptacles, &[receptacle]),
                lamps: 0,
                condition,
            },
            Condition::PlaceTwo { object, receptacle } => Goal {
                objects: of_kind(0, &objects, &[object]),
                receptacles: of_kind(1, &receptacles, &[receptacle]),
                lamps: 0,
                condition,
            },
            Condition::Light { object, lamp } => Goal {
                objects: of_kind(0, &objects, &[object]),
                receptacles: 0,
                lamps: of_kind(0, &objects, &[lamp]) & abilities.toggleable,
                condition,
            },
        };

        let mut inside: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for [inner, outer] in facts.of("inreceptacleobject") {
            inside.entry(outer).or_default().push(inner);
        }
        let inside = inside
            .into_iter()
            .filter_map(|(outer, mut inner)| {
                inner.sort_unstable();
                inner.dedup();
                let mut words = String::new();
                super::text::list(&mut words, "a ", inner.iter().map(|id| names.of(id)));
                Some((*objects.number.get(outer)?, words))
            })
            .collect();

        let mut game = Self {
            variant,
            task: task.to_string(),
            goal,
            phrases: Default::default(),
            receptacles: receptacle_table,
            objects: object_table,
            listed: objects.listed,
            sites: site_table,
            abilities,
            stations,
            inside,
            initial,
            intro: String::new(),
        };
        game.phrases = super::command::Phrases::new(&game);
        game.intro = super::text::intro(&game, &receptacles.listed);
        Ok(game)
    }

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
