//! Practice in copying: random tokens, then the same ones once more.
//!
//! Nothing but what followed the same token before tells what comes next, so attention that looks it up (an induction
//! head) is learnt within a few hundred short updates. From episodes alone, where copying is a small part of what brings
//! the loss down, a small model takes thousands; and what an agent says of a request is copied much like this: after the
//! name of an option comes its value. With many different tokens from the beginning nothing is learnt at all, so
//! their number grows.

use opid_env::random::Draw;

use super::lesson::{Lesson, LessonBuilder};

/// Different tokens at the beginning.
const FEW: usize = 64;
/// Shares of a stage's updates after which their number begins to grow, and is that of the vocabulary.
const GROWTH: [f64; 2] = [0.3, 0.6];
/// The fewest tokens that are shown, and the fewest different ones among them.
const LEAST: usize = 8;
/// The most tokens of the repetition that only say where it begins.
const CUE: usize = 4;

/// The tokens of a vocabulary that are used when `done` of a stage, from 0 to 1, is done: so many of the first.
pub(super) fn alphabet(vocabulary: usize, done: f64) -> usize {
    let grown = ((done - GROWTH[0]) / (GROWTH[1] - GROWTH[0])).clamp(0.0, 1.0);
    let few = FEW.min(vocabulary);
    ((few as f64).ln() * (1.0 - grown) + (vocabulary as f64).ln() * grown).exp().round() as usize
}

/// `count` examples, each up to `length` of the first `alphabet` tokens, and then the same from any of them on, round to
/// where it began; all but the first of these are learnt.
pub(super) fn lesson(count: usize, length: usize, alphabet: usize, budget: usize, keys: [u64; 3]) -> Lesson {
    let mut lesson = LessonBuilder::new(budget);
    for example in 0..count {
        let mut draw = Draw::new(&[keys[0], keys[1], keys[2], example as u64]);
        let length = draw.between(LEAST, length.max(LEAST));
        // Of few different ones, a single token does not tell what follows it.
        let different = draw.between(LEAST, length);
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
    fn the_alphabet_grows_to_the_vocabulary() {
        let sizes = [0.0, 0.3, 0.45, 0.6, 1.0].map(|done| alphabet(4096, done));
        assert_eq!(sizes, [64, 64, 512, 4096, 4096]);
        assert_eq!(alphabet(30, 0.0), 30);
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
