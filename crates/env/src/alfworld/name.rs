//! Display names: `Drawer_bar__plus_01...` is shown as `drawer 3`.

use std::collections::HashMap;

/// The display names of all things that occur in a problem's initial facts.
pub struct Names<'a>(HashMap<&'a str, String>);

/// What a thing is called before its number; nothing for ids that are shown as they are.
fn base(id: &str) -> Option<String> {
    let (head, _) = id.split_once("_bar_")?;
    let mut base = head.to_string();
    for (coded, plain) in [("_minus_", "-"), ("_plus_", "+"), ("_dot_", "."), ("_comma_", ",")] {
        if base.contains(coded) {
            base = base.replace(coded, plain);
        }
    }
    if id.contains("basin") {
        base.push_str("basin");
    }
    Some(base)
}

impl<'a> Names<'a> {
    /// Names all ids: those with the same base are numbered downwards in the order of the ids.
    pub fn new(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut groups: HashMap<String, Vec<&str>> = HashMap::new();
        let mut names = HashMap::new();
        for id in ids {
            match base(id) {
                Some(base) => groups.entry(base).or_default().push(id),
                None => {
                    names.insert(id, format!("{id} "));
                }
            }
        }
        for (base, mut ids) in groups {
            ids.sort_unstable();
            for (number, id) in (1..=ids.len()).rev().zip(ids) {
                names.insert(id, format!("{base} {number}"));
            }
        }
        Self(names)
    }

    /// The name of an id; the id itself where it occurs in no initial fact.
    pub fn of<'b>(&'b self, id: &'b str) -> &'b str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_descend_in_the_order_of_ids() {
        let names = Names::new(["mug_bar_b", "mug_bar_a", "sink_bar_1_bar_sinkbasin", "agent1"].into_iter());
        assert_eq!(names.of("mug_bar_a"), "mug 2");
        assert_eq!(names.of("mug_bar_b"), "mug 1");
        assert_eq!(names.of("sink_bar_1_bar_sinkbasin"), "sinkbasin 1");
        assert_eq!(names.of("agent1"), "agent1 ");
    }
}
