//! How alike two texts are, by their sets of words: the measure by which a shop's reward compares attributes and
//! options.

use std::collections::{BTreeSet, HashMap};

use super::python;

/// How the likeness of two texts, made from their words, is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        Similarity::Blocks => {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            2.0 * matching(&a, &b) as f64 / (a.len() + b.len()) as f64
        }
        Similarity::Subsequence => rapidfuzz::fuzz::ratio(a.chars(), b.chars()),
    };
    (100.0 * share).round_ties_even() as u32
}

/// From this length of the second text on, characters that fill more than a hundredth of it start no block.
const LONG: usize = 200;

/// Characters in matching blocks: the longest block, then those left and right of it, and so on; of equal ones that
/// which begins first in `a`, then in `b`.
fn matching(a: &[char], b: &[char]) -> usize {
    let mut places: HashMap<char, Vec<usize>> = HashMap::new();
    for (at, &c) in b.iter().enumerate() {
        places.entry(c).or_default().push(at);
    }
    if b.len() >= LONG {
        places.retain(|_, at| at.len() <= b.len() / 100 + 1);
    }
    let mut total = 0;
    let mut parts = vec![(0..a.len(), 0..b.len())];
    // Lengths of the blocks that end at the present character of `a` and at each of `b`, shifted by one.
    let (mut ending, mut next) = (vec![0usize; b.len() + 1], vec![0usize; b.len() + 1]);
    while let Some((in_a, in_b)) = parts.pop() {
        let (mut x, mut y, mut size) = (in_a.start, in_b.start, 0);
        ending.fill(0);
        for i in in_a.clone() {
            next.fill(0);
            for &j in places.get(&a[i]).into_iter().flatten() {
                if j < in_b.start {
                    continue;
                }
                if j >= in_b.end {
                    break;
                }
                let length = ending[j] + 1;
                next[j + 1] = length;
                if length > size {
                    (x, y, size) = (i + 1 - length, j + 1 - length, length);
                }
            }
            std::mem::swap(&mut ending, &mut next);
        }
        while x > in_a.start && y > in_b.start && a[x - 1] == b[y - 1] {
            (x, y, size) = (x - 1, y - 1, size + 1);
        }
        while x + size < in_a.end && y + size < in_b.end && a[x + size] == b[y + size] {
            size += 1;
        }
        if size > 0 {
            total += size;
            parts.push((in_a.start..x, in_b.start..y));
            parts.push((x + size..in_a.end, y + size..in_b.end));
        }
    }
    total
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
