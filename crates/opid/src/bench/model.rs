//! How fast the language model is: training, scoring, reading a prompt and sampling, with random
//! weights and random tokens.

use opid_env::random::Draw;
use opid_lm::batch::{TreeBatch, TreeBuilder};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::{TokenGrad, TokenStats};
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, global_norm};
use opid_lm::sampling::{Sampling, choose};
use rayon::prelude::*;
use serde::Serialize;

use super::{Speed, time};
use crate::recipe::WarmStart;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Sequences of a training batch.
    pub batch: usize,
    /// Tokens of each.
    pub length: usize,
    /// Sequences sampled together.
    pub sequences: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens sampled after each.
    pub new: usize,
    /// Repetitions, after one that does not count.
    pub repetitions: usize,
}

/// What was measured of one model with one number of threads.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The model.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: usize,
    /// Threads.
    pub threads: usize,
    /// Tokens trained on: forward, backward, clipping and AdamW.
    pub train: Speed,
    /// Tokens scored: forward and log-probabilities.
    pub score: Speed,
    /// Prompt tokens read before sampling.
    pub prefill: Speed,
    /// Tokens sampled.
    pub decode: Speed,
}

/// A pool of threads that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {source}")]
pub struct ThreadsError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

/// The models that are measured: the one Python peers were measured with, and the built-in recipe's.
pub fn models() -> [(&'static str, ModelConfig); 2] {
    let peers = ModelConfig {
        family: Family::Qwen3,
        vocab_size: 2048,
        hidden_size: 256,
        intermediate_size: 768,
        num_layers: 4,
        num_heads: 8,
        num_kv_heads: 4,
        head_dim: 32,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: true,
        max_position_embeddings: 4096,
        eos_token_ids: vec![0],
    };
    let warm = WarmStart::default();
    let recipe = ModelConfig {
        vocab_size: warm.vocab_size,
        hidden_size: warm.hidden_size,
        intermediate_size: warm.intermediate_size,
        num_layers: warm.layers,
        num_heads: warm.heads,
        num_kv_heads: warm.kv_heads,
        head_dim: warm.head_dim,
        ..peers.clone()
    };
    [("A (d 256, 4 layers)", peers), ("recipe (d 128, 3 layers)", recipe)]
}

/// Measures a model with a number of threads.
///
/// # Errors
/// The threads cannot be started.
pub fn measure(
    name: &'static str,
    config: &ModelConfig,
    threads: usize,
    extent: Extent,
) -> Result<Measured, ThreadsError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| ThreadsError { threads, source })?;
    Ok(pool.install(|| {
        let mut model = Model::random(config.clone(), |i| Draw::new(&[1, i]).unit());
        let (prefill, decode) = generate(&model, extent);
        let batch = batch(config, extent);
        let score = score(&model, &batch, extent);
        let train = train(&mut model, &batch, extent);
        let parameters = model.len();
        Measured { name, parameters, threads, train, score, prefill, decode }
    }))
}

fn tokens(config: &ModelConfig, key: u64, count: usize) -> Vec<u32> {
    let mut draw = Draw::new(&[2, key]);
    (0..count).map(|_| draw.below(config.vocab_size) as u32).collect()
}

/// Sequences that share nothing.
fn batch(config: &ModelConfig, extent: Extent) -> TreeBatch {
    let mut builder = TreeBuilder::new();
    for sequence in 0..extent.batch {
        let tokens = tokens(config, sequence as u64, extent.length.max(2));
        let root = builder.root();
        let first = builder.extend(root, &tokens[..1]);
        builder.score(first, &tokens[1..]);
    }
    builder.build()
}

fn train(model: &mut Model, batch: &TreeBatch, extent: Extent) -> Speed {
    let mut workspace = Workspace::new(model);
    let mut optimizer = AdamW::new(model.len(), AdamWConfig::default());
    let mut grad = vec![0.0; model.len()];
    let slope = -1.0 / batch.targets().max(1) as f32;
    let mut update = || {
        grad.fill(0.0);
        let loss = |_: usize, _: TokenStats| TokenGrad { logprob: slope, entropy: 0.0 };
        workspace.forward_backward(model, batch, 1.0, &loss, &mut grad);
        let scale = (1.0 / global_norm(&grad).max(1e-12)).min(1.0);
        optimizer.step(&mut model.weights, &grad, 1e-4, scale as f32);
    };
    update();
    let work = batch.rows() as f64;
    let repetitions: Vec<_> = (0..extent.repetitions).map(|_| (work, time(&mut update).1)).collect();
    Speed::of(&repetitions)
}

fn score(model: &Model, batch: &TreeBatch, extent: Extent) -> Speed {
    let mut workspace = Workspace::new(model);
    let mut pass = || workspace.score(model, batch, 1.0);
    pass();
    let work = batch.rows() as f64;
    let repetitions: Vec<_> = (0..extent.repetitions).map(|_| (work, time(&mut pass).1)).collect();
    Speed::of(&repetitions)
}

/// Speed of reading prompts and of sampling.
fn generate(model: &Model, extent: Extent) -> (Speed, Speed) {
    let config = &model.config;
    let prompts: Vec<Vec<u32>> =
        (0..extent.sequences).map(|s| tokens(config, s as u64, extent.prompt.max(1))).collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for repetition in 0..=extent.repetitions {
        let mut decoder = Decoder::new(model);
        let mut sequences = vec![Sequence::default(); extent.sequences];
        let (mut last, read) = time(|| {
            let mut logits = extend(&mut decoder, &mut sequences, &prompts);
            sample(config, &mut logits, 0)
        });
        let ((), sampled) = time(|| {
            for token in 1..=extent.new {
                let mut logits = extend(&mut decoder, &mut sequences, &last);
                last = sample(config, &mut logits, token as u64);
            }
        });
        if repetition > 0 {
            prefill.push(((extent.sequences * extent.prompt.max(1)) as f64, read));
            decode.push(((extent.sequences * extent.new) as f64, sampled));
        }
    }
    (Speed::of(&prefill), Speed::of(&decode))
}

fn extend(decoder: &mut Decoder<'_>, sequences: &mut [Sequence], tokens: &[Vec<u32>]) -> Vec<f32> {
    let entries = sequences.iter_mut().zip(tokens);
    let mut entries: Vec<_> = entries.map(|(sequence, tokens)| Entry { sequence, tokens }).collect();
    decoder.extend(&mut entries)
}

/// One token for every sequence, each in a list of its own as the decoder takes them.
fn sample(config: &ModelConfig, logits: &mut [f32], key: u64) -> Vec<Vec<u32>> {
    let rows = logits.par_chunks_mut(config.vocab_size).enumerate();
    rows.map(|(row, logits)| {
        let uniform = Draw::new(&[3, key, row as u64]).unit();
        vec![choose(logits, Sampling::default(), uniform).token]
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_measured() {
        let extent = Extent { batch: 2, length: 8, sequences: 3, prompt: 4, new: 2, repetitions: 1 };
        for (name, config) in models() {
            let m = measure(name, &config, 1, extent).expect("a thread");
            for speed in [m.train, m.score, m.prefill, m.decode] {
                assert!(speed.per_second > 0.0 && speed.per_cpu_second > 0.0, "{m:?}");
            }
        }
    }
}
