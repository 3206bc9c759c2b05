//! `opid eval`: a model plays every task of a list once.

use std::path::{Path, PathBuf};
use std::time::Instant;

use opid::evaluate::{EVALUATION, Report, Way, evaluate};
use opid::policy::open_policy;
use opid::recipe::{Recipe, ShownSkills};
use opid::rollout::{Group, Settings};
use opid::run::locate;
use opid::skill::bank::Bank;
use opid::tasks::Tasks;
use opid::train::Event;
use opid::trajectory::Trajectory;
use serde::Serialize;

use super::json_lines::JsonLines;
use super::print;
use crate::display::{Display, rate, score, shown};

/// Options of `eval`.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face folder, run folder (its last checkpoint), or a checkpoint inside a run.
    model: PathBuf,
    /// Environment [default: the recipe's].
    #[arg(long)]
    env: Option<String>,
    /// Split [default: the recipe's evaluation.split].
    #[arg(long)]
    split: Option<String>,
    /// Number of games; 0 plays all of a finite split [default: the recipe's evaluation.games].
    #[arg(long)]
    games: Option<usize>,
    /// Sampling temperature, 0 is greedy (repeatable) [default: the recipe's evaluation.temperatures].
    #[arg(long, value_name = "T", value_parser = parse_temperature)]
    temperature: Vec<f32>,
    /// Keys the random draws [default: the recipe's seed].
    #[arg(long)]
    seed: Option<u64>,
    /// Recipe with prompts and limits [default: that of the model's run, else the built-in recipe].
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Change a key of the recipe, for example --set environment.max_turns=50 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the episodes as JSON lines.
    #[arg(long, value_name = "FILE")]
    trajectories: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a Path,
    environment: &'a str,
    split: &'a str,
    seed: u64,
    max_turns: usize,
    evaluations: Vec<Evaluation>,
}

/// The result at one temperature.
#[derive(Serialize)]
struct Evaluation {
    temperature: f32,
    skills: ShownSkills,
    seconds: f64,
    #[serde(flatten)]
    report: Report,
}

/// A line of the episodes' file.
#[derive(Serialize)]
struct Record<'a> {
    temperature: f32,
    skills: ShownSkills,
    #[serde(flatten)]
    trajectory: &'a Trajectory,
}

/// Plays the tasks at every temperature and shows the result.
pub fn run(args: Args) -> anyhow::Result<()> {
    let model = locate(&args.model)?;
    let recipe = Recipe::read(args.recipe.as_deref().or(model.recipe.as_deref()), &args.said())?;
    let tasks = Tasks::open(&recipe.environment, recipe.seed)?;
    let split = recipe.evaluation.split.as_str();
    let panel = tasks.panel(split, recipe.evaluation.games)?;
    let policy = open_policy(&model.folder, &recipe)?;
    let mut file = args.trajectories.as_deref().map(JsonLines::create).transpose()?;
    let mut evaluations = Vec::new();
    let bank = Bank::among(&recipe.evaluation.skills, &recipe)?;
    for Way { skills, temperature } in Way::all(&recipe.evaluation) {
        let groups = Group::of(&panel, skills.of(bank.as_ref()))?;
        let start = Instant::now();
        let settings = Settings::evaluation(&recipe, temperature, [recipe.seed, EVALUATION, 0]);
        let mut display = Display::new();
        let total = panel.len();
        let mut progress = |done| display.show(Event::Sampling { purpose: "evaluation", done, total });
        let (report, played) = evaluate(&policy.model, &policy.dialogue, &groups, &settings, &mut progress)?;
        if let Some(file) = &mut file {
            file.add(played.iter().map(|trajectory| Record { temperature, skills, trajectory }))?;
        }
        evaluations.push(Evaluation { temperature, skills, seconds: start.elapsed().as_secs_f64(), report });
    }
    let answer = Answer {
        model: &model.folder,
        environment: &recipe.environment.name,
        split,
        seed: recipe.seed,
        max_turns: recipe.environment.max_turns,
        evaluations,
    };
    match args.json {
        true => print(&format!("{}\n", serde_json::to_string(&answer)?)),
        false => print(&answer.table()),
    }
}

impl Args {
    /// Everything that was said, as changes to the recipe, so that it is checked like a recipe.
    fn said(&self) -> Vec<String> {
        let mut changes = self.changes.clone();
        let text = |key: &str, value: &Option<String>| value.as_ref().map(|v| format!("{key}={v:?}"));
        changes.extend(text("environment.name", &self.env));
        changes.extend(text("evaluation.split", &self.split));
        changes.extend(self.games.map(|n| format!("evaluation.games={n}")));
        changes.extend(self.seed.map(|n| format!("seed={n}")));
        if !self.temperature.is_empty() {
            changes.push(format!("evaluation.temperatures={:?}", self.temperature));
        }
        changes
    }
}

impl Answer<'_> {
    fn table(&self) -> String {
        let mut text = format!("{} on {}, {}\n", self.model.display(), self.environment, self.split);
        for e in &self.evaluations {
            let r = &e.report;
            text.push_str(&format!(
                "\ntemperature {}{}, {:.0} s\n",
                e.temperature,
                shown(e.skills),
                e.seconds
            ));
            let kinds = r.kinds.iter().map(|(kind, k)| (kind.as_str(), k));
            for (kind, k) in kinds.chain([("all", &r.overall)]) {
                text.push_str(&format!("  {kind:<32} {:>4}/{:<4} {}\n", k.won, k.tasks, rate(k)));
            }
            if r.kinds.len() > 1 {
                text.push_str(&format!("  {:<42} {:.3}\n", "mean of the kinds", r.macro_success));
            }
            if !score(r).is_empty() {
                text.push_str(&format!("  mean score {:.3}\n", r.score));
            }
            text.push_str(&format!("  {:.1} turns, {:.1} % invalid actions", r.turns, 100.0 * r.invalid));
            if r.context_limited > 0 {
                text.push_str(&format!(", {} episodes out of context", r.context_limited));
            }
            if r.failed_lookups > 0 {
                text.push_str(&format!(", {} episodes with a failed search", r.failed_lookups));
            }
            if r.truncated_prompts > 0 {
                text.push_str(&format!(", {} prompts cut", r.truncated_prompts));
            }
            text.push('\n');
        }
        text
    }
}

/// Reads a temperature.
fn parse_temperature(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| "write a number that is 0 (greedy) or more".to_owned())
}
