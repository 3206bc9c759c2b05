//! What a terminal shows at its bottom while a run goes on: how success and reward went, where the time of the last step
//! went, and how far the present work is. Without a terminal, long work says a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use opid::metrics::{Seconds, StepMetrics};

use crate::display::duration;

/// Without a terminal, a line about work is written no more often than this.
const EVERY: Duration = Duration::from_secs(20);

/// Values that a sparkline shows; of more, neighbours are put together.
const WIDTH: usize = 24;

/// The lower part of a terminal, or lines.
pub struct Live {
    /// The bars; absent without a terminal.
    bars: Option<Bars>,
    /// The present work: what it is and how much there is of it.
    work: Option<(String, u64)>,
    reported: Instant,
    /// Success and reward of every step.
    history: Vec<(f64, f64)>,
}

struct Bars {
    all: MultiProgress,
    curves: ProgressBar,
    phases: ProgressBar,
    work: ProgressBar,
}

impl Live {
    /// An empty one, on standard error.
    pub fn new() -> Live {
        let style = |template| ProgressStyle::with_template(template).expect("the template is valid");
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let line = |template| all.add(ProgressBar::new(0).with_style(style(template)));
            let curves = line("{msg}");
            let phases = line("{msg}");
            let work = line("{prefix} {wide_bar} {pos}/{len} {msg} {eta} left");
            Bars { all, curves, phases, work }
        });
        Live { bars, work: None, reported: Instant::now(), history: Vec::new() }
    }

    /// Says how far some work is. `done` counts up to `total`.
    pub fn advance(&mut self, what: &str, done: u64, total: u64, message: &str) {
        let same =
            self.work.as_ref().is_some_and(|(known, length)| (known.as_str(), *length) == (what, total));
        if !same {
            self.work = Some((what.to_owned(), total));
            self.reported = Instant::now();
            if let Some(bars) = &self.bars {
                bars.work.reset();
                bars.work.set_length(total);
                bars.work.set_prefix(what.to_owned());
            }
        }
        if let Some(bars) = &self.bars {
            bars.work.set_message(message.to_owned());
            bars.work.set_position(done);
        } else if self.reported.elapsed() > EVERY {
            self.reported = Instant::now();
            eprintln!("{what} {done}/{total} {message}");
        }
        if done == total {
            self.rest();
        }
    }

    /// Nothing is under way.
    pub fn rest(&mut self) {
        self.work = None;
    }

    /// Shows the curves with a further step, and where its time went.
    pub fn step(&mut self, metrics: &StepMetrics, steps: u64, left: Option<Duration>) {
        self.history.push((metrics.success, metrics.reward));
        let Some(bars) = &self.bars else { return };
        let (success, reward): (Vec<f64>, Vec<f64>) = self.history.iter().copied().unzip();
        let left = left.map_or(String::new(), |left| format!(", {} left", duration(left)));
        bars.curves.set_message(format!(
            "step {}/{steps}{left}   success {} {:.3}   reward {} {:.2}",
            metrics.step,
            sparkline(&success, Some((0.0, 1.0))),
            metrics.success,
            sparkline(&reward, None),
            metrics.reward
        ));
        bars.phases.set_message(phases(&metrics.seconds));
    }

    /// Writes above the bars, by `write`.
    pub fn above(&self, write: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.all.suspend(write),
            None => write(),
        }
    }

    /// Takes everything away.
    pub fn end(&mut self) {
        if let Some(bars) = self.bars.take() {
            [&bars.curves, &bars.phases, &bars.work].into_iter().for_each(ProgressBar::finish_and_clear);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where the time of a step went; phases that took next to nothing are left out.
fn phases(s: &Seconds) -> String {
    let parts = [
        ("rollout", s.rollout),
        ("reference", s.reference),
        ("analyzer wait", s.analyzer_wait),
        ("re-score", s.rescore),
        ("update", s.update),
    ];
    let total = s.total().max(1e-9);
    let shown = parts.iter().filter(|(_, seconds)| *seconds >= 0.01 * total);
    let text: Vec<String> = shown
        .map(|(name, seconds)| format!("{name} {seconds:.1} s {:.0} %", 100.0 * seconds / total))
        .collect();
    format!("a step {total:.1} s: {}", text.join("   "))
}

/// Values as bars of eight heights, within bounds or their own.
fn sparkline(values: &[f64], bounds: Option<(f64, f64)>) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let together = values.len().div_ceil(WIDTH).max(1);
    let means: Vec<f64> =
        values.chunks(together).map(|some| some.iter().sum::<f64>() / some.len() as f64).collect();
    let least = means.iter().copied().fold(f64::INFINITY, f64::min);
    let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = bounds.unwrap_or((least, most));
    let height = |value: &f64| match high > low {
        // A value that is no number has the lowest bar.
        true => (((value - low) / (high - low) * 8.0) as usize).min(7),
        false => 3,
    };
    means.iter().map(|value| HEIGHTS[height(value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_show_how_values_went() {
        for (values, bounds, expected) in [
            (&[0.0, 0.5, 1.0][..], Some((0.0, 1.0)), "▁▅█"),
            (&[3.0, 4.0], None, "▁█"),
            (&[2.0, 2.0], None, "▄▄"),
            (&[f64::NAN, 1.0], Some((0.0, 1.0)), "▁█"),
            (&[], None, ""),
        ] {
            assert_eq!(sparkline(values, bounds), expected);
        }
        assert_eq!(sparkline(&[0.0; 100], None).chars().count(), 20);
    }
}
