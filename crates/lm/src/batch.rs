//! A batch of token sequences as a forest: every distinct prefix is held, and computed, once.
//!
//! Group members share the tokens of the task prompt, the turns of an episode continue one another,
//! and a context that differs from some token on (a skill in the history) is a branch. Nobody has to
//! say where: [`TreeBuilder`] finds what sequences have in common as they are added.

use std::collections::HashMap;
use std::ops::Range;

/// A place in a tree: the end of some prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(u32);

/// No node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    token: u32,
    parent: u32,
    first_child: u32,
    last_child: u32,
    sibling: u32,
}

/// Collects sequences and merges their common prefixes.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    links: Vec<Link>,
    /// The child of a node that holds a token, without first children: most nodes have no other.
    children: HashMap<(u32, u32), u32>,
    roots: Vec<u32>,
    targets: Vec<(u32, u32)>,
}

impl TreeBuilder {
    /// A builder without trees.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a tree: an empty prefix. Trees share nothing with one another.
    pub fn root(&mut self) -> Node {
        let id = self.links.len() as u32;
        self.links.push(Link { token: 0, parent: NONE, first_child: NONE, last_child: NONE, sibling: NONE });
        self.roots.push(id);
        Node(id)
    }

    /// The prefix `node` followed by `tokens`.
    pub fn extend(&mut self, node: Node, tokens: &[u32]) -> Node {
        tokens.iter().fold(node, |node, &token| self.child(node, token))
    }

    /// As [`extend`](Self::extend), and asks for the log-probability of each of `tokens`.
    ///
    /// Returns the numbers of the new targets. The tree must hold a token already: the first token
    /// of a sequence has no distribution to be scored under.
    pub fn score(&mut self, node: Node, tokens: &[u32]) -> (Node, Range<usize>) {
        assert!(self.links[node.0 as usize].parent != NONE, "the first token of a sequence cannot be scored");
        let first = self.targets.len();
        let end = tokens.iter().fold(node, |node, &token| {
            self.targets.push((node.0, token));
            self.child(node, token)
        });
        (end, first..self.targets.len())
    }

    fn child(&mut self, node: Node, token: u32) -> Node {
        let new = self.links.len() as u32;
        let parent = self.links[node.0 as usize];
        if parent.first_child == NONE {
            self.links[node.0 as usize].first_child = new;
        } else if self.links[parent.first_child as usize].token == token {
            return Node(parent.first_child);
        } else {
            let child = *self.children.entry((node.0, token)).or_insert(new);
            if child != new {
                return Node(child);
            }
            self.links[parent.last_child as usize].sibling = new;
        }
        self.links[node.0 as usize].last_child = new;
        let link = Link { token, parent: node.0, first_child: NONE, last_child: NONE, sibling: NONE };
        self.links.push(link);
        Node(new)
    }

    /// Number of tokens held so far, those included that nothing is scored after.
    pub fn rows(&self) -> usize {
        self.links.len() - self.roots.len()
    }

    /// Lays the trees out, depth first, one row per token that some target comes after.
    pub fn build(self) -> TreeBatch {
        // A child comes after its parent.
        let mut needed = vec![false; self.links.len()];
        self.targets.iter().for_each(|&(node, _)| needed[node as usize] = true);
        for (id, link) in self.links.iter().enumerate().rev() {
            if needed[id] && link.parent != NONE {
                needed[link.parent as usize] = true;
            }
        }
        let mut batch = TreeBatch { trees: self.roots.len(), ..TreeBatch::default() };
        let mut row_of = vec![NONE; self.links.len()];
        let mut run_of: Vec<usize> = Vec::with_capacity(self.rows());
        let mut stack = Vec::new();
        for (tree, &root) in self.roots.iter().enumerate() {
            stack.push(self.links[root as usize].first_child);
            while let Some(id) = stack.pop() {
                if id == NONE {
                    continue;
                }
                let link = self.links[id as usize];
                stack.push(link.sibling);
                if !needed[id as usize] {
                    continue;
                }
                let row = batch.tokens.len();
                row_of[id as usize] = row as u32;
                batch.tokens.push(link.token);
                let above =
                    if link.parent == root { None } else { Some(row_of[link.parent as usize] as usize) };
                batch.positions.push(above.map_or(0, |a| batch.positions[a] + 1));
                match above {
                    // Right behind its parent: the same run.
                    Some(above) if above + 1 == row => {
                        batch.runs[run_of[above]].rows.end += 1;
                        run_of.push(run_of[above]);
                    }
                    above => {
                        let context = above.map_or(Vec::new(), |above| {
                            let run: &Run = &batch.runs[run_of[above]];
                            let mut context = run.context.clone();
                            context.push(run.rows.start..above + 1);
                            context
                        });
                        run_of.push(batch.runs.len());
                        batch.runs.push(Run { rows: row..row + 1, context, tree });
                    }
                }
                stack.push(link.first_child);
            }
        }
        batch.target_rows = self.targets.iter().map(|&(node, _)| row_of[node as usize]).collect();
        batch.target_tokens = self.targets.iter().map(|&(_, token)| token).collect();
        batch
    }
}

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

/// A forest of tokens, one row each, and the tokens to be scored.
#[derive(Clone, Debug, Default)]
pub struct TreeBatch {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    runs: Vec<Run>,
    trees: usize,
    target_rows: Vec<u32>,
    target_tokens: Vec<u32>,
}

impl TreeBatch {
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

    // A context is a list of ranges, here lists of one.
    #[allow(clippy::single_range_in_vec_init)]
    #[test]
    fn common_prefixes_are_held_once() {
        let mut b = TreeBuilder::new();
        let root = b.root();
        let task = b.extend(root, &[1, 2, 3]);
        let (a, ta) = b.score(task, &[4, 5]);
        b.extend(a, &[6]);
        // A second episode that begins like the first and then differs.
        let (_, tb) = b.score(task, &[4, 7]);
        let skill = b.extend(a, &[8, 9]);
        let (_, tc) = b.score(skill, &[6, 10]);
        let other = b.root();
        let end = b.extend(other, &[1, 2]);
        let (_, td) = b.score(end, &[3]);
        b.extend(end, &[4, 5]);
        assert_eq!(b.rows(), 16);
        // Nothing is scored after the 6 and the 7, the 10, and what follows the 2 of the other tree.
        let batch = b.build();
        assert_eq!(batch.tokens(), &[1, 2, 3, 4, 5, 8, 9, 6, 1, 2]);
        assert_eq!(batch.positions(), &[0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
        assert_eq!(batch.trees(), 2);
        assert_eq!(batch.runs().len(), 2);
        assert_eq!(batch.runs()[0], Run { rows: 0..8, context: vec![], tree: 0 });
        assert_eq!(batch.runs()[1], Run { rows: 8..10, context: vec![], tree: 1 });
        assert_eq!((ta, tb, tc, td), (0..2, 2..4, 4..6, 6..7));
        assert_eq!(batch.target_rows(), &[2, 3, 2, 3, 6, 7, 9]);
        assert_eq!(batch.target_tokens(), &[4, 5, 4, 7, 6, 10, 3]);
    }
}
