//! A made-up world: things, what is known of them, a page about each, and questions that one must search for.
//!
//! Names are put together from a few words, so that no model has read of them, and even a small one can learn to copy
//! them. What is known is drawn once and for all from a seed. There are two continents that share no name: questions of
//! `train` and `valid_seen` are about the first, those of `valid_unseen` about the second; pages of both are searched.

use std::collections::HashSet;

use super::relation::{Kind, Relation};
use crate::random::Draw;

/// Things of each kind on a continent, before its size scales them.
const COUNTS: [(Kind, usize); 7] = [
    (Kind::Country, 8),
    (Kind::City, 40),
    (Kind::River, 16),
    (Kind::Organisation, 40),
    (Kind::Person, 160),
    (Kind::Film, 60),
    (Kind::Book, 40),
];

/// Keys that tell the random draws of this file apart.
const NAME: u64 = 1;
const FACT: u64 = 2;
const PAGE: u64 = 3;

/// Parts of names: few, so that even a small vocabulary has them all.
const FIRST: [&str; 64] = [
    "Amber", "Ashen", "Birch", "Black", "Bold", "Bright", "Broken", "Calm", "Cedar", "Clear", "Cold",
    "Copper", "Coral", "Crimson", "Dark", "Deep", "Distant", "Dry", "Early", "Eastern", "Elder", "Empty",
    "Fair", "Fallow", "Far", "Fern", "Flint", "Frozen", "Gentle", "Golden", "Grand", "Green", "Grey",
    "Hidden", "High", "Hollow", "Iron", "Ivory", "Last", "Late", "Little", "Lone", "Long", "Lost", "Low",
    "Maple", "Misty", "Narrow", "New", "Noble", "Northern", "Oaken", "Old", "Pale", "Proud", "Quiet", "Red",
    "Silent", "Silver", "Southern", "Still", "Sunken", "White", "Wild",
];
const SECOND: [&str; 64] = [
    "Anchor", "Arrow", "Bay", "Bell", "Bridge", "Brook", "Candle", "Castle", "Cliff", "Cloud", "Creek",
    "Crown", "Dale", "Dawn", "Drum", "Falcon", "Feather", "Field", "Flame", "Forge", "Fox", "Gate", "Glade",
    "Glen", "Harbor", "Harp", "Hawk", "Hearth", "Heron", "Hill", "Horn", "Island", "Key", "Lake", "Lantern",
    "Leaf", "Marsh", "Meadow", "Mill", "Mirror", "Moor", "Otter", "Path", "Pine", "Pond", "Quarry", "Raven",
    "Reed", "Ridge", "Ring", "River", "Root", "Sail", "Shore", "Sparrow", "Spring", "Stone", "Storm",
    "Tower", "Vale", "Well", "Willow", "Wolf", "Wood",
];

/// Words that are tried before longer ones are made.
const TRIES: usize = 64;

/// How large a world is, and what it is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldConfig {
    /// What everything is drawn from.
    pub seed: u64,
    /// Scales the number of things; 1 gives 364 on each continent.
    pub size: f64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig { seed: 0, size: 1.0 }
    }
}

/// A thing of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// Its name, which no other thing has.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What its relations lead to, in the order of [`Kind::relations`].
    pub facts: Vec<Fact>,
}

/// What a relation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Another thing, by its number on the continent.
    Thing(usize),
    /// A year.
    Year(u32),
}

/// Things that know of one another, and of no others.
#[derive(Clone, Debug, PartialEq)]
pub struct Continent {
    /// The things, kind by kind.
    pub things: Vec<Thing>,
}

impl Continent {
    /// Continent number `number` of a world.
    pub fn new(config: WorldConfig, number: u64) -> Self {
        let mut used = HashSet::new();
        let mut things: Vec<Thing> = Vec::new();
        for (kind, count) in COUNTS {
            let count = ((count as f64 * config.size).round() as usize).max(2);
            for i in 0..count {
                let mut draw = Draw::new(&[config.seed, NAME, number, kind as u64, i as u64]);
                // No two names have the same word.
                let mut tried = (0..).map(|tried| word(number, tried, &mut draw));
                let word = tried.find(|word| used.insert(word.clone())).expect("words without end");
                things.push(Thing { name: name(kind, &word, &mut draw), kind, facts: Vec::new() });
            }
        }
        let of_kind = |wanted: Kind| -> Vec<usize> {
            (0..things.len()).filter(|&i| things[i].kind == wanted).collect::<Vec<usize>>()
        };
        let mut facts: Vec<Vec<Fact>> = Vec::with_capacity(things.len());
        for (i, thing) in things.iter().enumerate() {
            let fact = |(r, relation): (usize, &Relation)| {
                let mut draw = Draw::new(&[config.seed, FACT, number, i as u64, r as u64]);
                match relation.leads_to() {
                    None => Fact::Year(draw.between(1600, 2020) as u32),
                    Some(kind) => {
                        let others: Vec<usize> = of_kind(kind).into_iter().filter(|&o| o != i).collect();
                        Fact::Thing(others[draw.below(others.len())])
                    }
                }
            };
            facts.push(thing.kind.relations().iter().enumerate().map(fact).collect());
        }
        things.iter_mut().zip(facts).for_each(|(thing, facts)| thing.facts = facts);
        Continent { things }
    }

    /// What a relation of a thing leads to.
    pub fn fact(&self, thing: usize, relation: Relation) -> Option<Fact> {
        let relations = self.things[thing].kind.relations();
        relations.iter().position(|r| *r == relation).map(|at| self.things[thing].facts[at])
    }

    /// What a fact is, in words.
    pub fn words(&self, fact: Fact) -> String {
        match fact {
            Fact::Thing(other) => self.things[other].name.clone(),
            Fact::Year(year) => year.to_string(),
        }
    }

    /// The page about a thing: its title in quotation marks, and below all that is known of it in random order, with a
    /// year of another thing like it.
    pub fn page(&self, seed: u64, number: u64, thing: usize) -> String {
        let mut draw = Draw::new(&[seed, PAGE, number, thing as u64]);
        let said = |of: usize, relation: Relation, draw: &mut Draw| {
            let fact = self.fact(of, relation)?;
            let sentence = relation.sentences()[draw.below(2)];
            Some(sentence.replace("{s}", &self.things[of].name).replace("{o}", &self.words(fact)))
        };
        let mut sentences: Vec<String> = Vec::new();
        for relation in self.things[thing].kind.relations() {
            sentences.extend(said(thing, *relation, &mut draw));
        }
        draw.shuffle(&mut sentences);
        // In passing, a year of another thing of the kind. None that a question could lead to from here: no step is
        // to be spared by it.
        let mut near = vec![thing];
        for _ in 0..2 {
            let from = near.clone();
            let next = from.iter().flat_map(|&t| &self.things[t].facts).filter_map(|fact| match fact {
                Fact::Thing(other) => Some(*other),
                Fact::Year(_) => None,
            });
            near.extend(next);
        }
        let kind = self.things[thing].kind;
        let alike = (0..self.things.len()).filter(|t| self.things[*t].kind == kind && !near.contains(t));
        let years = kind.relations().iter().copied().find(|r| r.leads_to().is_none());
        if let (Some(&other), Some(relation)) = (draw.pick(&alike.collect::<Vec<usize>>()), years) {
            sentences.extend(said(other, relation, &mut draw));
        }
        if sentences.is_empty() {
            sentences.push(format!("{} is a river.", self.things[thing].name));
        }
        format!("\"{}\"\n{}", self.things[thing].name, sentences.join(" "))
    }
}

/// A name for a thing of a kind.
fn name(kind: Kind, word: &str, draw: &mut Draw) -> String {
    match kind {
        Kind::Country | Kind::City | Kind::River | Kind::Person => word.to_owned(),
        Kind::Organisation => format!("{word} Company"),
        Kind::Film => {
            let about = ["Night", "Song", "Return", "House"][draw.below(4)];
            format!("The {about} of {word}")
        }
        Kind::Book => format!("The {word}"),
    }
}

/// A word that a continent has and the other has not, put together from two: both continents have all parts, but a pair
/// only one of them. The more words were tried in vain, the longer.
fn word(continent: u64, tried: usize, draw: &mut Draw) -> String {
    let (first, mut second) = (draw.below(FIRST.len()), draw.below(SECOND.len()));
    while Draw::new(&[NAME, first as u64, second as u64]).bits() % 2 != continent % 2 {
        second = (second + 1) % SECOND.len();
    }
    let more = (0..tried / TRIES).map(|_| SECOND[draw.below(SECOND.len())]);
    [FIRST[first], SECOND[second]].into_iter().chain(more).collect()
}
