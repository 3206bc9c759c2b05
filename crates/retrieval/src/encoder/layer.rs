//! The layers of BERT:
//!
//! ```text
//! x = norm(word + position + type)
//! x = norm(x + output(attention(x)));  x = norm(x + down(gelu(up(x))))
//! ```
//!
//! with `gelu(x) = x (1 + erf(x / sqrt 2)) / 2` and attention of all tokens of a text to one another.

use std::path::Path;

use multiversion::multiversion;
use opid_lm::checkpoint::Weights;
use opid_lm::error::LoadError;
use opid_lm::fused;
use opid_lm::kernels::math::{LANES, exp, exp_shifted, max, total};
use opid_lm::kernels::matmul::{Output, product};
use opid_lm::kernels::panel::{Matrix, Panels};
use opid_lm::kernels::tile::Format;

use super::config::BertConfig;

/// Reads a tensor of the given shape.
fn read(weights: &Weights, folder: &Path, name: String, expected: &[usize]) -> Result<Vec<f32>, LoadError> {
    let found = weights.shape(&name)?;
    if found != expected {
        return Err(LoadError::Shape {
            path: folder.to_owned(),
            name,
            found: found.to_vec(),
            expected: expected.to_vec(),
        });
    }
    Ok(weights.tensor_f32(&name)?.1)
}

/// A matrix and what is added to its products.
struct Linear {
    panels: Panels,
    bias: Vec<f32>,
}

impl Linear {
    /// Reads several of as many `inputs` as one, whose outputs stand side by side; each is named, with its outputs.
    fn read(
        weights: &Weights,
        folder: &Path,
        parts: &[String],
        (inputs, outputs): (usize, usize),
    ) -> Result<Self, LoadError> {
        let (mut matrix, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            matrix.extend(read(weights, folder, format!("{part}.weight"), &[outputs, inputs])?);
            bias.extend(read(weights, folder, format!("{part}.bias"), &[outputs])?);
        }
        let mut panels = Panels::default();
        panels.fill_transposed(Matrix::new(&matrix, inputs), inputs, bias.len(), Format::F32);
        Ok(Linear { panels, bias })
    }

    /// Writes the products of the rows of `x`.
    fn apply(&self, x: &[f32], out: &mut [f32]) {
        let outputs = self.bias.len();
        let rows = out.len() / outputs;
        out.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(&self.bias));
        product(Output::add(out, outputs), Matrix::new(x, self.panels.depth()), rows, &self.panels);
    }
}

/// Layer normalisation.
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn read(weights: &Weights, folder: &Path, name: &str, config: &BertConfig) -> Result<Self, LoadError> {
        let size = [config.hidden_size];
        Ok(Norm {
            weight: read(weights, folder, format!("{name}.weight"), &size)?,
            bias: read(weights, folder, format!("{name}.bias"), &size)?,
            epsilon: config.layer_norm_eps as f32,
        })
    }
}

/// Adds `more` to each row of `x`, where there is any, and normalises it.
#[multiversion(targets = "simd")]
fn add_and_normalize(x: &mut [f32], more: &[f32], norm: &Norm) {
    let width = norm.weight.len();
    for (row, more) in x.chunks_exact_mut(width).zip(more.chunks_exact(width)) {
        row.iter_mut().zip(more).for_each(|(x, more)| *x += more);
        normalize(row, norm);
    }
}

#[inline(always)]
fn normalize(row: &mut [f32], norm: &Norm) {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    for ((x, weight), bias) in row.iter_mut().zip(&norm.weight).zip(&norm.bias) {
        *x = (*x - mean) * scale * weight + bias;
    }
}

/// The sum of `f(x)`.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f(chunk[lane]);
        }
    }
    total(sums) + tail.iter().map(|x| f(*x)).sum::<f32>()
}

/// `x (1 + erf(x / sqrt 2)) / 2`. The error function is formula 7.1.26 of Abramowitz and Stegun, off by at most 1.5e-7.
#[multiversion(targets = "simd")]
fn gelu(x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        *chunk = chunk.map(|x| gelu_of(x, fused!()));
    }
    tail.iter_mut().for_each(|x| *x = gelu_of(*x, fused!()));
}

#[inline(always)]
fn gelu_of(x: f32, fused: bool) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let sum = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let erf = 1.0 - sum * exp(-z * z, fused);
    0.5 * (x + x.abs() * erf)
}

/// Turns rows of `width` scores into shares that sum to 1, after scaling them.
#[multiversion(targets = "simd")]
fn softmax(scores: &mut [f32], width: usize, scale: f32) {
    for row in scores.chunks_exact_mut(width) {
        row.iter_mut().for_each(|x| *x *= scale);
        let shift = max(row);
        let (sum, _) = exp_shifted(row, shift, fused!());
        let inverse = 1.0 / sum;
        row.iter_mut().for_each(|x| *x *= inverse);
    }
}

/// Working memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// The state of every token: rows of the model's width.
    pub states: Vec<f32>,
    /// Query, key and value of every token, side by side.
    heads: Vec<f32>,
    /// What a sub-layer gives.
    result: Vec<f32>,
    /// What attention gives, before its output matrix.
    mixed: Vec<f32>,
    inner: Vec<f32>,
    scores: Vec<f32>,
    keys: Panels,
    values: Panels,
}

impl Scratch {
    /// Takes the sizes that so many tokens need.
    pub fn make_room(&mut self, tokens: usize, config: &BertConfig) {
        for (buffer, width) in [
            (&mut self.states, config.hidden_size),
            (&mut self.heads, 3 * config.hidden_size),
            (&mut self.result, config.hidden_size),
            (&mut self.mixed, config.hidden_size),
            (&mut self.inner, config.intermediate_size),
        ] {
            buffer.resize(tokens * width, 0.0);
        }
    }
}

/// What tokens are before the first layer.
pub(super) struct Embedding {
    words: Vec<f32>,
    /// Positions, to each of which the first type is added.
    positions: Vec<f32>,
    norm: Norm,
}

impl Embedding {
    pub fn read(
        weights: &Weights,
        folder: &Path,
        prefix: &str,
        config: &BertConfig,
    ) -> Result<Self, LoadError> {
        let width = config.hidden_size;
        let table = |name: &str, rows: usize| {
            read(weights, folder, format!("{prefix}embeddings.{name}_embeddings.weight"), &[rows, width])
        };
        let mut positions = table("position", config.max_position_embeddings)?;
        let types = table("token_type", config.type_vocab_size)?;
        for row in positions.chunks_exact_mut(width) {
            row.iter_mut().zip(&types[..width]).for_each(|(x, more)| *x += more);
        }
        let norm = Norm::read(weights, folder, &format!("{prefix}embeddings.LayerNorm"), config)?;
        Ok(Embedding { words: table("word", config.vocab_size)?, positions, norm })
    }

    /// Writes the row of a token at a position.
    pub fn write(&self, token: usize, position: usize, row: &mut [f32]) {
        let width = row.len();
        row.copy_from_slice(&self.words[token * width..][..width]);
        add_and_normalize(row, &self.positions[position * width..][..width], &self.norm);
    }
}

/// One layer.
pub(super) struct Layer {
    heads: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
    /// Numbers of an attention head.
    head: usize,
}

impl Layer {
    pub fn read(
        weights: &Weights,
        folder: &Path,
        prefix: &str,
        number: usize,
        config: &BertConfig,
    ) -> Result<Self, LoadError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("{prefix}encoder.layer.{number}.{part}");
        let linear = |parts: &[&str], sizes| {
            let parts: Vec<String> = parts.iter().map(|part| name(part)).collect();
            Linear::read(weights, folder, &parts, sizes)
        };
        let heads = ["attention.self.query", "attention.self.key", "attention.self.value"];
        Ok(Layer {
            heads: linear(&heads, (width, width))?,
            output: linear(&["attention.output.dense"], (width, width))?,
            attention_norm: Norm::read(weights, folder, &name("attention.output.LayerNorm"), config)?,
            up: linear(&["intermediate.dense"], (width, inner))?,
            down: linear(&["output.dense"], (inner, width))?,
            norm: Norm::read(weights, folder, &name("output.LayerNorm"), config)?,
            head: config.head(),
        })
    }

    /// Takes the tokens of texts of these lengths, one behind the other, through the layer.
    pub fn apply(&self, lengths: &[usize], scratch: &mut Scratch) {
        self.heads.apply(&scratch.states, &mut scratch.heads);
        self.attend(lengths, scratch);
        self.output.apply(&scratch.mixed, &mut scratch.result);
        add_and_normalize(&mut scratch.states, &scratch.result, &self.attention_norm);
        self.up.apply(&scratch.states, &mut scratch.inner);
        gelu(&mut scratch.inner);
        self.down.apply(&scratch.inner, &mut scratch.result);
        add_and_normalize(&mut scratch.states, &scratch.result, &self.norm);
    }

    /// Every token's mean of the values of its text, weighted by how its query fits their keys.
    fn attend(&self, lengths: &[usize], scratch: &mut Scratch) {
        let width = self.norm.weight.len();
        let scale = 1.0 / (self.head as f32).sqrt();
        let mut start = 0;
        for &length in lengths {
            let all = Matrix::new(&scratch.heads, 3 * width).from(start, 0);
            scratch.scores.resize(length * length, 0.0);
            for first in (0..width).step_by(self.head) {
                scratch.keys.fill_transposed(all.from(0, width + first), self.head, length, Format::F32);
                scratch.values.fill(all.from(0, 2 * width + first), length, self.head, Format::F32);
                let scores = &mut scratch.scores[..length * length];
                product(Output::set(scores, length), all.from(0, first), length, &scratch.keys);
                softmax(scores, length, scale);
                let mixed = &mut scratch.mixed[start * width + first..];
                product(Output::set(mixed, width), Matrix::new(scores, length), length, &scratch.values);
            }
            start += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_that_of_the_error_function() {
        // Values of x erfc(-x / sqrt 2) / 2.
        for (x, expected) in [
            (-4.0, -1.266_849_7e-4),
            (-1.0, -0.158_655_25),
            (-0.1, -0.046_017_216),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (2.0, 1.954_499_7),
            (20.0, 20.0f32),
        ] {
            for fused in [false, true] {
                let got = gelu_of(x, fused);
                assert!((got - expected).abs() < 5e-7, "{x}: {got}");
            }
        }
    }
}
