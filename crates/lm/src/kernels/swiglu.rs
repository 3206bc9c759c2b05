//! The gate of the feed-forward layer: `silu(gate) * up`, `silu(x) = x / (1 + e^-x)`.

use rayon::prelude::*;

use super::{math, vectorised};

/// Rows per piece of work.
const ROWS: usize = 32;

/// `act[rows, f]` from `gate_up[rows, 2 f]`, whose rows hold the gate first.
pub fn forward(act: &mut [f32], gate_up: &[f32], f: usize) {
    act.par_chunks_mut(ROWS * f).zip(gate_up.par_chunks(ROWS * 2 * f)).for_each(|(act, gate_up)| {
        vectorised(|| {
            for (act, gu) in act.chunks_exact_mut(f).zip(gate_up.chunks_exact(2 * f)) {
                let (gate, up) = gu.split_at(f);
                for ((a, &g), &u) in act.iter_mut().zip(gate).zip(up) {
                    *a = g / (1.0 + math::exp(-g)) * u;
                }
            }
        })
    });
}

/// Replaces `gate_up` by its gradient, given the gradient of the activation.
///
/// `silu'(x) = s (1 + x (1 - s))` with `s = 1 / (1 + e^-x)`.
pub fn backward(gate_up: &mut [f32], dact: &[f32], f: usize) {
    gate_up.par_chunks_mut(ROWS * 2 * f).zip(dact.par_chunks(ROWS * f)).for_each(|(gate_up, dact)| {
        vectorised(|| {
            for (gu, dact) in gate_up.chunks_exact_mut(2 * f).zip(dact.chunks_exact(f)) {
                let (gate, up) = gu.split_at_mut(f);
                for ((g, u), &da) in gate.iter_mut().zip(up).zip(dact) {
                    let s = 1.0 / (1.0 + math::exp(-*g));
                    let silu = *g * s;
                    let dg = da * *u * s * (1.0 + *g * (1.0 - s));
                    *u = da * silu;
                    *g = dg;
                }
            }
        })
    });
}
