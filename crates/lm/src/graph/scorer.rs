//! Scoring many batches with one model, whose weights are laid out for products once.

use super::{LayerPanels, Workspace, head_of};
use crate::batch::TreeBatch;
use crate::kernels::head::{self, TokenStats};
use crate::kernels::panel::{Matrix, Panels};
use crate::kernels::tile::kernels;
use crate::model::Model;

/// Models of more parameters are laid out layer by layer, anew for each batch: at once, they would be in memory twice.
const MOST: usize = 1 << 26;

/// The weights of a whole model, laid out for products.
#[derive(Debug, Default)]
pub(super) struct LaidOut {
    /// By layer; none of a large model.
    pub layers: Vec<LayerPanels>,
    head: Panels,
}

impl LaidOut {
    fn take(&mut self, model: &Model) {
        let layers = if model.len() > MOST { &[][..] } else { &model.layout.layers };
        self.layers.resize_with(layers.len(), LayerPanels::default);
        self.layers.iter_mut().zip(layers).for_each(|(panels, layer)| panels.forward(model, layer));
        if let Some(head) = (!layers.is_empty()).then(|| &model.weights[model.layout.head.clone()]) {
            let (d, vocab) = (model.config.hidden_size, model.config.vocab_size);
            self.head.fill_transposed(
                Matrix::new(head, d),
                d,
                vocab,
                kernels().weight_format(model.precision),
            );
        }
    }
}

/// A workspace that scores batches with one model.
pub struct Scorer<'a> {
    workspace: &'a mut Workspace,
    model: &'a Model,
}

impl Workspace {
    /// Prepares to score batches with `model`.
    pub fn scorer<'a>(&'a mut self, model: &'a Model) -> Scorer<'a> {
        self.laid_out.take(model);
        Scorer { workspace: self, model }
    }

    /// Scores one batch, as [`Scorer::score`].
    pub fn score(&mut self, model: &Model, batch: &TreeBatch, temperature: f32) -> Vec<TokenStats> {
        self.scorer(model).score(batch, temperature)
    }
}

impl Scorer<'_> {
    /// Log-probability (of logits divided by `temperature`) and entropy of every target.
    pub fn score(&mut self, batch: &TreeBatch, temperature: f32) -> Vec<TokenStats> {
        if batch.targets() == 0 {
            return Vec::new();
        }
        let (workspace, model) = (&mut *self.workspace, self.model);
        workspace.forward(model, batch, false);
        workspace.gather(model, batch);
        let n = batch.targets() * model.config.hidden_size;
        let laid_out = (!workspace.laid_out.layers.is_empty()).then_some(&workspace.laid_out.head);
        let head = head_of(model, workspace.hidden_normed.get(n), batch, temperature, laid_out);
        head::run(&head, &mut workspace.head, None)
    }
}
