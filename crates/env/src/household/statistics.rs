//! What real ALFWorld rooms look like: counts, placements, abilities and goals, boiled down.
//!
//! The table in `assets/household.json` was counted over the public ALFWorld games. The generator
//! draws from it, and the searching expert looks first where things mostly are.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

/// How often something occurs how many times per room.
pub type Histogram = BTreeMap<usize, f64>;

/// One kind of room.
#[derive(Debug, Deserialize)]
pub struct Room {
    /// How many games were counted.
    pub games: f64,
    /// How many receptacles of each type a room has.
    pub receptacles: BTreeMap<String, Histogram>,
    /// How many objects of each type a room has.
    pub objects: BTreeMap<String, Histogram>,
    /// Where objects of each type lie; `A+B` stands for both at once.
    pub placement: BTreeMap<String, BTreeMap<String, f64>>,
}

/// The whole table.
#[derive(Debug, Deserialize)]
pub struct Statistics {
    /// Rooms by name.
    pub rooms: BTreeMap<String, Room>,
    /// The object types that each receptacle type can hold.
    pub can_contain: BTreeMap<String, Vec<String>>,
    /// What can be done with each object type: letters for pick up, wash, heat, cool, slice, toggle,
    /// and `v` for a vessel.
    pub abilities: BTreeMap<String, String>,
    /// The goals of each kind of task: object type, receptacle (or lamp) type, number of games.
    pub goals: BTreeMap<String, Vec<(String, String, f64)>>,
}

/// The table, read once.
pub fn statistics() -> &'static Statistics {
    static TABLE: LazyLock<Statistics> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../assets/household.json"))
            .expect("assets/household.json is part of the program and is tested")
    });
    &TABLE
}

/// How likely an object of a type lies in a receptacle of a type; both in lower case.
pub fn likelihood(object: &str, receptacle: &str) -> f64 {
    static TABLE: LazyLock<HashMap<String, HashMap<String, f64>>> = LazyLock::new(|| {
        let mut table: HashMap<String, HashMap<String, f64>> = HashMap::new();
        for room in statistics().rooms.values() {
            for (object, places) in &room.placement {
                let row = table.entry(object.to_ascii_lowercase()).or_default();
                for (place, share) in places {
                    for receptacle in place.split('+') {
                        let seen = row.entry(receptacle.to_ascii_lowercase()).or_default();
                        *seen = share.max(*seen);
                    }
                }
            }
        }
        table
    });
    TABLE.get(object).and_then(|row| row.get(receptacle)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_is_known() {
        let table = statistics();
        for room in table.rooms.values() {
            for (object, places) in &room.placement {
                assert!(table.abilities.contains_key(object), "{object}");
                assert!(room.objects.contains_key(object), "{object}");
                for receptacle in places.keys().flat_map(|place| place.split('+')) {
                    assert!(room.receptacles.contains_key(receptacle), "{receptacle}");
                }
            }
        }
        assert!(likelihood("pillow", "bed") > 0.9);
        assert_eq!(likelihood("pillow", "fridge"), 0.0);
    }
}
