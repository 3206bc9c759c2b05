//! Scenes: which receptacles a room has, where they stand and which have doors.
//!
//! A scene is a function of its number alone. Games that share a scene share its receptacles and
//! differ in what lies where, as in ALFWorld.

use super::statistics::{Histogram, Room, statistics};
use crate::random::Draw;

/// A receptacle of a scene.
#[derive(Clone, Debug)]
pub struct Furniture {
    /// The type, for example `CounterTop`.
    pub kind: &'static str,
    /// The PDDL name.
    pub id: String,
    /// The number of the place it is reached from.
    pub site: usize,
    /// Whether it has a door.
    pub openable: bool,
}

/// The receptacles of a scene.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The name of the kind of room.
    pub room: &'static str,
    /// All receptacles.
    pub furniture: Vec<Furniture>,
    /// The PDDL names of the places; the last has no receptacles and is where the agent starts.
    pub sites: Vec<String>,
}

/// What a room must have, however small, for its tasks to be possible.
fn essentials(room: &str) -> &'static [&'static str] {
    match room {
        "kitchen" => &["Fridge", "Microwave", "SinkBasin", "CounterTop"],
        "living" => &["Sofa", "SideTable"],
        "bedroom" => &["Bed", "Desk"],
        _ => &["Toilet", "SinkBasin"],
    }
}

/// The share of receptacles of a type that have doors.
fn door_share(kind: &str) -> f64 {
    match kind {
        "Fridge" | "Microwave" => 1.0,
        "Drawer" => 0.84,
        "Cabinet" => 0.82,
        "Safe" => 0.85,
        _ => 0.0,
    }
}

/// Whether two types of receptacles are found within reach of one place, and how often.
fn sharing(one: &str, other: &str) -> f64 {
    let pair = |a: &str, b: &str| (one == a && other == b) || (one == b && other == a);
    if pair("StoveBurner", "StoveBurner") {
        0.3
    } else if pair("CoffeeMachine", "CounterTop") || pair("Toaster", "CounterTop") {
        0.2
    } else if pair("Cabinet", "Cabinet") || pair("Drawer", "Drawer") || pair("Shelf", "Shelf") {
        0.06
    } else if pair("Drawer", "Desk") || pair("Drawer", "Dresser") || pair("Drawer", "SideTable") {
        0.05
    } else {
        0.0
    }
}

/// A count drawn from a histogram whose shares may leave some room for zero.
pub(super) fn count(histogram: &Histogram, draw: &mut Draw) -> usize {
    let mut left = draw.unit();
    for (number, share) in histogram {
        if left < *share {
            return *number;
        }
        left -= share;
    }
    // Rounding leaves a little over where a thing is always there.
    if histogram.values().sum::<f64>() > 0.98 { histogram.keys().next().copied().unwrap_or(0) } else { 0 }
}

/// A coordinate as ALFWorld's ids have it, for example `_bar__minus_01_dot_25`.
pub(super) fn coordinates(draw: &mut Draw) -> String {
    let mut text = String::new();
    for _ in 0..3 {
        let sign = if draw.chance(0.5) { "plus" } else { "minus" };
        text.push_str(&format!("_bar__{sign}_{:02}_dot_{:02}", draw.below(4), draw.below(100)));
    }
    text
}

/// How many of which receptacles, at most `size` of them.
fn choose(name: &str, room: &'static Room, size: usize, draw: &mut Draw) -> Vec<&'static str> {
    let mut left: Vec<&'static str> = Vec::new();
    for (kind, histogram) in &room.receptacles {
        let needed = usize::from(essentials(name).contains(&kind.as_str()));
        left.extend((0..count(histogram, draw).max(needed)).map(|_| kind.as_str()));
    }
    let mut chosen = Vec::new();
    for essential in essentials(name) {
        if let Some(place) = left.iter().position(|kind| kind == essential) {
            chosen.push(left.swap_remove(place));
        }
    }
    while chosen.len() < size && !left.is_empty() {
        // Small rooms should still be varied: a type not yet there is likelier to come next.
        let weights: Vec<f64> =
            left.iter().map(|kind| if chosen.contains(kind) { 1.0 } else { 4.0 }).collect();
        let next = draw.weighted(&weights).unwrap_or(0);
        chosen.push(left.swap_remove(next));
    }
    chosen
}

impl Layout {
    /// The scene with this key; `size` bounds its number of receptacles.
    pub fn new(room: &'static str, size: (usize, usize), key: &[u64]) -> Self {
        let mut draw = Draw::new(key);
        let number = draw.between(size.0, size.1);
        let table = &statistics().rooms[room];
        let mut furniture: Vec<Furniture> = Vec::new();
        let mut sites = 0;
        for kind in choose(room, table, number, &mut draw) {
            let mut partners = furniture.iter().filter(|other| sharing(kind, other.kind) > 0.0);
            let partner = partners.next_back().filter(|other| draw.chance(sharing(kind, other.kind)));
            let site = partner.map_or(sites, |other| other.site);
            sites = sites.max(site + 1);
            let place = coordinates(&mut draw);
            let id = match kind {
                "SinkBasin" => format!("Sink{place}_bar_SinkBasin"),
                "BathtubBasin" => format!("Bathtub{place}_bar_BathtubBasin"),
                _ => format!("{kind}{place}"),
            };
            furniture.push(Furniture { kind, id, site, openable: draw.chance(door_share(kind)) });
        }
        let sites = (0..=sites).map(|number| {
            let (x, z, turn) = (number % 8, number / 8, draw.below(4));
            format!("loc_bar_{x}_bar_{z}_bar_{turn}_bar_45")
        });
        Self { room, furniture, sites: sites.collect() }
    }

    /// Whether there is a receptacle of this type.
    pub fn has(&self, kind: &str) -> bool {
        self.furniture.iter().any(|furniture| furniture.kind == kind)
    }
}
