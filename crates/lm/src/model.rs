//! A decoder: its architecture and its parameters, made at random or read from a checkpoint.

use std::path::Path;

use rayon::prelude::*;

use crate::checkpoint::{self, StoredDtype, TextFiles, Weights};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::kernels::attention::Heads;
use crate::kernels::tile::Precision;
use crate::parameters::Parameters;
use crate::storage::{Disk, Storage};

/// Architecture, layout and parameters.
#[derive(Clone, Debug)]
pub struct Model {
    /// The architecture.
    pub config: ModelConfig,
    /// Where each tensor lies in `weights`.
    pub layout: Parameters,
    /// All parameters, in the order of `layout`.
    pub weights: Vec<f32>,
    /// How numbers enter its matrix products; f32 unless set.
    pub precision: Precision,
}

impl Model {
    /// A model with random parameters.
    ///
    /// Matrices are normal with standard deviation 0.02, those that write to the residual stream
    /// divided by `sqrt(2 layers)` (Radford et al. 2019); norms are one, biases zero. `uniform(i)`
    /// gives the `i`-th number of a stream of uniform draws from `[0, 1)`.
    pub fn random(config: ModelConfig, uniform: impl Fn(u64) -> f64 + Sync) -> Self {
        let layout = Parameters::new(&config);
        let mut weights = vec![0.0; layout.len];
        let deep = 1.0 / (2.0 * config.num_layers as f64).sqrt();
        for t in &layout.tensors {
            let values = &mut weights[t.range.clone()];
            if t.name.ends_with("norm.weight") {
                values.fill(1.0);
            } else if !t.name.ends_with("bias") {
                let residual = t.name.ends_with("o_proj.weight") || t.name.ends_with("down_proj.weight");
                let std = 0.02 * if residual { deep } else { 1.0 };
                values.par_iter_mut().with_min_len(1 << 12).enumerate().for_each(|(i, v)| {
                    let at = 2 * (t.range.start + i) as u64;
                    // Box and Muller's transform.
                    let radius = (-2.0 * (1.0 - uniform(at)).ln()).sqrt();
                    *v = (std * radius * (std::f64::consts::TAU * uniform(at + 1)).cos()) as f32;
                });
            }
        }
        Model { config, layout, weights, precision: Precision::F32 }
    }

    /// Reads a Hugging Face folder, for products of the given precision.
    ///
    /// # Errors
    /// A file is missing or damaged, the architecture is not supported, or a tensor is absent, unknown
    /// or of another shape than the configuration says.
    pub fn open(folder: &Path, precision: Precision) -> Result<Self, LoadError> {
        let config = ModelConfig::from_folder(folder)?;
        let layout = Parameters::new(&config);
        let file = Weights::open(folder)?;
        // Before memory is asked for: a damaged config.json may want any amount.
        file.check(&config)?;
        let mut weights = vec![0.0; layout.len];
        for t in &layout.tensors {
            file.read_into(&t.name, &t.shape, &mut weights[t.range.clone()])?;
        }
        Ok(Model { config, layout, weights, precision })
    }

    /// Writes a Hugging Face folder that other tools load.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path, dtype: StoredDtype, text: Option<&TextFiles>) -> Result<(), LoadError> {
        self.save_to(&Disk, folder, dtype, text)
    }

    /// The same through a given [`Storage`].
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_to(
        &self,
        storage: &dyn Storage,
        folder: &Path,
        dtype: StoredDtype,
        text: Option<&TextFiles>,
    ) -> Result<(), LoadError> {
        let tensors = self
            .layout
            .tensors
            .iter()
            .map(|t| (t.name.clone(), t.shape.clone(), &self.weights[t.range.clone()]));
        checkpoint::write_folder(storage, folder, &self.config, tensors, dtype, text)
    }

    /// Head counts and width.
    pub fn heads(&self) -> Heads {
        Heads { query: self.config.num_heads, kv: self.config.num_kv_heads, dim: self.config.head_dim }
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether the model has no parameters; never true for a real one.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }
}
