//! AdamW (Loshchilov and Hutter 2019) with global-norm clipping, over flat vectors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use multiversion::multiversion;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::kernels::math;

/// Floats per piece of work.
const PIECE: usize = 1 << 14;

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// Moments of every parameter.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Settings.
    pub config: AdamWConfig,
    /// First moments.
    pub m: Vec<f32>,
    /// Second moments.
    pub v: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

/// `sqrt(Σ g²)`, summed in pieces of fixed size.
pub fn global_norm(grad: &[f32]) -> f64 {
    let parts: Vec<f64> = grad.par_chunks(PIECE).map(|g| sum_of_squares(g) as f64).collect();
    parts.iter().sum::<f64>().sqrt()
}

#[multiversion(targets = "simd")]
fn sum_of_squares(g: &[f32]) -> f32 {
    math::dot(g, g)
}

/// One update of a piece of the parameters; `rate` and `root` hold the bias corrections.
#[multiversion(targets = "simd")]
fn step_piece(
    w: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    c: AdamWConfig,
    [rate, root, decay, scale]: [f32; 4],
) {
    let (g, m, v) = (&g[..w.len()], &mut m[..w.len()], &mut v[..w.len()]);
    for i in 0..w.len() {
        let g = g[i] * scale;
        m[i] = c.beta1 * m[i] + (1.0 - c.beta1) * g;
        v[i] = c.beta2 * v[i] + (1.0 - c.beta2) * g * g;
        w[i] = w[i] * decay - rate * m[i] / (v[i].sqrt() * root + c.eps);
    }
}

impl AdamW {
    /// Zero moments for `len` parameters.
    pub fn new(len: usize, config: AdamWConfig) -> Self {
        AdamW { config, m: vec![0.0; len], v: vec![0.0; len], steps: 0 }
    }

    /// One update with gradient `scale * grad`.
    pub fn step(&mut self, weights: &mut [f32], grad: &[f32], lr: f32, scale: f32) {
        self.steps += 1;
        let c = self.config;
        let correct = |beta: f32| 1.0 - (beta as f64).powf(self.steps as f64);
        let rate = (lr as f64 / correct(c.beta1)) as f32;
        let root = (1.0 / correct(c.beta2)).sqrt() as f32;
        let decay = 1.0 - lr * c.weight_decay;
        let pieces = weights.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
        let moments = self.m.par_chunks_mut(PIECE).zip(self.v.par_chunks_mut(PIECE));
        pieces
            .zip(moments)
            .for_each(|((w, g), (m, v))| step_piece(w, g, m, v, c, [rate, root, decay, scale]));
    }
}

/// Stored moments that cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct MomentsError {
    /// The file.
    path: PathBuf,
    /// What is wrong.
    reason: String,
}

impl AdamW {
    /// Writes the moments and the number of steps as one safetensors file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), MomentsError> {
        let fail = |reason: String| MomentsError { path: path.to_owned(), reason };
        let view = |values| TensorView::new(Dtype::F32, vec![self.m.len()], bytemuck::cast_slice(values));
        let tensors = [("m", view(&self.m)), ("v", view(&self.v))].into_iter();
        let tensors: Result<Vec<_>, _> = tensors.map(|(name, view)| Ok((name, view?))).collect();
        let tensors = tensors.map_err(|e: safetensors::SafeTensorError| fail(e.to_string()))?;
        let metadata = HashMap::from([("steps".to_owned(), self.steps.to_string())]);
        safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|e| fail(e.to_string()))
    }

    /// Reads what [`save`](Self::save) wrote for a model of `len` parameters.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or belongs to a model of another size.
    pub fn load(path: &Path, len: usize, config: AdamWConfig) -> Result<Self, MomentsError> {
        let fail = |reason: String| MomentsError { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let steps = header.metadata().as_ref().and_then(|m| m.get("steps")?.parse().ok());
        let steps = steps.ok_or_else(|| fail("the number of steps is missing".into()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let read = |name: &str| {
            let tensor = file.tensor(name).map_err(|e| fail(e.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != [len] {
                return Err(fail(format!("{name} does not belong to a model of {len} parameters")));
            }
            let bytes = tensor.data().as_chunks::<4>().0;
            Ok(bytes.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        Ok(AdamW { config, m: read("m")?, v: read("v")?, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_moves_by_the_learning_rate() {
        let config = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
        let mut opt = AdamW::new(3, config);
        let mut w = vec![1.0, -2.0, 0.5];
        opt.step(&mut w, &[0.3, -7.0, 0.0], 0.01, 1.0);
        // Bias correction makes the first step lr * sign(g), after the decay of lr * 0.1.
        for (got, want) in w.iter().zip([1.0 * 0.999 - 0.01, -2.0 * 0.999 + 0.01, 0.5 * 0.999]) {
            assert!((got - want).abs() < 1e-6, "{got} != {want}");
        }
        assert!((global_norm(&[3.0, 4.0]) - 5.0).abs() < 1e-9);
    }
}
