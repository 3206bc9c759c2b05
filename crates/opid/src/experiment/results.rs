//! What the finished runs of an experiment came to, and the comparison of cells.

use std::collections::BTreeMap;

use super::folder::{Folder, State};
use super::plan::{Cell, Plan};
use super::statistics::{Estimate, bootstrap, mean, over_seeds, sign_flip};
use crate::evaluate::Way;
use crate::log::Log;
use crate::run::RunError;
use crate::train::Evaluated;

/// Training steps whose episodes count as those of the end of training.
pub const LAST_STEPS: usize = 5;

/// The finished runs of a cell.
#[derive(Clone, Debug)]
pub struct CellResults<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// By seed.
    pub runs: BTreeMap<u64, Log>,
}

/// The finished runs of an experiment.
#[derive(Clone, Debug)]
pub struct Results<'a> {
    /// By cell, in the order of the plan.
    pub cells: Vec<CellResults<'a>>,
    /// Every way of evaluating that a cell has.
    pub ways: Vec<Way>,
}

/// How a cell did in one way of evaluating.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Runs that are summed up.
    pub seeds: usize,
    /// Success before training.
    pub before: Estimate,
    /// Success after training.
    pub after: Estimate,
    /// Mean turns of the episodes of the last evaluation.
    pub turns: f64,
}

/// A cell against the baseline, in one way of evaluating: the difference in success after training.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Seeds that both cells have finished.
    pub seeds: usize,
    /// Mean difference, and its interval over tasks.
    pub over_tasks: Estimate,
    /// Its interval over seeds; nothing for one seed.
    pub over_seeds: Option<Estimate>,
    /// Probability of a difference at least as large by chance, by the sign-flip test over tasks.
    pub p: f64,
}

/// What training a cell took, and how it ended: means over the finished runs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Mean turns of the episodes of the last [`LAST_STEPS`] training steps.
    pub turns: f64,
    /// Share of invalid turns in the same.
    pub invalid: f64,
    /// Share of skills in `|A|`, over all steps.
    pub skill_share: f64,
    /// Seconds of training, without evaluations.
    pub seconds: f64,
    /// Tokens of all training episodes.
    pub tokens: f64,
}

impl<'a> Results<'a> {
    /// Reads the runs that are finished.
    ///
    /// # Errors
    /// The metrics of one cannot be read.
    pub fn read(plan: &'a Plan, folder: &Folder) -> Result<Results<'a>, RunError> {
        let mut results = Results { cells: Vec::new(), ways: Vec::new() };
        for cell in &plan.cells {
            let mut runs = BTreeMap::new();
            for &seed in &plan.seeds {
                if folder.state(cell, seed)? == State::Finished {
                    runs.insert(seed, Log::read(&folder.run(cell, seed))?);
                }
            }
            results.cells.push(CellResults { cell, runs });
            for way in Way::all(&cell.recipe.evaluation) {
                if !results.ways.contains(&way) {
                    results.ways.push(way);
                }
            }
        }
        results.ways.sort_by_key(|way| way.skills);
        Ok(results)
    }

    /// Every cell against the baseline in one way of evaluating, where both have results: the names of both, and the
    /// comparison.
    pub fn comparisons(&self, plan: &Plan, way: Way) -> Vec<(&str, &str, Comparison)> {
        let Some(baseline) = plan.baseline.map(|index| &self.cells[index]) else { return Vec::new() };
        let others = self.cells.iter().enumerate().filter(|(index, _)| plan.baseline != Some(*index));
        let compare = |(index, cell): (usize, &CellResults<'a>)| {
            let comparison = cell.against(baseline, way, index as u64)?;
            Some((cell.cell.name.as_str(), baseline.cell.name.as_str(), comparison))
        };
        others.filter_map(compare).collect()
    }

    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.cells.iter().map(|cell| cell.runs.len()).sum()
    }
}

impl CellResults<'_> {
    /// The evaluation of every run after a step, in one way; runs without one are left out.
    pub fn evaluations(&self, way: Way, step: u64) -> Vec<(u64, &Evaluated)> {
        let of = |log| Log::evaluations_after(log, step).find(|e| e.way() == way);
        self.runs.iter().filter_map(|(seed, log)| Some((*seed, of(log)?))).collect()
    }

    /// How the cell did; nothing if it has no finished run, or is not evaluated in this way.
    pub fn summary(&self, way: Way) -> Option<Summary> {
        let (before, after) = (self.evaluations(way, 0), self.evaluations(way, self.cell.recipe.steps));
        let turns: Vec<f64> = after.iter().map(|(_, e)| e.report.turns).collect();
        Some(Summary {
            seeds: after.len(),
            before: success(&before)?,
            after: success(&after)?,
            turns: mean(&turns),
        })
    }

    /// The cell against another, on the same tasks with the same seeds; nothing if they share none. `key` fixes the
    /// draws of the interval.
    pub fn against(&self, baseline: &CellResults<'_>, way: Way, key: u64) -> Option<Comparison> {
        let ours = self.evaluations(way, self.cell.recipe.steps);
        let theirs: BTreeMap<u64, &Evaluated> =
            baseline.evaluations(way, baseline.cell.recipe.steps).into_iter().collect();
        let pairs: Vec<(&[u8], &[u8])> = ours
            .iter()
            .filter_map(|(seed, e)| Some((&e.report.solved[..], &theirs.get(seed)?.report.solved[..])))
            .filter(|(a, b)| a.len() == b.len() && !a.is_empty())
            .collect();
        let tasks = pairs.first()?.0.len();
        // Seeds that solve the task under this cell, less those that do under the baseline.
        let by_task: Vec<i64> = (0..tasks)
            .map(|task| pairs.iter().map(|(a, b)| i64::from(a[task]) - i64::from(b[task])).sum())
            .collect();
        let by_seed: Vec<f64> = pairs
            .iter()
            .map(|(a, b)| {
                let solved = |list: &[u8]| list.iter().map(|&s| f64::from(s)).sum::<f64>();
                (solved(a) - solved(b)) / tasks as f64
            })
            .collect();
        let shares: Vec<f64> = by_task.iter().map(|&d| d as f64 / pairs.len() as f64).collect();
        Some(Comparison {
            seeds: pairs.len(),
            over_tasks: bootstrap(&shares, key),
            over_seeds: over_seeds(&by_seed),
            p: sign_flip(&by_task),
        })
    }

    /// What training took; nothing if there is no finished run, or none that trained.
    pub fn cost(&self) -> Option<Cost> {
        let over = |of: &dyn Fn(&Log) -> f64| mean(&self.runs.values().map(of).collect::<Vec<_>>());
        if self.runs.values().any(|log| log.steps.is_empty()) || self.runs.is_empty() {
            return None;
        }
        let last = |log: &Log, of: fn(&crate::log::StepLine) -> f64| {
            mean(&log.steps.iter().rev().take(LAST_STEPS).map(of).collect::<Vec<_>>())
        };
        Some(Cost {
            turns: over(&|log| last(log, |s| s.turns)),
            invalid: over(&|log| last(log, |s| s.invalid)),
            skill_share: over(&|log| {
                let shares =
                    log.steps.iter().map(|s| s.advantage.episode_skill_share + s.advantage.step_skill_share);
                mean(&shares.collect::<Vec<_>>())
            }),
            seconds: over(&|log| log.steps.iter().map(|s| s.seconds.total()).sum()),
            tokens: over(&|log| log.steps.iter().map(|s| s.episode_tokens as f64).sum()),
        })
    }
}

/// Mean success of some runs, with the interval over seeds, or for a single one that over its tasks (Wilson).
fn success(evaluations: &[(u64, &Evaluated)]) -> Option<Estimate> {
    let values: Vec<f64> = evaluations.iter().map(|(_, e)| e.report.overall.success).collect();
    let single = || {
        let rate = evaluations.first()?.1.report.overall;
        Some(Estimate { mean: rate.success, low: rate.low, high: rate.high })
    };
    over_seeds(&values).or_else(single)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{Rate, Report};
    use crate::recipe::Recipe;
    use crate::recipe::ShownSkills;

    const WAY: Way = Way { skills: ShownSkills::None, temperature: 1.0 };

    fn cell(steps: u64) -> Cell {
        Cell { name: "cell".into(), recipe: Recipe { steps, ..Recipe::default() }, start: None }
    }

    /// A cell with a run for every seed, that solved these tasks after training, and none before.
    fn results<'a>(cell: &'a Cell, solved: &[(u64, [u8; 4])]) -> CellResults<'a> {
        let evaluated = |step, solved: [u8; 4]| {
            let won = solved.iter().filter(|s| **s == 1).count();
            let report = Report { overall: Rate::new(won, 4), solved: solved.to_vec(), ..Report::default() };
            Evaluated { step, split: "s".into(), temperature: 1.0, skills: ShownSkills::None, report }
        };
        let log = |after| Log {
            evaluations: vec![evaluated(0, [0; 4]), evaluated(cell.recipe.steps, after)],
            ..Log::default()
        };
        CellResults { cell, runs: solved.iter().map(|(seed, after)| (*seed, log(*after))).collect() }
    }

    #[test]
    fn cells_are_compared_task_by_task_over_the_seeds_they_share() {
        let (short, long) = (cell(2), cell(3));
        let baseline = results(&short, &[(1, [0, 0, 0, 1]), (2, [0, 0, 1, 1]), (3, [1; 4])]);
        let other = results(&long, &[(1, [1, 1, 0, 1]), (2, [1, 0, 1, 0]), (4, [0; 4])]);
        let c = other.against(&baseline, WAY, 0).unwrap();
        // By task 2, 1, 0, -1 of two seeds; by seed 2/4 and 0/4.
        assert_eq!(c.seeds, 2);
        assert!((c.over_tasks.mean - 0.25).abs() < 1e-12, "{c:?}");
        assert!((c.over_seeds.unwrap().mean - 0.25).abs() < 1e-12, "{c:?}");
        assert_eq!(c.p, sign_flip(&[2, 1, 0, -1]));
        assert_eq!(other.against(&results(&short, &[(3, [1; 4])]), WAY, 0), None);
        let other_way = Way { temperature: 0.4, ..WAY };
        assert_eq!(other.against(&baseline, other_way, 0), None);
    }

    #[test]
    fn one_seed_has_the_interval_of_its_tasks() {
        let short = cell(2);
        let one = results(&short, &[(1, [0, 0, 0, 1])]).summary(WAY).unwrap();
        let rate = Rate::new(1, 4);
        assert_eq!(one.after, Estimate { mean: 0.25, low: rate.low, high: rate.high });
        let two = results(&short, &[(1, [0, 0, 0, 1]), (2, [0, 1, 0, 1])]).summary(WAY).unwrap();
        assert_eq!(Some(two.after), over_seeds(&[0.25, 0.5]));
        assert!(results(&short, &[]).summary(WAY).is_none());
    }
}
