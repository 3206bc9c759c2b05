//! AdamW (Loshchilov and Hutter 2019) with global-norm clipping, over flat vectors.

use std::path::{Path, PathBuf};

use multiversion::multiversion;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::checkpoint::write_tensors;
use crate::error::LoadError;
use crate::kernels::math;
use crate::storage::{Storage, replace};

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
    /// How the moments are kept.
    pub moments: MomentFormat,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, moments: MomentFormat::F32 }
    }
}

/// Number format of the moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentFormat {
    /// 8 bytes per parameter.
    #[default]
    F32,
    /// 4 bytes per parameter. Rounding is stochastic: with rounding to nearest, a second moment would
    /// never change by the thousandth part that `beta2 = 0.999` takes from it.
    Bf16,
}

/// A moment of every parameter.
#[derive(Clone, Debug, PartialEq)]
enum Moment {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Moment {
    fn zeros(len: usize, format: MomentFormat) -> Self {
        match format {
            MomentFormat::F32 => Moment::F32(vec![0.0; len]),
            MomentFormat::Bf16 => Moment::Bf16(vec![0; len]),
        }
    }

    fn view(&self) -> Result<TensorView<'_>, SafeTensorError> {
        match self {
            Moment::F32(x) => TensorView::new(Dtype::F32, vec![x.len()], bytemuck::cast_slice(x)),
            Moment::Bf16(x) => TensorView::new(Dtype::BF16, vec![x.len()], bytemuck::cast_slice(x)),
        }
    }
}

/// AdamW and its moments.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// Settings.
    pub config: AdamWConfig,
    /// First moments.
    m: Moment,
    /// Second moments.
    v: Moment,
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

/// Numbers of one update that all parameters share.
#[derive(Clone, Copy)]
struct Update {
    config: AdamWConfig,
    /// Learning rate over the first moment's bias correction.
    rate: f32,
    /// What the root of the second moment is multiplied by: its bias correction.
    root: f32,
    /// What weights are multiplied by.
    decay: f32,
    /// What gradients are multiplied by.
    scale: f32,
    /// Differs between updates.
    salt: u32,
}

impl Update {
    /// New moments and weight.
    #[inline(always)]
    fn apply(&self, w: &mut f32, g: f32, m: f32, v: f32) -> (f32, f32) {
        let (c, g) = (&self.config, g * self.scale);
        let m = c.beta1 * m + (1.0 - c.beta1) * g;
        let v = c.beta2 * v + (1.0 - c.beta2) * g * g;
        *w = *w * self.decay - self.rate * m / (v.sqrt() * self.root + c.eps);
        (m, v)
    }
}

/// Updates a piece of the parameters with f32 moments.
#[multiversion(targets = "simd")]
fn step_piece(update: &Update, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let (g, m, v) = (&g[..w.len()], &mut m[..w.len()], &mut v[..w.len()]);
    for i in 0..w.len() {
        (m[i], v[i]) = update.apply(&mut w[i], g[i], m[i], v[i]);
    }
}

/// Updates a piece of the parameters, the first of which has number `first`, with bf16 moments.
#[multiversion(targets = "simd")]
fn step_piece_bf16(update: &Update, w: &mut [f32], g: &[f32], m: &mut [u16], v: &mut [u16], first: usize) {
    let (g, m, v) = (&g[..w.len()], &mut m[..w.len()], &mut v[..w.len()]);
    for i in 0..w.len() {
        let (old_m, old_v) = (f32::from_bits((m[i] as u32) << 16), f32::from_bits((v[i] as u32) << 16));
        let (new_m, new_v) = update.apply(&mut w[i], g[i], old_m, old_v);
        let random = mix((first + i) as u32 ^ update.salt);
        // Adding up to one unit of the last place that stays, then cutting off.
        m[i] = (new_m.to_bits().wrapping_add(random & 0xffff) >> 16) as u16;
        v[i] = (new_v.to_bits().wrapping_add(random >> 16) >> 16) as u16;
    }
}

/// A hash of 32 bits (Wellons' `lowbias32`).
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

impl AdamW {
    /// Zero moments for `len` parameters.
    pub fn new(len: usize, config: AdamWConfig) -> Self {
        let zeros = || Moment::zeros(len, config.moments);
        AdamW { config, m: zeros(), v: zeros(), steps: 0 }
    }

    /// One update with gradient `scale * grad`.
    pub fn step(&mut self, weights: &mut [f32], grad: &[f32], lr: f32, scale: f32) {
        self.steps += 1;
        let config = self.config;
        let correct = |beta: f32| 1.0 - (beta as f64).powf(self.steps as f64);
        let update = Update {
            config,
            rate: (lr as f64 / correct(config.beta1)) as f32,
            root: (1.0 / correct(config.beta2)).sqrt() as f32,
            decay: 1.0 - lr * config.weight_decay,
            scale,
            salt: mix(self.steps as u32),
        };
        let pieces = weights.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
        match (&mut self.m, &mut self.v) {
            (Moment::F32(m), Moment::F32(v)) => pieces
                .zip(m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)))
                .for_each(|((w, g), (m, v))| step_piece(&update, w, g, m, v)),
            (Moment::Bf16(m), Moment::Bf16(v)) => pieces
                .zip(m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE)))
                .enumerate()
                .for_each(|(n, ((w, g), (m, v)))| step_piece_bf16(&update, w, g, m, v, n * PIECE)),
            _ => unreachable!("both moments are made in one format"),
        }
    }
}

/// Stored moments that cannot be used.
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
    pub fn save(&self, storage: &dyn Storage, path: &Path) -> Result<(), LoadError> {
        let steps = self.steps.to_string();
        let written = replace(storage, path, &mut |path| {
            let views = [("m", self.m.view()), ("v", self.v.view())].into_iter();
            let views: Result<Vec<_>, SafeTensorError> =
                views.map(|(name, view)| Ok((name, view?))).collect();
            let views = views.map_err(|error| std::io::Error::other(error.to_string()))?;
            write_tensors(path, views, ("steps", &steps))
        });
        written.map_err(|source| LoadError::Write { path: path.to_owned(), source })
    }

    /// Reads what [`save`](Self::save) wrote for a model of `len` parameters.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or belongs to a model of another size.
    pub fn load(path: &Path, len: usize, config: AdamWConfig) -> Result<Self, MomentsError> {
        let fail = |reason: String| MomentsError { path: path.to_owned(), reason };
        let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
        // SAFETY: the map is read-only, and nobody writes to the files of a checkpoint once they are there. Read as a
        // whole, the file would be in memory twice.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| fail(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let steps = header.metadata().as_ref().and_then(|m| m.get("steps")?.parse().ok());
        let steps = steps.ok_or_else(|| fail("the number of steps is missing".into()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let read = |name: &str| {
            let tensor = file.tensor(name).map_err(|e| fail(e.to_string()))?;
            let (wanted, name_wanted) = match config.moments {
                MomentFormat::F32 => (Dtype::F32, "f32"),
                MomentFormat::Bf16 => (Dtype::BF16, "bf16"),
            };
            if tensor.shape() != [len] {
                return Err(fail(format!("{name} does not belong to a model of {len} parameters")));
            }
            if tensor.dtype() != wanted {
                let stored = tensor.dtype();
                return Err(fail(format!("{name} is {stored:?}, but optimizer.moments is {name_wanted}")));
            }
            let data = tensor.data();
            Ok(match config.moments {
                MomentFormat::F32 => {
                    Moment::F32(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
                }
                MomentFormat::Bf16 => {
                    Moment::Bf16(data.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect())
                }
            })
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

    #[test]
    fn bf16_moments_follow_f32_moments() {
        let n = 4096;
        let run = |moments: MomentFormat| {
            let config = AdamWConfig { moments, weight_decay: 0.0, ..AdamWConfig::default() };
            let (mut opt, mut w) = (AdamW::new(n, config), vec![0.0f32; n]);
            // The gradient shrinks to a tenth: second moments must decay, a thousandth at a time.
            for step in 0..2000u32 {
                let size = if step < 500 { 1.0 } else { 0.1 };
                let grad: Vec<f32> = (0..n as u32)
                    .map(|i| size * (mix(step * n as u32 + i) as f32 / u32::MAX as f32 - 0.4))
                    .collect();
                opt.step(&mut w, &grad, 1e-3, 1.0);
            }
            w
        };
        let (exact, rounded) = (run(MomentFormat::F32), run(MomentFormat::Bf16));
        let mean = |w: &[f32]| w.iter().map(|w| *w as f64).sum::<f64>() / n as f64;
        let (a, b) = (mean(&exact), mean(&rounded));
        assert!((a - b).abs() < 0.005 * a.abs(), "mean weight {a} with f32, {b} with bf16 moments");
        assert_eq!(rounded, run(MomentFormat::Bf16), "rounding is reproducible");
    }
}
