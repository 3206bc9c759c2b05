//! Writes a game down: its PDDL problem, and the `game.tw-pddl` file that ALFWorld can load.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::furnish::{Blueprint, LIGHT};
use super::statistics::statistics;

const DOMAIN: &str = include_str!("../../assets/alfworld/domain.pddl");
const GRAMMAR: &str = include_str!("../../assets/alfworld/grammar.twl2");
const TASK: &str = "Your task is to: ";

/// The predicates that the letters in the table of abilities stand for.
const ABILITIES: [(char, &str); 7] = [
    ('p', "pickupable"),
    ('w', "cleanable"),
    ('h', "heatable"),
    ('c', "coolable"),
    ('s', "sliceable"),
    ('t', "toggleable"),
    ('v', "isReceptacleObject"),
];

fn goal(blueprint: &Blueprint) -> String {
    let (object, receptacle) = (blueprint.goal.object, blueprint.goal.receptacle);
    let place = |more: &str| {
        format!(
            "(and (exists (?r - receptacle) (exists (?o - object) (and {more}(objectType ?o {object}Type) \
             (receptacleType ?r {receptacle}Type) (inReceptacle ?o ?r)))))"
        )
    };
    match blueprint.goal.kind {
        "pick_clean_then_place_in_recep" => place("(cleanable ?o) (isClean ?o) "),
        "pick_heat_then_place_in_recep" => place("(heatable ?o) (isHot ?o) "),
        "pick_cool_then_place_in_recep" => place("(coolable ?o) (isCool ?o) "),
        "pick_two_obj_and_place" => format!(
            "(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {object}Type) \
             (receptacleType ?r {receptacle}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and \
             (not (= ?o1 ?o2)) (objectType ?o2 {object}Type) (receptacleType ?r {receptacle}Type) \
             (inReceptacle ?o2 ?r)))))))"
        ),
        LIGHT => format!(
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and \
             (objectType ?ot {receptacle}Type) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) \
             (atLocation ?a ?l) (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and \
             (objectType ?o {object}Type) (holds ?a ?o))))"
        ),
        _ => place(""),
    }
}

impl Blueprint {
    /// The PDDL problem.
    pub fn problem(&self) -> String {
        let table = statistics();
        let furniture = &self.layout.furniture;
        let receptacle_kinds: BTreeSet<&str> = furniture.iter().map(|f| f.kind).collect();
        let object_kinds: BTreeSet<&str> = self.things.iter().map(|t| t.kind).collect();
        // The rules name these types, so they must be declared whether they occur or not.
        let named =
            (["SinkType", "SinkBasinType", "MicrowaveType", "FridgeType"], ["KnifeType", "ButterKnifeType"]);

        let mut text = String::with_capacity(16 << 10);
        let mut line = |parts: std::fmt::Arguments| {
            // Writing to a string cannot fail.
            let _ = text.write_fmt(parts);
            text.push('\n');
        };
        line(format_args!("(define (problem household)\n(:domain alfred)\n(:objects\nagent1 - agent"));
        self.things.iter().for_each(|thing| line(format_args!("{} - object", thing.id)));
        furniture.iter().for_each(|f| line(format_args!("{} - receptacle", f.id)));
        self.layout.sites.iter().for_each(|site| line(format_args!("{site} - location")));
        let types = |kinds: &BTreeSet<&str>, named: &[&str]| -> BTreeSet<String> {
            kinds.iter().map(|k| format!("{k}Type")).chain(named.iter().map(|k| k.to_string())).collect()
        };
        types(&receptacle_kinds, &named.0).iter().for_each(|kind| line(format_args!("{kind} - rtype")));
        types(&object_kinds, &named.1).iter().for_each(|kind| line(format_args!("{kind} - otype")));
        line(format_args!(")\n(:init"));
        if let Some(start) = self.layout.sites.last() {
            line(format_args!("(atLocation agent1 {start})"));
        }
        for f in furniture {
            line(format_args!("(receptacleType {} {}Type)", f.id, f.kind));
            line(format_args!("(receptacleAtLocation {} {})", f.id, self.layout.sites[f.site]));
            if f.openable {
                line(format_args!("(openable {})", f.id));
            }
        }
        for thing in &self.things {
            line(format_args!("(objectType {} {}Type)", thing.id, thing.kind));
            for letter in table.abilities[thing.kind].chars() {
                if let Some((_, predicate)) = ABILITIES.iter().find(|(l, _)| *l == letter) {
                    line(format_args!("({predicate} {})", thing.id));
                }
            }
            for place in &thing.places {
                line(format_args!("(inReceptacle {} {})", thing.id, furniture[*place].id));
            }
            if let Some(place) = thing.places.first() {
                let site = &self.layout.sites[furniture[*place].site];
                line(format_args!("(objectAtLocation {} {site})", thing.id));
            }
            if thing.cool {
                line(format_args!("(isCool {})", thing.id));
            }
        }
        for receptacle in &receptacle_kinds {
            for object in table.can_contain.get(*receptacle).into_iter().flatten() {
                if object_kinds.contains(object.as_str()) {
                    line(format_args!("(canContain {receptacle}Type {object}Type)"));
                }
            }
        }
        line(format_args!(")\n(:goal {})\n)", goal(self)));
        text
    }

    /// The text of a `game.tw-pddl` file with this problem and commands that win it.
    pub fn file(&self, walkthrough: &[String]) -> String {
        let grammar = GRAMMAR.replacen(TASK, &format!("{TASK}{}", self.task), 1);
        serde_json::json!({
            "pddl_domain": DOMAIN,
            "grammar": grammar,
            "pddl_problem": self.problem(),
            "solvable": true,
            "walkthrough": walkthrough,
        })
        .to_string()
    }
}
