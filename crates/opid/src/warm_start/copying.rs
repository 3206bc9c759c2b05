//! Practice in copying: random tokens, then the same ones once more.
//!
//! Nothing but what followed the same token before tells what comes next, so attention that looks it up (an induction
//! head) is learnt within a few hundred short updates. From episodes alone, where copying is a small part of what brings
//! the loss down, a small model takes thousands; and what an agent says of a request is copied much like this: after the
//! name of an option comes its value. With many different tokens from the beginning nothing is learnt at all, so
//! their number grows.

use opid_env::random::Draw;

use super::lesson::{Lesson, LessonBuilder};
use crate::recipe::Stage;

/// Different tokens at the beginning.
pub(super) const FEW: usize = 64;
/// Loss below which these are copied well enough to take the whole vocabulary: guessing among those that were shown costs
/// three times as much.
const LEARNT: f64 = 1.0;
/// The most tokens of the repetition that only say where it begins.
const CUE: usize = 4;

/// The tokens to go on with after an update with this loss: so many of the first of a vocabulary.
pub(super) fn grown(alphabet: usize, loss: f64, vocabulary: usize) -> usize {
    if loss < LEARNT { vocabulary } else { alphabet }
}

/// `count` examples, each up to `length` of the first `alphabet` tokens, and then the same from any of them on, round to
/// where it began; all but the first of these are learnt.
pub(super) fn lesson(count: usize, length: usize, alphabet: usize, budget: usize, keys: [u64; 3]) -> Lesson {
    let mut lesson = LessonBuilder::new(budget);
    for example in 0..count {
        let mut draw = Draw::new(&[keys[0], keys[1], keys[2], example as u64]);
        let length = draw.between(Stage::LEAST_COPYING, length);
        // Of few different ones, a single token does not tell what follows it.
        let different = draw.between(Stage::LEAST_COPYING, length);
        let tokens: Vec<u32> = (0..different).map(|_| draw.below(alphabet) as u32).collect();
        let mut shown: Vec<u32> = (0..length).map(|_| tokens[draw.below(different)]).collect();
        lesson.packer.end_tree();
        let root = lesson.packer.start();
        let node = lesson.packer.extend(root, &shown);
        shown.rotate_left(draw.below(length));
        let (cue, rest) = shown.split_at(draw.between(1, CUE));
        let node = lesson.packer.extend(node, cue);
        lesson.learn(node, rest, 1.0);
    }
    lesson.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_grows_when_it_is_learnt() {
        assert_eq!([3.0, 1.1, 0.9].map(|loss| grown(64, loss, 4000)), [64, 64, 4000]);
    }

    #[test]
    fn what_is_learnt_was_shown_before() {
        let lesson = lesson(20, 64, 100, 256, [1, 2, 3]);
        assert!(lesson.packs.len() > 1 && lesson.weights.iter().all(|weight| *weight == 1.0));
        let targets: usize = lesson.packs.iter().map(|pack| pack.numbers.len()).sum();
        let rows: usize = lesson.packs.iter().map(|pack| pack.batch.rows()).sum();
        assert_eq!(targets, lesson.weights.len());
        // Of each example at most the cue is neither.
        assert!(2 * targets < rows && 2 * (targets + 20 * CUE) >= rows, "{targets} of {rows}");
    }
}
