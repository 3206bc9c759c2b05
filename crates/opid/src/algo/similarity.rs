//! How alike two texts are: Ratcliff and Obershelp's ratio, as Python's `difflib.SequenceMatcher` has it.
//!
//! `2 M / T` with `T` characters in both texts and `M` in common: the longest block that both have, the
//! first of equals, and so on before it and behind it. A text of 200 characters or more has *popular*
//! characters, more than one in a hundred plus one, that no block begins with or grows by at first; the
//! reference relies on that rule of Python's without saying so.

use std::collections::HashMap;

/// Characters from which on popular ones are left out.
const LONG: usize = 200;

/// The ratio of `a` to `b`, 0 to 1; 1 of two empty texts.
pub fn ratio(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let total = a.len() + b.len();
    if total == 0 {
        return 1.0;
    }
    let mut places = HashMap::<char, Vec<usize>>::new();
    b.iter().enumerate().for_each(|(j, c)| places.entry(*c).or_default().push(j));
    if b.len() >= LONG {
        let most = b.len() / 100 + 1;
        places.retain(|_, at| at.len() <= most);
    }
    let mut matching = 0;
    let mut open = vec![(0, a.len(), 0, b.len())];
    while let Some((a_from, a_to, b_from, b_to)) = open.pop() {
        let (i, j, size) = longest(&a, &b, &places, (a_from, a_to), (b_from, b_to));
        if size > 0 {
            matching += size;
            open.push((a_from, i, b_from, j));
            open.push((i + size, a_to, j + size, b_to));
        }
    }
    2.0 * matching as f64 / total as f64
}

/// Start in `a`, start in `b` and length of the longest common block within the bounds; of equals the first
/// in `a`, of these the first in `b`.
fn longest(
    a: &[char],
    b: &[char],
    places: &HashMap<char, Vec<usize>>,
    (a_from, a_to): (usize, usize),
    (b_from, b_to): (usize, usize),
) -> (usize, usize, usize) {
    let (mut best_i, mut best_j, mut size) = (a_from, b_from, 0);
    // Length of the block that ends at each place of `b`.
    let mut ending = HashMap::<usize, usize>::new();
    for (i, c) in a.iter().enumerate().take(a_to).skip(a_from) {
        let mut next = HashMap::new();
        for &j in places.get(c).into_iter().flatten() {
            if j < b_from {
                continue;
            }
            if j >= b_to {
                break;
            }
            let length = j.checked_sub(1).and_then(|j| ending.get(&j)).unwrap_or(&0) + 1;
            next.insert(j, length);
            if length > size {
                (best_i, best_j, size) = (i + 1 - length, j + 1 - length, length);
            }
        }
        ending = next;
    }
    // Popular characters at its ends belong to it after all.
    while best_i > a_from && best_j > b_from && a[best_i - 1] == b[best_j - 1] {
        (best_i, best_j, size) = (best_i - 1, best_j - 1, size + 1);
    }
    while best_i + size < a_to && best_j + size < b_to && a[best_i + size] == b[best_j + size] {
        size += 1;
    }
    (best_i, best_j, size)
}
