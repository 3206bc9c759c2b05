//! A tree batch gives the log-probabilities and gradients of separate sequences, and the decoder
//! those of the scorer.

use std::ops::Range;

use opid_lm::batch::{TreeBatch, TreeBuilder};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::{TokenGrad, TokenStats};
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::sampling::{Sampling, choose};

/// A number in [0, 1) that depends on `i` alone.
fn uniform(i: u64) -> f64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn model(family: Family) -> Model {
    let config = ModelConfig {
        family,
        vocab_size: 97,
        hidden_size: 48,
        intermediate_size: 80,
        num_layers: 3,
        num_heads: 6,
        num_kv_heads: 2,
        head_dim: 16,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: family == Family::Qwen3,
        max_position_embeddings: 512,
        eos_token_ids: vec![0],
    };
    let mut model = Model::random(config, uniform);
    // Larger than at the start of training, so that attention is far from uniform.
    for t in model.layout.tensors.clone().iter().filter(|t| !t.name.ends_with("norm.weight")) {
        model.weights[t.range.clone()].iter_mut().for_each(|w| *w *= 4.0);
    }
    model
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    (0..n as u64).map(|i| (uniform(seed * 1000 + i) * 97.0) as u32).collect()
}

/// Numbers of the same targets in the tree and in the separate sequences.
type Twins = (Range<usize>, Range<usize>);

/// A group of two episodes of three turns, each turn with a branch whose history holds a skill.
/// Returns the tree and the same paths as separate trees, with the target numbers of each path.
fn tree_and_paths() -> (TreeBatch, TreeBatch, Vec<Twins>) {
    let (mut tree, mut flat, mut pairs) = (TreeBuilder::new(), TreeBuilder::new(), Vec::new());
    let task = tokens(70, 1);
    let root = tree.root();
    let root = tree.extend(root, &task);
    for episode in 0..2 {
        let (mut node, mut history) = (root, task.clone());
        let mut branches = Vec::new();
        for turn in 0..3 {
            let observation = tokens(9 + turn * 31, 10 + episode * 10 + turn as u64);
            let response = tokens(6, 50 + episode * 10 + turn as u64);
            let skill = tokens(8, 90 + turn as u64);
            branches.push((node, history.clone(), [skill, observation.clone()].concat(), response.clone()));
            let (next, targets) = {
                let observed = tree.extend(node, &observation);
                tree.score(observed, &response)
            };
            history.extend(&observation);
            let root = flat.root();
            let base = flat.extend(root, &history);
            let (_, alone) = flat.score(base, &response);
            pairs.push((targets, alone));
            history.extend(&response);
            node = next;
        }
        for (node, history, context, response) in branches {
            let node = tree.extend(node, &context);
            let (_, targets) = tree.score(node, &response);
            let root = flat.root();
            let base = flat.extend(root, &[history, context].concat());
            let (_, alone) = flat.score(base, &response);
            pairs.push((targets, alone));
        }
    }
    (tree.build(), flat.build(), pairs)
}

fn coefficient(i: usize) -> TokenGrad {
    TokenGrad {
        logprob: (uniform(7000 + i as u64) - 0.5) as f32,
        entropy: (uniform(9000 + i as u64) - 0.5) as f32,
    }
}

#[test]
fn a_tree_equals_separate_sequences() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let model = model(family);
        let (tree, flat, pairs) = tree_and_paths();
        assert!(tree.rows() * 2 < flat.rows(), "{} rows against {}", tree.rows(), flat.rows());
        let mut ws = Workspace::new(&model);
        let mut number = vec![usize::MAX; tree.targets()];
        pairs.iter().for_each(|(t, f)| t.clone().zip(f.clone()).for_each(|(t, f)| number[f] = t));
        let (mut g_tree, mut g_flat) = (vec![0.0; model.len()], vec![0.0; model.len()]);
        let of_tree = |i: usize, _: TokenStats| coefficient(i);
        let of_flat = |i: usize, _: TokenStats| coefficient(number[i]);
        let s_tree = ws.forward_backward(&model, &tree, 0.7, &of_tree, &mut g_tree);
        let s_flat = ws.forward_backward(&model, &flat, 0.7, &of_flat, &mut g_flat);
        for (f, t) in number.iter().enumerate() {
            assert!((s_tree[*t].logprob - s_flat[f].logprob).abs() < 2e-5, "{family:?} target {t}");
            assert!((s_tree[*t].entropy - s_flat[f].entropy).abs() < 2e-5, "{family:?} target {t}");
        }
        let only_scores = ws.score(&model, &tree, 0.7);
        assert_eq!(only_scores, s_tree, "scoring and training differ");
        for t in &model.layout.tensors {
            let (a, b) = (&g_tree[t.range.clone()], &g_flat[t.range.clone()]);
            let norm = b.iter().map(|v| v * v).sum::<f32>().sqrt();
            let diff = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt();
            assert!(diff <= 1e-4 * norm, "{family:?} gradient of {}: {diff} of {norm}", t.name);
        }
    }
}

#[test]
fn layers_computed_again_give_the_same_gradient() {
    for (family, precision) in
        [(Family::Qwen2, Precision::F32), (Family::Qwen3, Precision::F32), (Family::Qwen3, Precision::Bf16)]
    {
        let model = Model { precision, ..model(family) };
        let (tree, flat, _) = tree_and_paths();
        let (mut kept, mut again) = (Workspace::new(&model), Workspace::new(&model).recomputing(true));
        // Batches of different size after one another, with scoring between: what is left of one must not
        // reach the next.
        for batch in [&tree, &flat, &tree] {
            let (mut g_kept, mut g_again) = (vec![0.0; model.len()], vec![0.0; model.len()]);
            let loss = |i: usize, _: TokenStats| coefficient(i % 50);
            let s_kept = kept.forward_backward(&model, batch, 0.7, &loss, &mut g_kept);
            let s_again = again.forward_backward(&model, batch, 0.7, &loss, &mut g_again);
            assert_eq!(s_kept, s_again);
            assert_eq!(g_kept, g_again, "{family:?} {precision:?}");
            assert_eq!(again.score(&model, batch, 0.7), s_kept);
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let mut model = model(family);
        let (tree, _, _) = tree_and_paths();
        let mut ws = Workspace::new(&model);
        let objective = |ws: &mut Workspace, model: &Model| -> f64 {
            let stats = ws.score(model, &tree, 1.0);
            let terms = stats.iter().enumerate().map(|(i, s)| {
                let c = coefficient(i);
                c.logprob as f64 * s.logprob as f64 + c.entropy as f64 * s.entropy as f64
            });
            terms.sum()
        };
        let mut grad = vec![0.0; model.len()];
        ws.forward_backward(&model, &tree, 1.0, &|i, _| coefficient(i), &mut grad);
        // Along the gradient of each tensor, where the change is largest against rounding.
        for t in model.layout.tensors.clone() {
            let g: Vec<f32> = grad[t.range.clone()].to_vec();
            let norm = g.iter().map(|&v| v as f64 * v as f64).sum::<f64>().sqrt();
            let h = 2e-3 / norm;
            let moved = |model: &mut Model, sign: f64| {
                for (w, g) in model.weights[t.range.clone()].iter_mut().zip(&g) {
                    *w += (sign * h * *g as f64) as f32;
                }
            };
            moved(&mut model, 1.0);
            let up = objective(&mut ws, &model);
            moved(&mut model, -2.0);
            let down = objective(&mut ws, &model);
            moved(&mut model, 1.0);
            let slope = (up - down) / (2.0 * h);
            assert!(
                (slope - norm * norm).abs() < 0.02 * norm * norm,
                "{family:?} {}: slope {slope}, gradient {}",
                t.name,
                norm * norm
            );
        }
    }
}

/// In bf16 the log-probabilities and gradients stay near those of f32: rounding to 8 bits of mantissa is
/// off by up to 0.4 %, of numbers that here are summed in hundreds over three layers.
#[test]
fn bf16_stays_near_f32() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let mut model = model(family);
        let (tree, _, _) = tree_and_paths();
        let run = |model: &Model| {
            let mut grad = vec![0.0; model.len()];
            let loss = |i: usize, _: TokenStats| coefficient(i);
            let stats = Workspace::new(model).forward_backward(model, &tree, 1.0, &loss, &mut grad);
            (stats, grad)
        };
        let (exact, g_exact) = run(&model);
        model.precision = Precision::Bf16;
        let (rounded, g_rounded) = run(&model);
        assert_ne!(exact, rounded, "bf16 changes nothing");
        let gap = |(a, b): (&TokenStats, &TokenStats)| (a.logprob - b.logprob).abs();
        let mean = exact.iter().zip(&rounded).map(gap).sum::<f32>() / exact.len() as f32;
        assert!(mean < 0.03, "{family:?}: mean gap {mean} nats");
        for t in &model.layout.tensors {
            let (a, b) = (&g_rounded[t.range.clone()], &g_exact[t.range.clone()]);
            let norm = b.iter().map(|v| v * v).sum::<f32>().sqrt();
            let diff = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt();
            assert!(diff <= 0.08 * norm, "{family:?} gradient of {}: {diff} of {norm}", t.name);
        }
    }
}

#[test]
fn the_sampler_gives_the_scorers_log_probabilities() {
    let families = [Family::Qwen2, Family::Qwen3];
    // In bf16, sums of another order round to another neighbour now and then.
    let cases = families.into_iter().flat_map(|f| [(f, Precision::F32, 1e-5), (f, Precision::Bf16, 2e-2)]);
    for (family, precision, bound) in cases {
        let mut model = model(family);
        model.precision = precision;
        let mut decoder = Decoder::new(&model);
        let task = tokens(40, 3);
        let mut shared = Sequence::default();
        decoder.extend(&mut [Entry { sequence: &mut shared, tokens: &task }]);
        let mut sequences = vec![shared; 5];
        let mut batch = TreeBuilder::new();
        let root = batch.root();
        let root = batch.extend(root, &task);
        let mut nodes = [root; 5];
        let mut sampled = Vec::new();
        for turn in 0..3u64 {
            let mut pending: Vec<Vec<u32>> =
                (0..5u64).map(|e| tokens(4 + e as usize * 20, 200 + turn * 10 + e)).collect();
            let observations = pending.clone();
            let mut responses = vec![Vec::new(); 5];
            for k in 0..6u64 {
                let mut entries: Vec<Entry<'_>> = sequences
                    .iter_mut()
                    .zip(&pending)
                    .map(|(sequence, tokens)| Entry { sequence, tokens })
                    .collect();
                let mut logits = decoder.extend(&mut entries);
                for (e, row) in logits.chunks_exact_mut(97).enumerate() {
                    let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
                    let c = choose(row, sampling, uniform(turn * 1000 + k * 10 + e as u64));
                    responses[e].push(c);
                    pending[e] = vec![c.token];
                }
            }
            for e in 0..5 {
                let node = batch.extend(nodes[e], &observations[e]);
                let response: Vec<u32> = responses[e].iter().map(|c| c.token).collect();
                let (node, targets) = batch.score(node, &response);
                sampled.extend(targets.zip(responses[e].iter().map(|c| c.logprob)));
                // The last sampled token is fed with the next observation.
                nodes[e] = node;
            }
            for (e, sequence) in sequences.iter_mut().enumerate() {
                decoder.extend(&mut [Entry { sequence, tokens: &pending[e] }]);
            }
        }
        let stats = Workspace::new(&model).score(&model, &batch.build(), 0.8);
        for (target, logprob) in sampled {
            let diff = (stats[target].logprob - logprob).abs();
            assert!(diff < bound * logprob.abs().max(1.0), "{family:?} {precision:?}: {diff}");
        }
    }
}

#[test]
fn a_truncated_sequence_goes_on_as_if_it_had_never_been_longer() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut model = model(Family::Qwen3);
        model.precision = precision;
        let mut decoder = Decoder::new(&model);
        let mut extend =
            |sequence: &mut Sequence, tokens: &[u32]| decoder.extend(&mut [Entry { sequence, tokens }]);
        let (long, other) = (tokens(150, 3), tokens(30, 4));
        let mut whole = Sequence::default();
        extend(&mut whole, &long);
        for kept in [1, 63, 64, 65, 128, 150] {
            let mut sequence = whole.clone();
            sequence.truncate(kept);
            assert_eq!(sequence.len(), kept);
            let mut alone = Sequence::default();
            extend(&mut alone, &long[..kept]);
            assert_eq!(extend(&mut sequence, &other), extend(&mut alone, &other), "{precision:?} {kept}");
        }
        let mut sequence = whole.clone();
        sequence.truncate(151);
        assert_eq!(sequence.len(), 150, "nothing to take away");
        let mut alone = Sequence::default();
        extend(&mut alone, &long);
        assert_eq!(
            extend(&mut whole, &other),
            extend(&mut alone, &other),
            "{precision:?}: clones are left alone"
        );
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let model = model(Family::Qwen3);
    let (tree, _, _) = tree_and_paths();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut grad = vec![0.0; model.len()];
            let loss = |i: usize, _: TokenStats| coefficient(i);
            let stats = Workspace::new(&model).forward_backward(&model, &tree, 1.0, &loss, &mut grad);
            (stats, grad)
        })
    };
    assert_eq!(run(1), run(3));
}
