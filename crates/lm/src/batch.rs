//! A batch of token sequences as a forest: every distinct prefix is held, and computed, once.
//!
//! A node is a segment of tokens that continues its parent. Group members share the node of the task
//! prompt, the turns of an episode continue one another, and a context that differs from some turn on
//! (a skill in the history) is a branch.

use std::ops::Range;

/// A segment of a [`TreeBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// Consecutive rows that form one path, and the rows of their ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Rows of this path; row `i` sees the rows of the run before it.
    pub rows: Range<usize>,
    /// Rows every row of the run sees besides, in order of depth.
    pub context: Vec<Range<usize>>,
    /// The tree this run belongs to.
    pub tree: usize,
}

#[derive(Clone, Debug)]
struct Segment {
    rows: Range<usize>,
    run: usize,
}

/// A forest of token segments, one row per token.
#[derive(Clone, Debug, Default)]
pub struct TreeBatch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
    runs: Vec<Run>,
    trees: usize,
    target_rows: Vec<u32>,
    target_tokens: Vec<u32>,
}

impl TreeBatch {
    /// A batch without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a tree with `tokens`, which must not be empty.
    pub fn root(&mut self, tokens: &[u32]) -> Node {
        assert!(!tokens.is_empty(), "a tree needs at least one token");
        let start = self.tokens.len();
        let tree = self.trees;
        self.trees += 1;
        self.runs.push(Run { rows: start..start + tokens.len(), context: Vec::new(), tree });
        self.push(tokens, 0, self.runs.len() - 1)
    }

    /// Continues `parent` with `tokens`; returns `parent` itself when there are none.
    pub fn child(&mut self, parent: Node, tokens: &[u32]) -> Node {
        if tokens.is_empty() {
            return parent;
        }
        let end = self.segments[parent.0].rows.end;
        let run = self.segments[parent.0].run;
        let start = self.tokens.len();
        let position = self.positions[end - 1] + 1;
        // A child right behind its parent lengthens the parent's run, if the parent ends it.
        if end == start && self.runs[run].rows.end == end {
            self.runs[run].rows.end += tokens.len();
            return self.push(tokens, position, run);
        }
        let mut context = self.runs[run].context.clone();
        context.push(self.runs[run].rows.start..end);
        let tree = self.runs[run].tree;
        self.runs.push(Run { rows: start..start + tokens.len(), context, tree });
        self.push(tokens, position, self.runs.len() - 1)
    }

    fn push(&mut self, tokens: &[u32], position: u32, run: usize) -> Node {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((position..).take(tokens.len()));
        self.segments.push(Segment { rows: start..start + tokens.len(), run });
        Node(self.segments.len() - 1)
    }

    /// Continues `parent` with `tokens` and asks for the log-probability of each of them.
    ///
    /// Returns the new node and the numbers of the targets.
    pub fn scored_child(&mut self, parent: Node, tokens: &[u32]) -> (Node, Range<usize>) {
        let first = self.target_rows.len();
        let mut source = self.segments[parent.0].rows.end - 1;
        let node = self.child(parent, tokens);
        let start = self.tokens.len() - tokens.len();
        for (i, &token) in tokens.iter().enumerate() {
            self.target_rows.push(source as u32);
            self.target_tokens.push(token);
            source = start + i;
        }
        (node, first..self.target_rows.len())
    }

    /// Number of rows (tokens held).
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Number of targets.
    pub fn targets(&self) -> usize {
        self.target_rows.len()
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees
    }

    /// The token of every row.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The position (depth) of every row.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The paths attention works on.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The row whose output predicts each target.
    pub fn target_rows(&self) -> &[u32] {
        &self.target_rows
    }

    /// The token of each target.
    pub fn target_tokens(&self) -> &[u32] {
        &self.target_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_run_and_a_branch_sees_its_ancestors() {
        let mut batch = TreeBatch::new();
        let task = batch.root(&[1, 2, 3]);
        let (a, ta) = batch.scored_child(task, &[4, 5]);
        let a2 = batch.child(a, &[6]);
        let (_, tb) = batch.scored_child(task, &[7]);
        let skill = batch.child(a, &[8, 9]);
        let (_, tc) = batch.scored_child(skill, &[6, 10]);
        assert_eq!(batch.child(a2, &[]), a2);
        assert_eq!(batch.runs().len(), 3);
        assert_eq!(batch.runs()[0].rows, 0..6);
        assert_eq!(batch.runs()[1], Run { rows: 6..7, context: vec![0..3], tree: 0 });
        assert_eq!(batch.runs()[2], Run { rows: 7..11, context: vec![0..5], tree: 0 });
        assert_eq!(batch.positions(), &[0, 1, 2, 3, 4, 5, 3, 5, 6, 7, 8]);
        assert_eq!(ta, 0..2);
        assert_eq!(tb, 2..3);
        assert_eq!(tc, 3..5);
        assert_eq!(batch.target_rows(), &[2, 3, 2, 8, 9]);
        assert_eq!(batch.target_tokens(), &[4, 5, 7, 6, 10]);
    }
}
