//! The numbers of an experiment as comma-separated values: names have no commas, shares and means have six decimals.

use std::fmt::Write;

use super::plan::Plan;
use super::results::{CellResults, Results};
use crate::log::Log;
use crate::recipe::ShownSkills;

/// One row for every cell, seed and evaluation.
const RESULTS: &str =
    "cell,seed,step,split,skills,temperature,tasks,solved,context_limited,success,low,high,turns,invalid";

/// One row for every way of evaluating and cell but the baseline.
const COMPARISONS: &str = "skills,temperature,cell,baseline,seeds,difference,low,high,seeds_low,seeds_high,p";

/// One row for every cell, seed and training step.
const CURVES: &str = "cell,seed,step,tokens,success,reward,turns,invalid,zero_variance_groups,outcome_share,\
                      episode_skill_share,step_skill_share,kl,entropy,seconds";

/// Every evaluation of every finished run: its rate with Wilson's interval (`low`, `high`), mean turns, share of invalid
/// ones.
pub fn results(results: &Results<'_>) -> String {
    let mut out = format!("{RESULTS}\n");
    for (cell, seed, log) in runs(results) {
        for e in &log.evaluations {
            let (r, o) = (&e.report, &e.report.overall);
            let counts = format!("{},{},{}", o.tasks, o.won, r.context_limited);
            let numbers = numbers(&[o.success, o.low, o.high, r.turns, r.invalid]);
            let (step, split, skills, t) = (e.step, &e.split, name(e.skills), e.temperature);
            let _ = writeln!(out, "{cell},{seed},{step},{split},{skills},{t},{counts},{numbers}");
        }
    }
    out
}

/// Every cell against the baseline: the difference in success, with its intervals over tasks (`low`, `high`) and over
/// seeds (empty for one), and the probability `p` of one as large by chance.
pub fn comparisons(plan: &Plan, results: &Results<'_>) -> String {
    let mut out = format!("{COMPARISONS}\n");
    for &way in &results.ways {
        for (cell, baseline, c) in results.comparisons(plan, way) {
            let (d, skills, t, seeds) = (c.over_tasks, name(way.skills), way.temperature, c.seeds);
            let over_seeds = c.over_seeds.map_or(",".into(), |e| numbers(&[e.low, e.high]));
            let (over_tasks, p) = (numbers(&[d.mean, d.low, d.high]), numbers(&[c.p]));
            let _ = writeln!(out, "{skills},{t},{cell},{baseline},{seeds},{over_tasks},{over_seeds},{p}");
        }
    }
    out
}

/// Every training step of every finished run.
pub fn curves(results: &Results<'_>) -> String {
    let mut out = format!("{CURVES}\n");
    for (cell, seed, log) in runs(results) {
        for s in &log.steps {
            let (a, u) = (&s.advantage, &s.update);
            let episodes = numbers(&[s.success, s.reward, s.turns, s.invalid, s.zero_variance_groups]);
            let shares = numbers(&[a.outcome_share, a.episode_skill_share, a.step_skill_share]);
            let update = numbers(&[u.kl, u.entropy, s.seconds.total()]);
            let (step, tokens) = (s.step, s.episode_tokens);
            let _ = writeln!(out, "{cell},{seed},{step},{tokens},{episodes},{shares},{update}");
        }
    }
    out
}

/// Every finished run with the name of its cell and its seed.
fn runs<'a>(results: &'a Results<'_>) -> impl Iterator<Item = (&'a str, u64, &'a Log)> {
    let of = |c: &'a CellResults<'_>| c.runs.iter().map(|(seed, log)| (c.cell.name.as_str(), *seed, log));
    results.cells.iter().flat_map(of)
}

/// The name of skills shown, as in `metrics.jsonl`.
fn name(skills: ShownSkills) -> &'static str {
    match skills {
        ShownSkills::None => "none",
        ShownSkills::Bank => "bank",
    }
}

fn numbers(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.6}")).collect::<Vec<_>>().join(",")
}
