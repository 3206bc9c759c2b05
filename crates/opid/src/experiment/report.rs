//! The report of an experiment: tables as text, beside every number as CSV and learning curves.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use super::folder::Folder;
use super::plan::Plan;
use super::results::{LAST_STEPS, Results};
use super::statistics::Estimate;
use super::{csv, picture};
use crate::evaluate::Way;
use crate::recipe::ShownSkills;
use crate::run::{RunError, io};

/// Writes `report.txt`, `results.csv`, `comparisons.csv`, `curves.csv` and `curves.svg` into the experiment's folder,
/// from the runs that are finished.
///
/// Returns the text and the files.
///
/// # Errors
/// A run cannot be read, or a file cannot be written.
pub fn write(plan: &Plan, folder: &Folder) -> Result<(String, Vec<PathBuf>), RunError> {
    let results = Results::read(plan, folder)?;
    let text = text(plan, &results);
    let mut files = Vec::new();
    for (name, content) in [
        ("report.txt", &text),
        ("results.csv", &csv::results(&results)),
        ("comparisons.csv", &csv::comparisons(plan, &results)),
        ("curves.csv", &csv::curves(&results)),
        ("curves.svg", &picture::draw(plan, &results)),
    ] {
        let path = folder.path().join(name);
        io("write", &path, fs::write(&path, content))?;
        files.push(path);
    }
    Ok((text, files))
}

/// A table whose columns are as wide as they must be; all but the first are aligned to the right.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(heads: &[&str]) -> Table {
        Table(vec![heads.iter().map(|head| (*head).to_owned()).collect()])
    }

    fn write(&self, out: &mut String) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &self.0 {
            let mut line = String::from("  ");
            for (column, text) in row.iter().enumerate() {
                let width = width(column);
                let _ = match column {
                    0 => write!(line, "{text:<width$}"),
                    _ => write!(line, "   {text:>width$}"),
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// The tables and what they mean.
fn text(plan: &Plan, results: &Results<'_>) -> String {
    let all = plan.cells.len() * plan.seeds.len();
    let mut out = format!("{}: {} of {all} runs finished\n", plan.name, results.runs());
    if let Some(cell) = plan.cells.first() {
        let (e, seeds) = (&cell.recipe.evaluation, &plan.seeds);
        let tasks =
            results.cells.iter().flat_map(|c| c.runs.values()).find_map(|log| log.evaluations.first());
        let tasks = tasks.map_or("the".to_owned(), |e| e.report.overall.tasks.to_string());
        let _ = writeln!(out, "seeds {seeds:?}; {tasks} tasks of {}, each once per evaluation", e.split);
    }
    for &way in &results.ways {
        let _ = writeln!(out, "\nSuccess at {}", describe(way));
        evaluation_table(plan, results, way).write(&mut out);
    }
    out.push_str("\nTraining, mean over seeds\n");
    let last = format!("turns, last {LAST_STEPS} steps");
    let mut table =
        Table::new(&["cell", "steps", &last, "invalid turns", "skills in |A|", "seconds", "M tokens"]);
    for cell in &results.cells {
        let mut row = vec![cell.cell.name.clone(), cell.cell.recipe.steps.to_string()];
        match cell.cost() {
            Some(c) => row.extend([
                format!("{:.1}", c.turns),
                format!("{:.3}", c.invalid),
                format!("{:.3}", c.skill_share),
                format!("{:.0}", c.seconds),
                format!("{:.2}", c.tokens / 1e6),
            ]),
            None => row.extend(std::iter::repeat_n("-".to_owned(), 5)),
        }
        table.0.push(row);
    }
    table.write(&mut out);
    out.push_str(&notes(plan));
    out
}

/// Success of every cell in one way of evaluating.
fn evaluation_table(plan: &Plan, results: &Results<'_>, way: Way) -> Table {
    let comparisons = results.comparisons(plan, way);
    let mut heads: Vec<String> = ["cell", "seeds", "before", "after", "turns"].map(String::from).into();
    if let Some(baseline) = plan.baseline {
        let to = &plan.cells[baseline].name;
        heads.extend([format!("difference to {to}, over tasks"), "over seeds".into(), "p".into()]);
    }
    let mut table = Table(vec![heads]);
    let ranged = |e: Estimate| format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low.max(0.0), e.high.min(1.0));
    for cell in &results.cells {
        let mut row = vec![cell.cell.name.clone()];
        match cell.summary(way) {
            Some(s) => row.extend([
                format!("{}{}", s.seeds, if s.seeds == 1 { " *" } else { "" }),
                ranged(s.before),
                ranged(s.after),
                format!("{:.1}", s.turns),
            ]),
            None => row.extend(["0", "-", "-", "-"].map(String::from)),
        }
        match comparisons.iter().find(|(name, ..)| *name == cell.cell.name) {
            Some((.., c)) => row.extend([
                format!("{:+.3} [{:+.3}, {:+.3}]", c.over_tasks.mean, c.over_tasks.low, c.over_tasks.high),
                c.over_seeds.map_or("-".into(), |e| format!("[{:+.3}, {:+.3}]", e.low, e.high)),
                if c.p < 1e-4 { "< 0.0001".into() } else { format!("{:.4}", c.p) },
            ]),
            None => row.resize(table.0[0].len(), "-".into()),
        }
        table.0.push(row);
    }
    table
}

/// What the numbers of the tables mean.
fn notes(plan: &Plan) -> String {
    let mut text = "\nBrackets are 95 % intervals. before, after: mean over seeds, Student's t over the seeds' success \
                    rates;\nwith a single seed (*) Wilson's interval of its tasks. Of two or three seeds such an interval is itself rough: it is\n\
                    narrow where they happen to agree. turns: mean of the evaluation's \
                    episodes after training.\nseconds: training without evaluations, beside the other runs. M tokens: \
                    of training episodes.\n"
        .to_owned();
    if plan.starts.iter().any(|_| plan.seeds.len() > 1) {
        text.push_str(
            "The seeds of a cell share one starting policy: intervals over seeds do not tell how much another one \
             would change.\n",
        );
    }
    if plan.baseline.is_some() {
        text.push_str(
            "difference: success after training less the baseline's, on the same tasks with the same seeds; a task's \
             difference is\nits mean over seeds. over tasks: percentile bootstrap over tasks, for these runs as they \
             are. over seeds: Student's t\nover the seeds' differences, which has the chance of training in it. p: \
             exact two-sided sign-flip test over tasks;\nit is not corrected for the number of cells.\n",
        );
    }
    text
}

/// A way of evaluating in words.
pub fn describe(way: Way) -> String {
    let skills = match way.skills {
        ShownSkills::None => "",
        ShownSkills::Bank => ", skills of the bank shown",
    };
    format!("T {}{skills}", way.temperature)
}
