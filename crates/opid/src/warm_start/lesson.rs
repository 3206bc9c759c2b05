//! The batches of one update of supervised training.

use opid_lm::batch::Node;

use crate::packing::{Pack, Packer};

/// Batches, and the weight of each target by its number.
pub(super) struct Lesson {
    pub packs: Vec<Pack>,
    pub weights: Vec<f64>,
}

/// Lays examples out.
pub(super) struct LessonBuilder {
    pub packer: Packer,
    weights: Vec<f64>,
}

impl LessonBuilder {
    /// For batches of about `budget` tokens.
    pub fn new(budget: usize) -> Self {
        LessonBuilder { packer: Packer::new(budget), weights: Vec::new() }
    }

    /// Continues a sequence by tokens that are learnt with a weight.
    pub fn learn(&mut self, node: Node, tokens: &[u32], weight: f64) -> Node {
        let first = self.weights.len();
        self.weights.resize(first + tokens.len(), weight);
        self.packer.score(node, tokens, first..first + tokens.len())
    }

    /// What was laid out.
    pub fn build(self) -> Lesson {
        Lesson { packs: self.packer.finish(), weights: self.weights }
    }
}
