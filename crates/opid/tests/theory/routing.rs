//! Critical-first routing against an oracle that knows which skill teaches a step best.
//!
//! A step is critical or not; the skill of the step teaches a critical one better, the skill of the episode any
//! other, each by a gap. Routing sees a step skill where the analyzer detects a critical step. Every step that it
//! detects rightly is routed as the oracle does, and one that it does not costs at most its gap, so the mean loss
//! is at most `critical * misses * gap_c + (1 - critical) * false alarms * gap_o`, with the largest gaps.

use opid::skill::route::{Route, Routing};
use opid_env::random::Draw;

/// Share of steps that are critical.
const CRITICAL: f64 = 0.2;
/// Largest gaps of critical and of other steps.
const GAPS: (f64, f64) = (1.0, 0.3);
const STEPS: usize = 20_000;

/// A step as the oracle knows it.
struct Step {
    critical: bool,
    /// What a step loses when it is taught by the wrong skill.
    gap: f64,
    /// Decides about errors of detection.
    luck: f64,
}

fn steps(seed: u64) -> Vec<Step> {
    let mut draw = Draw::new(&[seed]);
    let mut step = || {
        let critical = draw.chance(CRITICAL);
        let largest = if critical { GAPS.0 } else { GAPS.1 };
        Step { critical, gap: largest * draw.unit(), luck: draw.unit() }
    };
    (0..STEPS).map(|_| step()).collect()
}

impl Step {
    fn oracle(&self) -> Route {
        Route { episode: !self.critical, step: self.critical }
    }

    /// The route under a detector with these rates of misses and false alarms.
    fn routed(&self, misses: f64, alarms: f64) -> Route {
        let detected = if self.critical { self.luck >= misses } else { self.luck < alarms };
        Routing::CriticalFirst.route(detected.then_some("advice"), true, true)
    }
}

/// Mean loss against the oracle.
fn regret(steps: &[Step], misses: f64, alarms: f64) -> f64 {
    let lost = |step: &&Step| step.routed(misses, alarms) != step.oracle();
    steps.iter().filter(lost).map(|step| step.gap).sum::<f64>() / steps.len() as f64
}

#[test]
fn with_perfect_detection_routing_is_the_oracle() {
    for seed in 0..5 {
        for step in steps(seed) {
            assert_eq!(step.routed(0.0, 0.0), step.oracle());
        }
    }
}

#[test]
fn errors_of_detection_cost_no_more_than_the_bound() {
    // Hoeffding: a mean of 20,000 losses in [0, 1] exceeds its expectation by 0.02 with probability 1e-7.
    let slack = 0.02;
    for seed in 0..5 {
        let steps = steps(seed);
        let mut last = 0.0;
        for errors in 0..=10 {
            let rate = f64::from(errors) / 10.0;
            for (misses, alarms) in [(rate, 0.0), (0.0, rate), (rate, rate)] {
                let bound = CRITICAL * misses * GAPS.0 + (1.0 - CRITICAL) * alarms * GAPS.1;
                let regret = regret(&steps, misses, alarms);
                assert!(regret <= bound + slack, "seed {seed}, {misses}, {alarms}: {regret} > {bound}");
            }
            let both = regret(&steps, rate, rate);
            assert!(both >= last, "seed {seed}: more errors cost less");
            last = both;
        }
        // Always wrong, it is the opposite of the oracle; with gaps of half the largest in the mean.
        let worst = 0.5 * (CRITICAL * GAPS.0 + (1.0 - CRITICAL) * GAPS.1);
        assert!((last - worst).abs() < slack, "seed {seed}: {last}, not {worst}");
    }
}

#[test]
fn every_enabled_step_is_taught_once_and_twice_without_routing() {
    for (skill, step) in [(Some("advice"), true), (Some("  "), false), (None, false)] {
        assert_eq!(Routing::CriticalFirst.route(skill, true, true), Route { episode: !step, step });
        assert_eq!(Routing::Additive.route(skill, true, true), Route { episode: true, step });
    }
}
