//! Incremental decoding: sequences with cached keys and values, many advanced at once.
//!
//! It uses the kernels of the scorer, so the log-probability of a sampled token is the scorer's.

use std::sync::Arc;

use rayon::prelude::*;

use crate::graph::{LayerPanels, head_norm};
use crate::kernels::attention::{Heads, Strip, attend, with_tiles};
use crate::kernels::buffer::Line;
use crate::kernels::matmul::{Output, product, wide_product};
use crate::kernels::panel::{Matrix, Panels, bf16, bf16_pair, steps};
use crate::kernels::rope::{self, Rope};
use crate::kernels::tile::{COLUMNS, Format, ROWS, kernels};
use crate::kernels::{bias, norm, rows, swiglu};
use crate::model::Model;

/// Keys of a page.
const PAGE: usize = 64;

/// Rows advanced together by one worker.
const GROUP_ROWS: usize = 8 * ROWS;

/// Places of consecutive rows in a tile.
const PLACES: [u32; ROWS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// From this many parameters on, the products of a few rows are divided among the threads.
const WIDE_FROM: usize = 1 << 24;

/// Keys and values of up to [`PAGE`] tokens in one layer: for each kv head its transposed keys
/// (panels of 32 keys) and its values (panels of 32 columns).
#[derive(Clone, Debug)]
struct Page(Vec<Line>);

/// Shape of the pages of a model.
#[derive(Clone, Copy)]
struct Shape {
    heads: Heads,
    format: Format,
}

impl Shape {
    /// Words of the keys of one kv head.
    fn key_words(self) -> usize {
        PAGE * steps(self.heads.dim, self.format)
    }

    /// Words of a panel of values.
    fn value_panel(self) -> usize {
        steps(PAGE, self.format) * COLUMNS
    }

    /// Words of one kv head.
    fn head_words(self) -> usize {
        self.key_words() + self.heads.padded() / COLUMNS * self.value_panel()
    }
}

impl Page {
    fn new(shape: Shape) -> Self {
        Page(vec![Line::ZERO; shape.heads.kv * shape.head_words() / Line::LEN])
    }

    /// Puts one row of `qkv` into slot `slot`.
    fn store(&mut self, slot: usize, row: &[f32], shape: Shape) {
        let Shape { heads, format } = shape;
        let hd = heads.dim;
        let per_key = steps(hd, format) * COLUMNS;
        let words: &mut [u32] = bytemuck::cast_slice_mut(&mut self.0);
        for (g, words) in words.chunks_exact_mut(shape.head_words()).enumerate() {
            let (keys, values) = words.split_at_mut(shape.key_words());
            let (key, value) = (&row[heads.key_column(g)..][..hd], &row[heads.value_column(g)..][..hd]);
            let panel = &mut keys[slot / COLUMNS * per_key..][..per_key];
            let value_panels = values.chunks_exact_mut(shape.value_panel()).zip(value.chunks(COLUMNS));
            if format == Format::F32 {
                for (step, x) in key.iter().enumerate() {
                    panel[step * COLUMNS + slot % COLUMNS] = x.to_bits();
                }
                for (values, x) in value_panels {
                    let to = &mut values[slot * COLUMNS..][..x.len()];
                    to.iter_mut().zip(x).for_each(|(to, x)| *to = x.to_bits());
                }
            } else {
                for (step, x) in key.chunks(2).enumerate() {
                    let high = x.get(1).copied().unwrap_or(0.0);
                    panel[step * COLUMNS + slot % COLUMNS] = bf16_pair(x[0], high);
                }
                let shift = slot % 2 * 16;
                for (values, x) in value_panels {
                    let to = &mut values[slot / 2 * COLUMNS..][..x.len()];
                    to.iter_mut()
                        .zip(x)
                        .for_each(|(to, x)| *to = *to & !(0xffff << shift) | bf16(*x) << shift);
                }
            }
        }
    }

    /// Keys and values of kv head `g`, of which queries see the first `to`.
    fn strip(&self, g: usize, shape: Shape, to: usize, diagonal: isize) -> Strip {
        let words: &[u32] = &bytemuck::cast_slice(&self.0)[g * shape.head_words()..];
        Strip {
            keys: words.as_ptr(),
            values: words[shape.key_words()..].as_ptr(),
            value_panel: shape.value_panel(),
            from: 0,
            to,
            diagonal,
        }
    }
}

/// A token sequence whose keys and values are cached; a clone shares them and continues independently.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    len: usize,
    /// Pages of each layer.
    layers: Vec<Vec<Arc<Page>>>,
}

impl Sequence {
    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` tokens, and all if there are no more.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let pages = self.len.div_ceil(PAGE);
        self.layers.iter_mut().for_each(|layer| layer.truncate(pages));
    }
}

/// New tokens for one sequence.
pub struct Entry<'a> {
    /// The sequence to continue.
    pub sequence: &'a mut Sequence,
    /// Tokens to append; at least one.
    pub tokens: &'a [u32],
}

/// Advances sequences under one model.
///
/// Making one lays out all weights for products, which takes about as long as reading them once.
pub struct Decoder<'m> {
    model: &'m Model,
    rope: Rope,
    layers: Vec<LayerPanels>,
    head: Panels,
}

/// Buffers of one worker.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    act: Vec<f32>,
    tokens: Vec<u32>,
}

impl<'m> Decoder<'m> {
    /// A decoder for `model`.
    pub fn new(model: &'m Model) -> Self {
        let rope = Rope::new(model.config.head_dim, model.config.rope_theta);
        let mut layers = Vec::with_capacity(model.config.num_layers);
        for layer in &model.layout.layers {
            let mut panels = LayerPanels::default();
            panels.forward(model, layer);
            layers.push(panels);
        }
        let (d, vocab) = (model.config.hidden_size, model.config.vocab_size);
        let mut head = Panels::default();
        let weight = Matrix::new(&model.weights[model.layout.head.clone()], d);
        head.fill_transposed(weight, d, vocab, kernels().weight_format(model.precision));
        Decoder { model, rope, layers, head }
    }

    /// The model.
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Appends the tokens of every entry; returns the logits after the last token of each,
    /// `[entries, vocab]`, not divided by a temperature.
    pub fn extend(&mut self, entries: &mut [Entry<'_>]) -> Vec<f32> {
        let vocab = self.model.config.vocab_size;
        let longest = entries.iter().map(|e| e.sequence.len + e.tokens.len()).max().unwrap_or(0);
        self.rope.cover(longest);
        let mut logits = vec![0.0; entries.len() * vocab];
        let rows: usize = entries.iter().map(|e| e.tokens.len()).sum();
        // Rows do not influence one another's values, so their grouping may depend on the threads.
        let most = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(ROWS).min(GROUP_ROWS);
        let wide = self.model.len() >= WIDE_FROM && rows <= GROUP_ROWS;
        let most = if wide { GROUP_ROWS } else { most };
        let mut work = Vec::new();
        let (mut rest, mut out) = (entries, logits.as_mut_slice());
        while !rest.is_empty() {
            let mut rows = 0;
            let mut take = 0;
            while take < rest.len() && (take == 0 || rows + rest[take].tokens.len() <= most) {
                rows += rest[take].tokens.len();
                take += 1;
            }
            let (group, tail) = rest.split_at_mut(take);
            let (group_out, tail_out) = out.split_at_mut(take * vocab);
            work.push((group, group_out));
            (rest, out) = (tail, tail_out);
        }
        let decoder = &*self;
        work.into_par_iter().for_each_init(Buffers::default, |buffers, (group, out)| {
            decoder.advance(group, out, buffers, wide)
        });
        logits
    }

    /// Appends the tokens of a group of entries.
    fn advance(&self, group: &mut [Entry<'_>], out: &mut [f32], b: &mut Buffers, wide: bool) {
        let model = self.model;
        let (d, f, w) = (model.config.hidden_size, model.config.intermediate_size, &model.weights);
        let eps = model.config.rms_norm_eps as f32;
        let heads = model.heads();
        let shape = Shape { heads, format: kernels().weight_format(model.precision) };
        let (width, qw, kvw) = (heads.qkv_width(), heads.q_width(), heads.kv_width());
        let multiply = if wide { wide_product } else { product };
        b.tokens.clear();
        for e in group.iter_mut() {
            assert!(!e.tokens.is_empty(), "an entry needs at least one token");
            b.tokens.extend_from_slice(e.tokens);
            e.sequence.layers.resize_with(model.config.num_layers, Vec::new);
        }
        let mut n = b.tokens.len();
        for (buffer, len) in [
            (&mut b.x, n * d),
            (&mut b.normed, n * d),
            (&mut b.qkv, n * width),
            (&mut b.attended, n * qw),
            (&mut b.gate_up, n * 2 * f),
            (&mut b.act, n * f),
        ] {
            buffer.resize(len, 0.0);
        }
        rows::gather(&mut b.x, Matrix::new(&w[model.layout.embedding.clone()], d), &b.tokens, d);
        let mut positions: Vec<u32> = Vec::new();
        for (l, layer) in model.layout.layers.iter().enumerate() {
            let panels = &self.layers[l];
            norm::forward(&mut b.normed, &b.x, &w[layer.attention_norm.clone()], eps);
            multiply(Output::set(&mut b.qkv, width), Matrix::new(&b.normed, d), n, &panels.qkv);
            if let Some(range) = &layer.qkv_bias {
                bias::forward(&mut b.qkv, &w[range.clone()]);
            }
            let head_norm = head_norm(model, layer);
            let is_last = l + 1 == model.config.num_layers;
            let mut row = 0;
            for (number, e) in group.iter_mut().enumerate() {
                let count = e.tokens.len();
                let rows = &mut b.qkv[row * width..(row + count) * width];
                positions.clear();
                positions.extend((e.sequence.len as u32..).take(count));
                rope::prepare_rows(rows, (width, qw + kvw), heads.query, &self.rope, &positions, head_norm);
                let pages = &mut e.sequence.layers[l];
                for (i, row) in rows.chunks_exact(width).enumerate() {
                    let at = e.sequence.len + i;
                    if at / PAGE == pages.len() {
                        pages.push(Arc::new(Page::new(shape)));
                    }
                    // A page that another sequence shares is copied first.
                    Arc::make_mut(&mut pages[at / PAGE]).store(at % PAGE, row, shape);
                }
                if !is_last {
                    let out = &mut b.attended[row * qw..][..count * qw];
                    attend_pages(out, rows, pages, e.sequence.len, shape);
                } else {
                    // Behind the last keys and values only the last token of an entry matters.
                    let (out, before) = (&mut b.attended[number * qw..][..qw], e.sequence.len + count - 1);
                    attend_pages(out, &rows[(count - 1) * width..], pages, before, shape);
                    b.x.copy_within((row + count - 1) * d..(row + count) * d, number * d);
                }
                row += count;
            }
            if is_last {
                n = group.len();
                b.x.truncate(n * d);
                b.normed.truncate(n * d);
                b.gate_up.truncate(n * 2 * f);
                b.act.truncate(n * f);
            }
            multiply(Output::add(&mut b.x, d), Matrix::new(&b.attended, qw), n, &panels.output);
            norm::forward(&mut b.normed, &b.x, &w[layer.mlp_norm.clone()], eps);
            multiply(Output::set(&mut b.gate_up, 2 * f), Matrix::new(&b.normed, d), n, &panels.gate_up);
            swiglu::forward(&mut b.act, &b.gate_up, f);
            multiply(Output::add(&mut b.x, d), Matrix::new(&b.act, f), n, &panels.down);
        }
        group.iter_mut().for_each(|e| e.sequence.len += e.tokens.len());
        let final_norm = &w[model.layout.final_norm.clone()];
        norm::forward(&mut b.normed, &b.x, final_norm, eps);
        multiply(Output::set(out, model.config.vocab_size), Matrix::new(&b.normed, d), n, &self.head);
    }
}

/// Attention of the new rows of one sequence over its pages, which already hold their keys.
fn attend_pages(out: &mut [f32], qkv: &[f32], pages: &[Arc<Page>], before: usize, shape: Shape) {
    let Shape { heads, format } = shape;
    let (width, qw, hd) = (heads.qkv_width(), heads.q_width(), heads.dim);
    let (rows, group) = (qkv.len() / width, heads.group());
    with_tiles(|tiles| {
        for g in 0..heads.kv {
            if rows == 1 && group <= ROWS {
                // One new token: the query heads that share keys are the rows of one tile.
                let queries = Matrix::new(&qkv[heads.query_column(g * group)..], hd);
                let strips = pages
                    .iter()
                    .enumerate()
                    .map(|(p, page)| page.strip(g, shape, PAGE.min(before + 1 - p * PAGE), PAGE as isize));
                // SAFETY: a page holds whole panels of `PAGE` keys and values.
                unsafe {
                    attend(tiles, queries, &PLACES[..group], (heads, format), strips, |i, sum, _| {
                        out[(g * group + i) * hd..][..hd].copy_from_slice(sum);
                    });
                }
                continue;
            }
            for h in g * group..(g + 1) * group {
                for a in (0..rows).step_by(ROWS) {
                    let m = ROWS.min(rows - a);
                    let queries = Matrix::new(qkv, width).from(a, heads.query_column(h));
                    let end = before + a + m;
                    let strips = pages.iter().take(end.div_ceil(PAGE)).enumerate().map(|(p, page)| {
                        let diagonal = (before + a + 1) as isize - (p * PAGE) as isize;
                        page.strip(g, shape, PAGE.min(end - p * PAGE), diagonal)
                    });
                    // SAFETY: as above.
                    unsafe {
                        attend(tiles, queries, &PLACES[..m], (heads, format), strips, |i, sum, _| {
                            out[(a + i) * qw + h * hd..][..hd].copy_from_slice(sum);
                        });
                    }
                }
            }
        }
    });
}
