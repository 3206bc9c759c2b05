//! Properties of tree batches: every distinct prefix is one row, and every sequence reads back.

use std::collections::{HashMap, HashSet};

use opid_lm::batch::{Node, TreeBatch, TreeBuilder};
use proptest::prelude::*;

/// A sequence added to one of a few trees: a prefix and the tokens scored after it, continued in
/// pieces.
#[derive(Clone, Debug)]
struct Added {
    tree: usize,
    prefix: Vec<u32>,
    scored: Vec<u32>,
}

impl Added {
    fn tokens(&self) -> Vec<u32> {
        [&self.prefix[..], &self.scored[..]].concat()
    }
}

const TREES: usize = 3;

/// Few different tokens, so that many prefixes are shared.
fn added() -> impl Strategy<Value = Vec<Added>> {
    let tokens = |least| prop::collection::vec(0u32..3, least..9);
    let one = (0..TREES, tokens(1), tokens(0));
    let one = one.prop_map(|(tree, prefix, scored)| Added { tree, prefix, scored });
    prop::collection::vec(one, 0..24)
}

/// The rows a row sees, itself last: the context of its run, then the run up to it.
fn path(batch: &TreeBatch, row: usize) -> Vec<usize> {
    let run = batch.runs().iter().find(|run| run.rows.contains(&row)).expect("every row has a run");
    run.context.iter().cloned().flatten().chain(run.rows.start..=row).collect()
}

fn build(all: &[Added]) -> (TreeBatch, Vec<std::ops::Range<usize>>, usize) {
    let mut builder = TreeBuilder::new();
    let roots: Vec<Node> = (0..TREES).map(|_| builder.root()).collect();
    let mut targets = Vec::new();
    for a in all {
        let (first, rest) = a.prefix.split_at(a.prefix.len() / 2);
        let node = builder.extend(roots[a.tree], first);
        let node = builder.extend(node, rest);
        targets.push(builder.score(node, &a.scored).1);
    }
    let rows = builder.rows();
    (builder.build(), targets, rows)
}

proptest! {
    #[test]
    fn every_distinct_prefix_of_a_target_is_one_row(all in added()) {
        let (batch, _, announced) = build(&all);
        // What comes before a target is computed; what nothing is scored after is only announced.
        let (mut prefixes, mut held) = (HashSet::new(), HashSet::new());
        for a in &all {
            let tokens = a.tokens();
            let before = if a.scored.is_empty() { 0 } else { tokens.len() - 1 };
            prefixes.extend((1..=before).map(|n| (a.tree, tokens[..n].to_vec())));
            held.extend((1..=tokens.len()).map(|n| (a.tree, tokens[..n].to_vec())));
        }
        prop_assert_eq!(batch.rows(), prefixes.len());
        prop_assert_eq!(announced, held.len());
        prop_assert_eq!(batch.trees(), TREES);
        // Read back, the rows are those prefixes, none twice.
        let mut read = HashSet::new();
        for run in batch.runs() {
            for row in run.rows.clone() {
                let rows = path(&batch, row);
                prop_assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
                prop_assert_eq!(batch.positions()[row] as usize + 1, rows.len());
                let tokens: Vec<u32> = rows.iter().map(|&r| batch.tokens()[r]).collect();
                prop_assert!(read.insert((run.tree, tokens)));
            }
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn every_sequence_reads_back_from_its_targets(all in added()) {
        let (batch, targets, _) = build(&all);
        prop_assert_eq!(batch.targets(), all.iter().map(|a| a.scored.len()).sum::<usize>());
        for (a, targets) in all.iter().zip(targets) {
            let tokens = a.tokens();
            for (n, target) in targets.enumerate() {
                let before = path(&batch, batch.target_rows()[target] as usize);
                let before: Vec<u32> = before.iter().map(|&r| batch.tokens()[r]).collect();
                prop_assert_eq!(&before[..], &tokens[..a.prefix.len() + n]);
                prop_assert_eq!(batch.target_tokens()[target], tokens[a.prefix.len() + n]);
            }
        }
    }

    #[test]
    fn runs_cover_the_rows_in_order(all in added()) {
        let (batch, _, _) = build(&all);
        let mut next = 0;
        let mut tree_of = HashMap::new();
        for run in batch.runs() {
            prop_assert_eq!(run.rows.start, next);
            prop_assert!(run.rows.end > next);
            next = run.rows.end;
            tree_of.extend(run.rows.clone().map(|row| (row, run.tree)));
            for row in run.context.iter().cloned().flatten() {
                prop_assert_eq!(tree_of[&row], run.tree, "a row sees another tree");
            }
        }
        prop_assert_eq!(next, batch.rows());
    }
}
