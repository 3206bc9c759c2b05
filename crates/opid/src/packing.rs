//! Laying episodes out as tree batches of bounded size, and finding their tokens again.

use std::ops::Range;

use opid_lm::batch::{Node, TreeBatch, TreeBuilder};

use crate::trajectory::Trajectory;

/// One turn of one episode, as the reference's "row", and where its response tokens stand among all
/// response tokens of the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of the trajectory.
    pub trajectory: usize,
    /// Index of the turn in it.
    pub turn: usize,
    /// Numbers of its response tokens.
    pub tokens: Range<usize>,
}

/// The rows of a list of trajectories, in order.
pub fn rows(trajectories: &[Trajectory]) -> Vec<Row> {
    let mut all = Vec::new();
    let mut next = 0;
    for (trajectory, t) in trajectories.iter().enumerate() {
        for (turn, record) in t.turns.iter().enumerate() {
            let tokens = next..next + record.response.len();
            next = tokens.end;
            all.push(Row { trajectory, turn, tokens });
        }
    }
    all
}

/// A tree batch and the number each of its targets goes by outside.
#[derive(Debug)]
pub struct Pack {
    /// The batch.
    pub batch: TreeBatch,
    /// Outside number of each target.
    pub numbers: Vec<usize>,
}

/// Fills tree batches up to a number of tokens.
///
/// Sequences added to one tree share their prefixes. A tree is closed early when the batch is full, so
/// that memory stays bounded; only sharing is lost then.
pub struct Packer {
    budget: usize,
    builder: TreeBuilder,
    root: Option<Node>,
    numbers: Vec<usize>,
    packs: Vec<Pack>,
}

impl Packer {
    /// A packer of batches of about `budget` tokens.
    pub fn new(budget: usize) -> Self {
        Packer { budget, builder: TreeBuilder::new(), root: None, numbers: Vec::new(), packs: Vec::new() }
    }

    /// Ends the present tree: what follows shares nothing with it.
    pub fn end_tree(&mut self) {
        self.root = None;
    }

    /// Where a sequence of the present tree starts; may first put away a full batch.
    pub fn start(&mut self) -> Node {
        if self.builder.rows() >= self.budget {
            self.flush();
        }
        self.again()
    }

    /// Where a sequence starts that shares much with the last one: in the same batch, full or not.
    pub fn again(&mut self) -> Node {
        *self.root.get_or_insert_with(|| self.builder.root())
    }

    /// Continues a sequence.
    pub fn extend(&mut self, node: Node, tokens: &[u32]) -> Node {
        self.builder.extend(node, tokens)
    }

    /// Continues a sequence by tokens to be scored, whose outside numbers are given.
    pub fn score(&mut self, node: Node, tokens: &[u32], numbers: Range<usize>) -> Node {
        assert_eq!(tokens.len(), numbers.len(), "one number for each scored token");
        self.numbers.extend(numbers);
        self.builder.score(node, tokens).0
    }

    fn flush(&mut self) {
        self.root = None;
        if self.builder.rows() > 0 {
            let batch = std::mem::take(&mut self.builder).build();
            self.packs.push(Pack { batch, numbers: std::mem::take(&mut self.numbers) });
        }
    }

    /// The batches that are full by now.
    pub fn full(&mut self) -> Vec<Pack> {
        std::mem::take(&mut self.packs)
    }

    /// All further batches.
    pub fn finish(mut self) -> Vec<Pack> {
        self.flush();
        self.packs
    }
}

/// Batches in which every response token of the given rows is a target, numbered as in the rows.
///
/// `rows` are consecutive rows of `trajectories` and begin with a whole trajectory.
pub fn pack_responses(trajectories: &[Trajectory], rows: &[Row], budget: usize) -> Vec<Pack> {
    let mut packer = Packer::new(budget);
    let mut group = None;
    let mut node = None;
    for row in rows {
        let t = &trajectories[row.trajectory];
        if group != Some(t.group) {
            packer.end_tree();
            group = Some(t.group);
        }
        let turn = &t.turns[row.turn];
        let from = match node {
            Some(node) if row.turn > 0 && t.layout.is_transcript() => node,
            _ => packer.start(),
        };
        let prompt = packer.extend(from, &turn.prompt);
        node = Some(packer.score(prompt, &turn.response, row.tokens.clone()));
    }
    packer.finish()
}
