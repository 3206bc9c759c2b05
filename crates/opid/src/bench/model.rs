//! How fast the language model is: training, scoring, reading prompts and sampling, with random weights
//! and random tokens.

use opid_env::random::Draw;
use opid_lm::batch::{TreeBatch, TreeBuilder};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::{TokenGrad, TokenStats};
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, MomentFormat, global_norm};
use opid_lm::sampling::{Sampling, choose};
use rayon::prelude::*;

use super::{Figure, Speed, memory, time};
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

/// A pool of threads that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} threads: {source}")]
pub struct ThreadsError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

/// Model A, with which Python peers were measured: 3.67 million parameters.
pub fn model_a() -> ModelConfig {
    ModelConfig {
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
    }
}

/// Model B, the shape of Qwen2.5-0.5B: 494 million parameters.
pub fn model_b() -> ModelConfig {
    ModelConfig {
        family: Family::Qwen2,
        vocab_size: 151_936,
        hidden_size: 896,
        intermediate_size: 4864,
        num_layers: 24,
        num_heads: 14,
        num_kv_heads: 2,
        head_dim: 64,
        ..model_a()
    }
}

/// The model of the built-in recipe.
pub fn recipe_model() -> ModelConfig {
    let warm = WarmStart::default();
    ModelConfig {
        vocab_size: warm.vocab_size,
        hidden_size: warm.hidden_size,
        intermediate_size: warm.intermediate_size,
        num_layers: warm.layers,
        num_heads: warm.heads,
        num_kv_heads: warm.kv_heads,
        head_dim: warm.head_dim,
        ..model_a()
    }
}

/// Speeds of a small model in f32 and bf16 on one thread, and what a second thread gains.
///
/// # Errors
/// The threads cannot be started.
pub fn small(name: &str, config: &ModelConfig, extent: Extent) -> Result<Vec<Figure>, ThreadsError> {
    let mut figures = Vec::new();
    for (precision, label) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
        let (trained, scored, (prefill, decode)) = on_threads(1, || {
            let mut model = random(config, precision);
            let batch = batch(config, extent);
            let generated = generate(&model, extent);
            let scored = score(&model, &batch, extent);
            (train(&mut model, &batch, extent, (MomentFormat::F32, false)), scored, generated)
        })?;
        for (work, speed) in [("train", trained), ("score", scored), ("prefill", prefill), ("decode", decode)]
        {
            figures.push(Figure::speed(format!("{work}/{name}/{label}"), speed));
        }
        if precision == Precision::F32 {
            let two = on_threads(2, || {
                train(
                    &mut random(config, precision),
                    &batch(config, extent),
                    extent,
                    (MomentFormat::F32, false),
                )
            })?;
            figures
                .push(Figure::ratio(&format!("threads/train/{name}"), two.per_second / trained.per_second));
        }
    }
    Ok(figures)
}

/// Speeds and memory of a large model in bf16 on one thread.
///
/// # Errors
/// The threads cannot be started.
pub fn large(name: &str, config: &ModelConfig, extents: &[Extent]) -> Result<Vec<Figure>, ThreadsError> {
    on_threads(1, || {
        let mut model = random(config, Precision::Bf16);
        let mut figures = Vec::new();
        for extent in extents {
            if extent.batch > 0 {
                let batch = batch(config, *extent);
                for (recompute, how) in [(false, ""), (true, "/recompute")] {
                    memory::reset_peak();
                    let speed = train(&mut model, &batch, *extent, (MomentFormat::Bf16, recompute));
                    figures.push(Figure::speed(format!("train/{name}/bf16{how}"), speed));
                    if let Some(bytes) = memory::peak() {
                        let value = bytes as f64 / (1u64 << 30) as f64;
                        let name = format!("memory/train/{name}/bf16{how}");
                        figures.push(Figure { name, value, unit: "GiB" });
                    }
                }
            }
            if extent.sequences > 0 {
                let (prefill, decode) = generate(&model, *extent);
                let of = |work| format!("{work}/{name}/batch{}/bf16", extent.sequences);
                figures.push(Figure::speed(of("prefill"), prefill));
                figures.push(Figure::speed(of("decode"), decode));
            }
        }
        figures
    })
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> Result<T, ThreadsError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|source| ThreadsError { threads, source })?;
    Ok(pool.install(work))
}

fn random(config: &ModelConfig, precision: Precision) -> Model {
    let mut model = Model::random(config.clone(), |i| Draw::new(&[1, i]).unit());
    model.precision = precision;
    model
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

/// Speed of forward, backward, clipping and AdamW.
fn train(
    model: &mut Model,
    batch: &TreeBatch,
    extent: Extent,
    (moments, recompute): (MomentFormat, bool),
) -> Speed {
    let mut workspace = Workspace::new(model).recomputing(recompute);
    let mut optimizer = AdamW::new(model.len(), AdamWConfig { moments, ..AdamWConfig::default() });
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

/// Speed of log-probabilities.
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
    let mut decoder = Decoder::new(model);
    for repetition in 0..=extent.repetitions {
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
    fn every_figure_is_measured() {
        let extent = Extent { batch: 2, length: 8, sequences: 3, prompt: 4, new: 2, repetitions: 1 };
        let mut figures = small("A", &model_a(), extent).expect("threads");
        assert_eq!(figures.len(), 9);
        figures.extend(large("recipe", &recipe_model(), &[extent]).expect("threads"));
        let names: Vec<&str> = figures.iter().map(|f| f.name.as_str()).collect();
        for name in ["train/A/f32", "decode/A/bf16", "threads/train/A", "decode/recipe/batch3/bf16"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(figures.iter().all(|f| f.value > 0.0), "{figures:?}");
    }
}
