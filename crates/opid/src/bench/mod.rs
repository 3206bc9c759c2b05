//! Measurements of speed, each the median of several repetitions.
//!
//! Work is divided by elapsed time, and by the CPU time of the whole process: on a machine that does
//! other things too, only the latter is fair.

pub mod environment;
pub mod load;
pub mod memory;
pub mod model;
pub mod roofline;
pub mod search;
pub mod shop;
pub mod step;

use std::time::Instant;

use cpu_time::ProcessTime;
use serde::Serialize;

/// Seconds that a piece of work took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Elapsed.
    pub wall: f64,
    /// Of all threads of this process, in user and system mode.
    pub cpu: f64,
}

/// How fast something was done, as medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Work per second elapsed.
    pub per_second: f64,
    /// Work per second of CPU time.
    pub per_cpu_second: f64,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured: work, model, precision, and what else tells it from others.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

impl Figure {
    /// Tokens per second of CPU time.
    fn speed(name: String, speed: Speed) -> Self {
        Figure { name, value: speed.per_cpu_second, unit: "tokens/cpu-s" }
    }

    /// A quotient.
    pub fn ratio(name: &str, value: f64) -> Self {
        Figure { name: name.to_owned(), value, unit: "ratio" }
    }
}

/// Runs a piece of work and measures it.
pub fn time<T>(work: impl FnOnce() -> T) -> (T, Timing) {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let result = work();
    // Clocks have steps: a time of nothing would make an infinite speed.
    let timing =
        Timing { wall: wall.elapsed().as_secs_f64().max(1e-9), cpu: cpu.elapsed().as_secs_f64().max(1e-9) };
    (result, timing)
}

/// The middle of some numbers; 0 of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match (numbers.len(), numbers.len() / 2) {
        (0, _) => 0.0,
        (n, half) if n % 2 == 1 => numbers[half],
        (_, half) => (numbers[half - 1] + numbers[half]) / 2.0,
    }
}

impl Speed {
    /// The median speed of repetitions, each with the amount of work done in it.
    pub fn of(repetitions: &[(f64, Timing)]) -> Self {
        Speed {
            per_second: median(repetitions.iter().map(|(work, t)| work / t.wall).collect()),
            per_cpu_second: median(repetitions.iter().map(|(work, t)| work / t.cpu).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let t = |wall| Timing { wall, cpu: 2.0 * wall };
        let speed = Speed::of(&[(10.0, t(1.0)), (10.0, t(2.0)), (20.0, t(1.0))]);
        assert_eq!(speed, Speed { per_second: 10.0, per_cpu_second: 5.0 });
    }
}
