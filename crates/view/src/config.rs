//! Configurations: flat, compared, and grouped by what differs in nothing but the seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use toml::Table;

use crate::run::Run;

/// Keys in which runs of a group may differ.
const OWN: [&str; 2] = ["name", "seed"];

/// Every key, dotted, with its value as TOML writes it.
pub fn flat(table: &Table) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    add(table, "", &mut keys);
    keys
}

fn add(table: &Table, above: &str, keys: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let place = format!("{above}{name}");
        match value {
            toml::Value::Table(table) => add(table, &format!("{place}."), keys),
            value => {
                keys.insert(place, value.to_string());
            }
        }
    }
}

/// The keys in which runs differ: `{"key": ..., "values": [...]}` with a value, or null, for every run.
pub fn differences(runs: &[Run]) -> Vec<Value> {
    let all: Vec<BTreeMap<String, String>> = runs.iter().map(|run| flat(&run.config)).collect();
    let mut keys: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let differs = |key: &&&String| all.iter().any(|config| config.get(**key) != all[0].get(**key));
    let values = |key: &String| all.iter().map(|config| config.get(key)).collect::<Vec<_>>();
    keys.iter().filter(differs).map(|key| json!({ "key": key, "values": values(key) })).collect()
}

/// Runs that differ in their seeds only.
pub struct Group {
    /// Name for people.
    pub name: String,
    /// Numbers of the runs.
    pub runs: Vec<usize>,
}

/// The groups of runs, in the order of their first.
pub fn groups(runs: &[Run]) -> Vec<Group> {
    let mut groups: Vec<(BTreeMap<String, String>, Vec<usize>)> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let mut config = flat(&run.config);
        OWN.iter().for_each(|key| drop(config.remove(*key)));
        match groups.iter_mut().find(|(known, _)| *known == config) {
            Some((_, members)) => members.push(number),
            None => groups.push((config, vec![number])),
        }
    }
    let named = |(_, members): (_, Vec<usize>)| {
        let names: Vec<String> = members.iter().map(|&run| runs[run].name()).collect();
        Group { name: common(&names), runs: members }
    };
    groups.into_iter().map(named).collect()
}

/// What names begin with alike, without a number or separators at its end; of one name all of it.
fn common(names: &[String]) -> String {
    let [first, rest @ ..] = names else { return String::new() };
    if rest.is_empty() {
        return first.clone();
    }
    let alike = |other: &String| first.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let most = rest.iter().map(alike).min().unwrap_or(0);
    let start: String = first.chars().take(most).collect();
    let ends = |c: char| c.is_ascii_digit() || "_-/. ".contains(c);
    let name = start.trim_end_matches(ends).trim_end_matches("seed").trim_end_matches(ends);
    if name.is_empty() { first.clone() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_what_names_have_in_common() {
        for (names, expected) in [
            (&["opid_1", "opid_2"][..], "opid"),
            (&["grpo/seed_1", "grpo/seed_2"], "grpo"),
            (&["run10", "run11"], "run"),
            (&["a", "b"], "a"),
            (&["only_1"], "only_1"),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(common(&names), expected);
        }
    }
}
