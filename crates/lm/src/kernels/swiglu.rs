//! The gate of the feed-forward layer: `silu(gate) * up`, `silu(x) = x / (1 + e^-x)`.

use multiversion::multiversion;

use super::math::{self, LANES};
use crate::fused;

/// `act[rows, f]` from `gate_up[rows, 2 f]`, whose rows hold the gate first.
#[multiversion(targets = "simd")]
pub fn forward(act: &mut [f32], gate_up: &[f32], f: usize) {
    for (act, gu) in act.chunks_exact_mut(f).zip(gate_up.chunks_exact(2 * f)) {
        let (gate, up) = gu.split_at(f);
        let (act, act_tail) = act.as_chunks_mut::<LANES>();
        let ((gate, gate_tail), (up, up_tail)) = (gate.as_chunks::<LANES>(), up.as_chunks::<LANES>());
        for ((a, g), u) in act.iter_mut().zip(gate).zip(up) {
            let mut out = [0f32; LANES];
            for lane in 0..LANES {
                out[lane] = silu(g[lane], fused!()).0 * u[lane];
            }
            *a = out;
        }
        for ((a, g), u) in act_tail.iter_mut().zip(gate_tail).zip(up_tail) {
            *a = silu(*g, fused!()).0 * u;
        }
    }
}

/// `silu(x)` and its derivative `s (1 + x (1 - s))`, with `s = 1 / (1 + e^-x)`.
#[inline(always)]
fn silu(x: f32, fused: bool) -> (f32, f32) {
    let s = 1.0 / (1.0 + math::exp(-x, fused));
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// Replaces `gate_up` by its gradient, given the gradient of the activation, which is computed again
/// into `act`.
#[multiversion(targets = "simd")]
pub fn backward(gate_up: &mut [f32], act: &mut [f32], dact: &[f32], f: usize) {
    let rows = gate_up.chunks_exact_mut(2 * f).zip(act.chunks_exact_mut(f)).zip(dact.chunks_exact(f));
    for ((gu, act), dact) in rows {
        let (gate, up) = gu.split_at_mut(f);
        let ((gate, gate_tail), (up, up_tail)) = (gate.as_chunks_mut::<LANES>(), up.as_chunks_mut::<LANES>());
        let ((act, act_tail), (dact, dact_tail)) = (act.as_chunks_mut::<LANES>(), dact.as_chunks::<LANES>());
        for (((g, u), a), da) in gate.iter_mut().zip(up).zip(act).zip(dact) {
            let (mut dg, mut du, mut out) = (*g, *u, [0f32; LANES]);
            for lane in 0..LANES {
                let (value, slope) = silu(dg[lane], fused!());
                out[lane] = value * du[lane];
                dg[lane] = da[lane] * du[lane] * slope;
                du[lane] = da[lane] * value;
            }
            (*g, *u, *a) = (dg, du, out);
        }
        for (((g, u), a), da) in gate_tail.iter_mut().zip(up_tail).zip(act_tail).zip(dact_tail) {
            let (value, slope) = silu(*g, fused!());
            (*g, *u, *a) = (da * *u * slope, da * value, value * *u);
        }
    }
}
