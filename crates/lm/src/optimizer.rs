//! AdamW (Loshchilov and Hutter 2019) with global-norm clipping, over flat vectors.

use rayon::prelude::*;

use crate::kernels::{math, vectorised};

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
    let parts: Vec<f64> =
        grad.par_chunks(PIECE).map(|g| vectorised(|| math::dot(g, g)) as f64).collect();
    parts.iter().sum::<f64>().sqrt()
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
        pieces.zip(moments).for_each(|((w, g), (m, v))| {
            vectorised(|| {
                let (g, m, v) = (&g[..w.len()], &mut m[..w.len()], &mut v[..w.len()]);
                for i in 0..w.len() {
                    let g = g[i] * scale;
                    m[i] = c.beta1 * m[i] + (1.0 - c.beta1) * g;
                    v[i] = c.beta2 * v[i] + (1.0 - c.beta2) * g * g;
                    w[i] = w[i] * decay - rate * m[i] / (v[i].sqrt() * root + c.eps);
                }
            })
        });
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
