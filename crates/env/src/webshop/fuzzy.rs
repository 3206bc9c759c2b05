//! How alike two texts are, by their sets of words: the measure by which a shop's reward compares attributes and
//! options.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{difflib, python};

/// How the likeness of two texts, made from their words, is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// Matching blocks, as Python's `difflib` finds them: `thefuzz` 0.19, which the original pins.
    #[default]
    Blocks,
    /// The longest common subsequence: `thefuzz` from 0.20 on, by RapidFuzz.
    Subsequence,
}

/// `token_set_ratio` of two texts, 0 to 100; with [`Similarity::Blocks`] the order of the two matters.
pub fn token_set_ratio(first: &str, second: &str, similarity: Similarity) -> u32 {
    let (first, second) = (clean(first, similarity), clean(second, similarity));
    if first.is_empty() || second.is_empty() {
        return 0;
    }
    let (a, b): (BTreeSet<&str>, BTreeSet<&str>) =
        (python::words(&first).collect(), python::words(&second).collect());
    let join = |words: &mut dyn Iterator<Item = &&str>| words.copied().collect::<Vec<_>>().join(" ");
    let common = join(&mut a.intersection(&b));
    let with = |rest: String| python::strip(&format!("{common} {rest}")).to_owned();
    let (a, b) = (with(join(&mut a.difference(&b))), with(join(&mut b.difference(&a))));
    let of = |x: &str, y: &str| ratio(x, y, similarity);
    of(&common, &a).max(of(&common, &b)).max(of(&a, &b))
}

/// Words in lower case, between single spaces or more; characters of Latin-1 beyond ASCII go.
fn clean(text: &str, similarity: Similarity) -> String {
    let keeps_line = similarity == Similarity::Blocks;
    let kept = text.chars().filter(|c| !('\u{80}'..='\u{ff}').contains(c));
    let spaced: String =
        kept.map(|c| if python::is_alphanumeric(c) || (keeps_line && c == '_') { c } else { ' ' }).collect();
    python::strip(&spaced.to_lowercase()).to_owned()
}

fn ratio(a: &str, b: &str, similarity: Similarity) -> u32 {
    if a == b {
        return 100;
    }
    if a.is_empty() || b.is_empty() {
        return 0;
    }
    let share = match similarity {
        Similarity::Blocks => difflib::ratio(a, b),
        Similarity::Subsequence => rapidfuzz::fuzz::ratio(a.chars(), b.chars()),
    };
    (100.0 * share).round_ties_even() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_of_words() {
        let blocks = |a, b| token_set_ratio(a, b, Similarity::Blocks);
        assert_eq!(blocks("Machine Wash", "wash, machine"), 100);
        assert_eq!(blocks("", "x"), 0);
        assert_eq!(blocks("!!", "??"), 0);
        assert_eq!(blocks("blue", "('color', 'blue')"), 100);
        assert_eq!(blocks("(pack of 2 x 3.4 ounce)", "('color', 'pear flower')"), 32);
        assert_eq!(
            token_set_ratio("(pack of 2 x 3.4 ounce)", "('color', 'pear flower')", Similarity::Subsequence),
            37
        );
    }
}
