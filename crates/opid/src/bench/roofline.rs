//! What this processor can do at most: arithmetic of the kernels with everything in the first-level cache,
//! and reading memory, on one thread.

use opid_lm::kernels::tile::{Precision, exercise};

use super::Figure;
use super::{Speed, time};

/// Bytes that are read to measure memory: more than any cache of usual machines holds.
const READ: usize = 1 << 30;

/// Peak arithmetic in f32 and bf16, and bandwidth.
pub fn measure(repetitions: usize) -> Vec<Figure> {
    let arithmetic = |precision| Figure {
        name: format!("roofline/{}", if precision == Precision::F32 { "f32" } else { "bf16" }),
        value: products(precision, repetitions) / 1e9,
        unit: "GFLOP/cpu-s",
    };
    let memory =
        Figure { name: "roofline/memory".into(), value: reading(repetitions) / 1e9, unit: "GB/cpu-s" };
    vec![arithmetic(Precision::F32), arithmetic(Precision::Bf16), memory]
}

/// Floating-point operations per second of one tile by one panel.
fn products(precision: Precision, repetitions: usize) -> f64 {
    let measured: Vec<_> = (0..repetitions).map(|_| time(|| exercise(precision, 40_000))).collect();
    Speed::of(&measured).per_cpu_second
}

/// Bytes per second of summing a large vector.
fn reading(repetitions: usize) -> f64 {
    let data = vec![1u64; READ / 8];
    let work = || std::hint::black_box(data.iter().fold(0u64, |sum, x| sum.wrapping_add(*x)));
    let measured: Vec<_> = (0..repetitions).map(|_| (READ as f64, time(work).1)).collect();
    Speed::of(&measured).per_cpu_second
}
