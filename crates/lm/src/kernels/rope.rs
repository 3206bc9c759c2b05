//! Rotary position embedding, half-rotation form (Su et al. 2021, as in the Qwen models), together
//! with Qwen3's norm of every query and key head.

use multiversion::multiversion;

use super::norm;

/// Cosines and sines of every position up to some length.
#[derive(Clone, Debug)]
pub struct Rope {
    half: usize,
    theta: f64,
    /// `[position][half]` cosines, then sines, interleaved by position.
    table: Vec<f32>,
}

impl Rope {
    /// A table for heads of `head_dim` floats, covering no position yet.
    pub fn new(head_dim: usize, theta: f64) -> Self {
        Rope { half: head_dim / 2, theta, table: Vec::new() }
    }

    /// Makes sure positions `0..len` are covered.
    pub fn cover(&mut self, len: usize) {
        let have = self.table.len() / (2 * self.half);
        for position in have..len {
            let angle = |i: usize| position as f64 * self.theta.powf(-(i as f64) / self.half as f64);
            self.table.extend((0..self.half).map(|i| angle(i).cos() as f32));
            self.table.extend((0..self.half).map(|i| angle(i).sin() as f32));
        }
    }

    /// Cosines and sines of one covered position.
    #[inline(always)]
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        self.table[position * 2 * self.half..(position + 1) * 2 * self.half].split_at(self.half)
    }
}

/// Rotates one head in place; `sign` is 1, or -1 for the gradient (a rotation's transpose).
#[inline(always)]
fn rotate(head: &mut [f32], (cos, sin): (&[f32], &[f32]), sign: f32) {
    let half = cos.len();
    let (a, b) = head.split_at_mut(half);
    let (b, sin) = (&mut b[..half], &sin[..half]);
    for i in 0..half {
        let (x, y) = (a[i], b[i]);
        a[i] = x * cos[i] - y * sin[i] * sign;
        b[i] = y * cos[i] + x * sin[i] * sign;
    }
}

/// Norm weights of the query and key heads, for families that have them.
#[derive(Clone, Copy)]
pub struct HeadNorm<'a> {
    /// Weight of every query head, `head_dim` floats.
    pub q: &'a [f32],
    /// Weight of every key head, `head_dim` floats.
    pub k: &'a [f32],
    /// Epsilon of the norm.
    pub eps: f32,
}

/// Turns raw query and key heads of one row into normalised, rotated ones.
///
/// `qk` holds `heads` query heads followed by key heads, each `2 * half` floats, in place.
#[inline(always)]
fn prepare_row(
    qk: &mut [f32],
    heads: usize,
    angles: (&[f32], &[f32]),
    head_norm: Option<HeadNorm<'_>>,
    scratch: &mut [f32],
) {
    let hd = angles.0.len() * 2;
    for (h, head) in qk.chunks_exact_mut(hd).enumerate() {
        if let Some(n) = head_norm {
            scratch.copy_from_slice(head);
            norm::row(head, scratch, if h < heads { n.q } else { n.k }, n.eps);
        }
        rotate(head, angles, 1.0);
    }
}

/// [`prepare_row`] for the leading `qk` floats of every row of `qkv`, at the given positions.
#[multiversion(targets = "simd")]
pub fn prepare_rows(
    qkv: &mut [f32],
    (width, qk): (usize, usize),
    heads: usize,
    rope: &Rope,
    positions: &[u32],
    head_norm: Option<HeadNorm<'_>>,
) {
    let mut scratch = vec![0.0; rope.half * 2];
    for (row, &p) in qkv.chunks_exact_mut(width).zip(positions) {
        prepare_row(&mut row[..qk], heads, rope.at(p as usize), head_norm, &mut scratch);
    }
}

/// [`prepare_row_backward`] for the leading `qk` floats of every row of `dqkv`; `raw` holds the raw
/// heads of these rows if there is a head norm.
#[allow(clippy::too_many_arguments)]
#[multiversion(targets = "simd")]
pub fn prepare_rows_backward(
    dqkv: &mut [f32],
    raw: &[f32],
    (width, qk): (usize, usize),
    heads: usize,
    rope: &Rope,
    positions: &[u32],
    head_norm: Option<HeadNorm<'_>>,
    dw_q: &mut [f32],
    dw_k: &mut [f32],
) {
    let mut scratch = vec![0.0; rope.half * 2];
    for (i, (row, &p)) in dqkv.chunks_exact_mut(width).zip(positions).enumerate() {
        let raw = if head_norm.is_some() { &raw[i * qk..(i + 1) * qk] } else { &[] };
        let angles = rope.at(p as usize);
        prepare_row_backward(&mut row[..qk], raw, heads, angles, head_norm, dw_q, dw_k, &mut scratch);
    }
}

/// Gradient of [`prepare_row`]: turns the gradient in `dqk` into that of the raw heads `qk_raw`, and
/// adds the gradients of the norm weights to `dw_q` and `dw_k`.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn prepare_row_backward(
    dqk: &mut [f32],
    qk_raw: &[f32],
    heads: usize,
    angles: (&[f32], &[f32]),
    head_norm: Option<HeadNorm<'_>>,
    dw_q: &mut [f32],
    dw_k: &mut [f32],
    scratch: &mut [f32],
) {
    let hd = angles.0.len() * 2;
    for (h, head) in dqk.chunks_exact_mut(hd).enumerate() {
        rotate(head, angles, -1.0);
        if let Some(n) = head_norm {
            scratch.copy_from_slice(head);
            let raw = &qk_raw[h * hd..(h + 1) * hd];
            let (w, dw) = if h < heads { (n.q, &mut *dw_q) } else { (n.k, &mut *dw_k) };
            norm::row_backward(head, dw, scratch, raw, w, n.eps, false);
        }
    }
}
