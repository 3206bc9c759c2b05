//! How alike two texts are: Ratcliff and Obershelp's ratio, as Python's `difflib.SequenceMatcher` has it, with its rule
//! for popular characters.

use std::collections::HashMap;

/// `2 M / T` with `T` characters in both texts and `M` in matching blocks; 1 of two empty texts.
pub fn ratio(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    match a.len() + b.len() {
        0 => 1.0,
        total => 2.0 * matching(&a, &b) as f64 / total as f64,
    }
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
