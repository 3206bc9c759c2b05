//! Turns a PDDL problem into a [`Game`]: checks every fact, numbers all things, fills the tables.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::game::{Abilities, Game, GameError, Goal, MOST, Object, Receptacle, Set, Site, Stations};
use super::goal::{Condition, Treatment};
use super::name::Names;
use super::pddl::Problem;
use super::state::State;
use super::variant::Variant;

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
    fn new(mut ids: Vec<&'a str>, names: &Names, what: &'static str) -> Result<Self, GameError> {
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > MOST {
            return Err(GameError::TooMany { count: ids.len(), what });
        }
        ids.sort_unstable_by_key(|id| (names.of(id), *id));
        let number: HashMap<_, _> = (0u8..).zip(&ids).map(|(n, id)| (*id, n)).collect();
        let mut listed: Vec<u8> = (0..ids.len() as u8).collect();
        listed.sort_unstable_by_key(|n| ids[usize::from(*n)]);
        Ok(Self { ids, number, listed })
    }

    /// The set of those ids that have any of these types.
    fn of_types(&self, types: &HashMap<&str, Vec<&str>>, wanted: &[&str]) -> Set {
        let fits =
            |id: &str| types.get(id).is_some_and(|types| types.iter().any(|kind| wanted.contains(kind)));
        (0u8..).zip(&self.ids).filter(|(_, id)| fits(id)).fold(0, |set, (n, _)| set | 1 << n)
    }

    /// The set of those ids that are first arguments of the predicate.
    fn set(&self, facts: &Facts, predicate: &str) -> Set {
        facts.of(predicate).iter().filter_map(|[id, _]| self.number.get(id)).fold(0, |set, n| set | 1 << n)
    }
}

fn without_type(name: &str) -> &str {
    name.strip_suffix("type").unwrap_or(name)
}

/// A problem whose things are numbered.
struct Compiler<'a> {
    facts: Facts<'a>,
    names: Names<'a>,
    receptacles: Numbers<'a>,
    objects: Numbers<'a>,
    sites: Numbers<'a>,
    /// Where the agent is at the start.
    start: u8,
    object_types: HashMap<&'a str, Vec<&'a str>>,
    receptacle_types: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Compiler<'a> {
    fn new(problem: &Problem<'a>) -> Result<Self, GameError> {
        let facts = Facts::new(problem)?;
        let entities: HashSet<&str> =
            problem.facts.iter().flat_map(|f| f.arguments.iter().copied()).collect();
        let names = Names::new(entities.into_iter());

        let firsts =
            |predicate: &str| facts.of(predicate).iter().map(|[first, _]| *first).collect::<Vec<_>>();
        let seconds =
            |predicate: &str| facts.of(predicate).iter().map(|[_, second]| *second).collect::<Vec<_>>();
        let receptacles = [firsts("receptacleatlocation"), seconds("inreceptacle")].concat();
        // Objects that lie in no receptacle cannot be reached, except by a knife.
        let objects = [firsts("inreceptacle"), firsts("sliceable"), seconds("holds")].concat();
        let start = match seconds("atlocation")[..] {
            [location] => location,
            [] => return Err(GameError::Agent("(:init ...) does not say where the agent is")),
            _ => {
                return Err(GameError::Agent(
                    "(:init ...) puts the agent, or several, in more than one place",
                ));
            }
        };
        let sites = [seconds("receptacleatlocation"), vec![start]].concat();

        let types = |predicate: &str| {
            let mut types: HashMap<&str, Vec<&str>> = HashMap::new();
            facts.of(predicate).iter().for_each(|[id, kind]| types.entry(id).or_default().push(kind));
            types
        };
        let sites = Numbers::new(sites, &names, "places")?;
        Ok(Self {
            receptacles: Numbers::new(receptacles, &names, "receptacles")?,
            objects: Numbers::new(objects, &names, "objects within reach")?,
            start: sites.number[start],
            sites,
            object_types: types("objecttype"),
            receptacle_types: types("receptacletype"),
            names,
            facts,
        })
    }

    /// The objects of any of these types.
    fn objects_of(&self, wanted: &[&str]) -> Set {
        self.objects.of_types(&self.object_types, wanted)
    }

    /// The receptacles of any of these types.
    fn receptacles_of(&self, wanted: &[&str]) -> Set {
        self.receptacles.of_types(&self.receptacle_types, wanted)
    }

    fn receptacle_table(&self) -> Result<Vec<Receptacle>, GameError> {
        let mut site_of: HashMap<&str, u8> = HashMap::new();
        for [receptacle, location] in self.facts.of("receptacleatlocation") {
            let site = self.sites.number[location];
            if site_of.insert(receptacle, site).is_some_and(|other| other != site) {
                return Err(GameError::Fact {
                    predicate: "receptacleatlocation".to_string(),
                    arguments: format!("{receptacle} {location}"),
                    what: "the receptacle already has another place".to_string(),
                });
            }
        }
        let mut accepted: HashMap<&str, Set> = HashMap::new();
        for [receptacle, object] in self.facts.of("cancontain") {
            *accepted.entry(receptacle).or_default() |= self.objects_of(&[object]);
        }
        let table = self.receptacles.ids.iter().map(|id| {
            let types = self.receptacle_types.get(id).map_or(&[][..], Vec::as_slice);
            Receptacle {
                id: id.to_string(),
                name: self.names.of(id).to_string(),
                kind: types.first().map_or("", |kind| without_type(kind)).to_string(),
                site: site_of.get(id).copied(),
                accepts: types.iter().filter_map(|kind| accepted.get(kind)).fold(0, |all, set| all | set),
            }
        });
        Ok(table.collect())
    }

    fn object_table(&self, receptacles: &[Receptacle]) -> Vec<Object> {
        let table = self.objects.ids.iter().map(|id| {
            let kind = self.object_types.get(id).and_then(|types| types.first());
            Object {
                id: id.to_string(),
                name: self.names.of(id).to_string(),
                kind: kind.map_or("", |kind| without_type(kind)).to_string(),
                rank: receptacles.partition_point(|r| r.name.as_str() < self.names.of(id)) as u8,
            }
        });
        table.collect()
    }

    fn site_table(&self, receptacles: &[Receptacle]) -> Vec<Site> {
        let table = (0u8..).zip(&self.sites.ids).map(|(n, id)| {
            let here = |r: &u8| receptacles[usize::from(*r)].site == Some(n);
            let listed: Vec<u8> = self.receptacles.listed.iter().copied().filter(here).collect();
            let receptacles = listed.iter().fold(0, |set: Set, r| set | 1 << r);
            Site { receptacles, listed, name: self.names.of(id).to_string() }
        });
        table.collect()
    }

    fn stations(&self, variant: Variant) -> Stations {
        let sink_types: &[&str] = match variant {
            Variant::Repository => &["sinkbasintype"],
            Variant::Data | Variant::Legacy => &["sinktype", "sinkbasintype"],
        };
        Stations {
            openable: self.receptacles.set(&self.facts, "openable"),
            sinks: self.receptacles_of(sink_types),
            microwaves: self.receptacles_of(&["microwavetype"]),
            fridges: self.receptacles_of(&["fridgetype"]),
        }
    }

    fn abilities(&self) -> Abilities {
        let set = |predicate: &str| self.objects.set(&self.facts, predicate);
        Abilities {
            pickupable: set("pickupable"),
            cleanable: set("cleanable"),
            heatable: set("heatable"),
            coolable: set("coolable"),
            toggleable: set("toggleable"),
            sliceable: set("sliceable"),
            blades: self.objects_of(&["knifetype", "butterknifetype"]),
            vessels: set("isreceptacleobject"),
        }
    }

    fn initial(&self) -> Result<State, GameError> {
        let set = |predicate: &str| self.objects.set(&self.facts, predicate);
        let mut initial = State::new(self.receptacles.ids.len(), self.sites.ids.len(), self.start);
        initial.held = match (self.facts.of("holds"), self.facts.of("holdsany")) {
            ([], []) => None,
            ([[_, object]], [_]) => Some(self.objects.number[object]),
            _ => {
                return Err(GameError::Agent(
                    "(:init ...) is at odds with itself about what the agent holds",
                ));
            }
        };
        initial.opened = self.receptacles.set(&self.facts, "opened");
        initial.clean = set("isclean");
        initial.hot = set("ishot");
        initial.cool = set("iscool");
        initial.sliced = set("issliced");
        initial.toggled = set("istoggled");
        for [object, receptacle] in self.facts.of("inreceptacle") {
            *initial.contents_mut(self.receptacles.number[receptacle]) |= 1 << self.objects.number[object];
        }
        for [object, location] in self.facts.of("objectatlocation") {
            if let (Some(o), Some(site)) = (self.objects.number.get(object), self.sites.number.get(location))
            {
                *initial.present_mut(*site) |= 1 << o;
            }
        }
        Ok(initial)
    }

    fn goal(&self, condition: Condition, abilities: &Abilities) -> Goal {
        let (objects, receptacles, lamps) = match &condition {
            Condition::Place { object, receptacle, treatment } => {
                let treatable = match treatment {
                    None => Set::MAX,
                    Some(Treatment::Clean) => abilities.cleanable,
                    Some(Treatment::Heat) => abilities.heatable,
                    Some(Treatment::Cool) => abilities.coolable,
                };
                (self.objects_of(&[object]) & treatable, self.receptacles_of(&[receptacle]), 0)
            }
            Condition::PlaceTwo { object, receptacle } => {
                (self.objects_of(&[object]), self.receptacles_of(&[receptacle]), 0)
            }
            Condition::Light { object, lamp } => {
                (self.objects_of(&[object]), 0, self.objects_of(&[lamp]) & abilities.toggleable)
            }
        };
        Goal { condition, objects, receptacles, lamps }
    }

    /// What lies inside objects that hold things, as lists in words.
    fn inside(&self) -> HashMap<u8, String> {
        let mut inside: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for [inner, outer] in self.facts.of("inreceptacleobject") {
            inside.entry(outer).or_default().push(inner);
        }
        let lists = inside.into_iter().filter_map(|(outer, mut inner)| {
            inner.sort_unstable();
            inner.dedup();
            let mut words = String::new();
            super::text::list(&mut words, "a ", inner.iter().map(|id| self.names.of(id)));
            Some((*self.objects.number.get(outer)?, words))
        });
        lists.collect()
    }
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
        let compiler = Compiler::new(&problem)?;
        let receptacles = compiler.receptacle_table()?;
        let abilities = compiler.abilities();
        let mut game = Self {
            variant,
            task: task.to_string(),
            goal: compiler.goal(condition, &abilities),
            objects: compiler.object_table(&receptacles),
            sites: compiler.site_table(&receptacles),
            receptacles,
            abilities,
            stations: compiler.stations(variant),
            inside: compiler.inside(),
            initial: compiler.initial()?,
            phrases: Default::default(),
            intro: String::new(),
            listed: compiler.objects.listed,
        };
        game.phrases = super::command::Phrases::new(&game);
        game.intro = super::text::intro(&game, &compiler.receptacles.listed);
        Ok(game)
    }
}
