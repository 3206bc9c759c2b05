//! Questions about a made-up world, each with one answer that can be looked up.

use super::relation::{Kind, Relation};
use super::world::{Continent, Fact};
use crate::random::Draw;

/// Key that tells the random draws of this file apart.
const ORDER: u64 = 11;

/// How the answer is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// From a thing by its name along relations, one after the other.
    Chain(String, Vec<Relation>),
    /// The earlier of two years, each that of a thing by its name.
    Earlier([String; 2], Relation),
}

/// A question about the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The kind of question: `synth_1hop`, `synth_2hop`, `synth_3hop` or `synth_compare`.
    pub kind: &'static str,
    /// The question.
    pub text: String,
    /// Its answer.
    pub answer: String,
    /// How it is looked up.
    pub path: Path,
}

/// At most `most` questions of each kind about a continent, in random order.
pub fn puzzles(continent: &Continent, seed: u64, most: usize) -> Vec<Puzzle> {
    let mut chosen = Vec::new();
    for (number, hops) in [1, 2, 3, 0].into_iter().enumerate() {
        let mut all = if hops == 0 { comparisons(continent, seed) } else { chains(continent, hops) };
        Draw::new(&[seed, ORDER, number as u64]).shuffle(&mut all);
        all.truncate(most);
        chosen.append(&mut all);
    }
    Draw::new(&[seed, ORDER, 100]).shuffle(&mut chosen);
    chosen
}

/// Every chain of a length that neither returns nor names its answer.
fn chains(continent: &Continent, hops: usize) -> Vec<Puzzle> {
    let kind = ["synth_1hop", "synth_2hop", "synth_3hop"][hops - 1];
    let mut found = Vec::new();
    for (start, thing) in continent.things.iter().enumerate() {
        let mut open: Vec<(usize, Vec<usize>, Vec<Relation>)> = vec![(start, vec![start], Vec::new())];
        while let Some((at, seen, relations)) = open.pop() {
            for &relation in continent.things[at].kind.relations() {
                let Some(fact) = continent.fact(at, relation) else { continue };
                let relations = [&relations[..], &[relation]].concat();
                match fact {
                    Fact::Thing(next) if seen.contains(&next) => {}
                    Fact::Thing(next) if relations.len() < hops => {
                        open.push((next, [&seen[..], &[next]].concat(), relations));
                    }
                    _ if relations.len() == hops => {
                        let (text, answer) = (phrase(&thing.name, &relations), continent.words(fact));
                        if !text.contains(&answer) {
                            let path = Path::Chain(thing.name.clone(), relations);
                            found.push(Puzzle { kind, text, answer, path });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn phrase(start: &str, relations: &[Relation]) -> String {
    let named = relations.iter().fold(start.to_owned(), |name, relation| relation.of(&name));
    let asks = match relations.last().and_then(|relation| relation.leads_to()) {
        Some(Kind::Person) => "Who",
        _ => "What",
    };
    format!("{asks} is {named}?")
}

/// Pairs of things of a kind whose years differ, each thing with a few others.
fn comparisons(continent: &Continent, seed: u64) -> Vec<Puzzle> {
    const PARTNERS: usize = 3;
    let mut found = Vec::new();
    for (one, thing) in continent.things.iter().enumerate() {
        let years = thing.kind.relations().iter().filter(|r| r.leads_to().is_none());
        let same = |other: &usize| *other != one && continent.things[*other].kind == thing.kind;
        let kin: Vec<usize> = (0..continent.things.len()).filter(same).collect();
        for &relation in years {
            let mut draw = Draw::new(&[seed, ORDER, 200, one as u64, relation as u64]);
            let year = |thing| match continent.fact(thing, relation) {
                Some(Fact::Year(year)) => Some(year),
                _ => None,
            };
            let mut others = kin.clone();
            draw.shuffle(&mut others);
            for other in others.into_iter().take(PARTNERS) {
                let (Some(first), Some(second)) = (year(one), year(other)) else { continue };
                if first == second {
                    continue;
                }
                let happened = match relation {
                    Relation::Born => "born",
                    Relation::Founded => "founded",
                    _ => "made public",
                };
                let asks = if thing.kind == Kind::Person { "Who" } else { "Which" };
                let names = [thing.name.clone(), continent.things[other].name.clone()];
                found.push(Puzzle {
                    kind: "synth_compare",
                    text: format!("{asks} was {happened} earlier, {} or {}?", names[0], names[1]),
                    answer: names[usize::from(second < first)].clone(),
                    path: Path::Earlier(names, relation),
                });
            }
        }
    }
    found
}

impl Path {
    /// The path that a question of a made-up world asks for; nothing of other questions.
    pub fn parse(question: &str) -> Option<Path> {
        let question = question.trim().strip_suffix('?')?;
        if let Some((asked, names)) = question.split_once(" earlier, ") {
            let relation = match asked.split_once(" was ")?.1 {
                "born" => Relation::Born,
                "founded" => Relation::Founded,
                "made public" => Relation::Appeared,
                _ => return None,
            };
            let (one, other) = names.split_once(" or ")?;
            return Some(Path::Earlier([one.to_owned(), other.to_owned()], relation));
        }
        let mut rest = question.strip_prefix("Who is ").or_else(|| question.strip_prefix("What is "))?;
        let mut relations = Vec::new();
        loop {
            // The longest that fits: "the year of birth of" begins with "the year of".
            let fitting = Relation::ALL.into_iter().filter_map(|relation| {
                rest.strip_prefix(relation.of("").as_str()).map(|behind| (relation, behind))
            });
            let Some((relation, behind)) = fitting.min_by_key(|(_, behind)| behind.len()) else { break };
            relations.insert(0, relation);
            rest = behind;
        }
        (!relations.is_empty() && !rest.is_empty()).then(|| Path::Chain(rest.to_owned(), relations))
    }

    /// What the pages read so far say: the answer, or the name of the thing to look up next.
    pub fn follow(&self, pages: &str) -> Result<String, String> {
        match self {
            Path::Chain(start, relations) => relations.iter().try_fold(start.clone(), |thing, relation| {
                relation.find(&thing, pages).map(str::to_owned).ok_or(thing)
            }),
            Path::Earlier(names, relation) => {
                let mut years = Vec::new();
                for name in names {
                    let year = relation.find(name, pages).and_then(|year| year.parse::<u32>().ok());
                    years.push(year.ok_or_else(|| name.clone())?);
                }
                Ok(names[usize::from(years[1] < years[0])].clone())
            }
        }
    }

    /// The sentences of the pages read so far that say where to go on, or what the answer is.
    pub fn quote(&self, pages: &str) -> String {
        match self {
            Path::Chain(start, relations) => {
                let (mut thing, mut quoted) = (start.as_str(), "");
                for relation in relations {
                    let Some((next, sentence)) = relation.read(thing, pages) else { break };
                    (thing, quoted) = (next, sentence);
                }
                quoted.to_owned()
            }
            Path::Earlier(names, relation) => {
                let read = names.iter().filter_map(|name| relation.read(name, pages));
                read.map(|(_, sentence)| sentence).collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// How many lookups it takes.
    pub fn lookups(&self) -> usize {
        match self {
            Path::Chain(_, relations) => relations.len(),
            Path::Earlier(..) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::world::WorldConfig;

    #[test]
    fn every_answer_is_found_in_the_pages_it_leads_to_and_no_earlier() {
        let config = WorldConfig { size: 0.4, ..WorldConfig::default() };
        let continent = Continent::new(config, 0);
        let page = |name: &str| {
            let thing = continent.things.iter().position(|t| t.name == name).expect("a thing");
            continent.page(config.seed, 0, thing)
        };
        let all = puzzles(&continent, 0, 150);
        for kind in ["synth_1hop", "synth_2hop", "synth_3hop", "synth_compare"] {
            assert!(all.iter().filter(|p| p.kind == kind).count() > 50, "{kind}");
        }
        for puzzle in &all {
            let mut pages = String::new();
            let mut lookups = 0;
            let answer = loop {
                let found = puzzle.path.follow(&pages);
                let quoted = puzzle.path.quote(&pages);
                assert!(
                    pages.is_empty() == quoted.is_empty()
                        && quoted.split(". ").all(|said| pages.contains(said))
                );
                if let (Path::Chain(..), false, Ok(led) | Err(led)) = (&puzzle.path, pages.is_empty(), &found)
                {
                    assert!(quoted.ends_with(&format!("{led}.")), "{quoted}");
                }
                match found {
                    Ok(answer) => break answer,
                    Err(next) => pages.push_str(&format!("{}\n", page(&next))),
                }
                lookups += 1;
                assert!(lookups <= puzzle.path.lookups(), "{puzzle:?}");
            };
            assert_eq!(answer, puzzle.answer, "{puzzle:?}");
            assert_eq!(Path::parse(&puzzle.text).as_ref(), Some(&puzzle.path));
            // A page may happen to mention the other of two things.
            let given = matches!(puzzle.path, Path::Chain(..)) && lookups < puzzle.path.lookups();
            assert!(!given, "a page gives away more than its thing: {puzzle:?}");
        }
        assert_eq!(puzzles(&continent, 0, 150), all, "the same seed gives the same questions");
        for other in
            ["Who was born earlier?", "Who is", "Who is Ann?", "Why?", "", "Who was seen earlier, A or B?"]
        {
            assert_eq!(Path::parse(other), None, "{other}");
        }
    }
}
