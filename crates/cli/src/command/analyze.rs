//! `opid analyze`: skills for the stored episodes of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use opid::recipe::AnalyzerName;
use opid::record::{stored, stored_steps};
use opid::run::locate;
use opid::skill::analyzer::{self, Analyses, Analysis, AnalyzerError, StepContext};
use opid::skill::replay::Recorded;
use opid::trajectory::Trajectory;
use opid_lm::storage::Disk;
use serde_json::{Value, json};

use super::json_lines::JsonLines;
use super::{print, recipe_of};
use crate::display::{causes, usage};

/// Options of `analyze`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run whose trajectories are read.
    run: PathBuf,
    /// Analyzer: hindsight, openai, policy (the run's last checkpoint), replay or bank [default: that of the run].
    #[arg(long)]
    analyzer: Option<String>,
    /// Change a key of the run's recipe, for example --set skill.openai.model=NAME (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Training step to read (repeatable) [default: all that are stored].
    #[arg(long, value_name = "N")]
    step: Vec<u64>,
    /// Print one JSON object a training step.
    #[arg(long)]
    json: bool,
    /// Write the skills into a file that skill.analyzer = "replay" reads.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Analyzes step after step, and shows each before the next.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut changes: Vec<String> =
        args.analyzer.iter().map(|name| format!("skill.analyzer={name:?}")).collect();
    changes.extend(args.changes.iter().cloned());
    let mut recipe = recipe_of(&args.run, &changes)?;
    if recipe.skill.analyzer == AnalyzerName::Policy && recipe.skill.policy.model.is_empty() {
        recipe.skill.policy.model = locate(&args.run)?.folder.display().to_string();
    }
    let steps = steps(&args.run, &args.step)?;
    let analyzer = analyzer::open(&recipe, None, Arc::new(Disk))?;
    let mut recording = args.record.as_deref().map(JsonLines::create).transpose()?;
    for step in steps {
        let trajectories: Vec<Trajectory> =
            stored(&args.run, step)?.into_iter().map(|stored| stored.trajectory).collect();
        let shown: Vec<&Trajectory> = trajectories.iter().collect();
        let mut analyses = analyzer.analyze(StepContext::stored(step), &shown)?;
        let critical = recipe.skill.critical_steps.select(&trajectories, recipe.skill.max_step_skills);
        let found = analyses.results.iter_mut().enumerate();
        let taken = found.flat_map(|(i, result)| result.as_mut().map(|analysis| critical.keep(i, analysis)));
        let not_critical = taken.sum();
        if let Some(recording) = &mut recording {
            let results = trajectories.iter().zip(&analyses.results);
            recording.add(results.map(|(t, result)| Recorded::new(step, t, result.as_ref().ok())))?;
        }
        print(&match args.json {
            true => format!("{}\n", as_json(step, &trajectories, &analyses, not_critical)),
            false => as_text(step, &trajectories, &analyses, not_critical),
        })?;
    }
    Ok(())
}

/// The steps to read: those asked for, or all that are stored.
fn steps(run: &Path, asked: &[u64]) -> anyhow::Result<Vec<u64>> {
    let stored = stored_steps(run)?;
    ensure!(
        !stored.is_empty(),
        "{} has no trajectories: checkpoint.trajectories_every was 0, or no training step was done",
        run.display()
    );
    let absent = asked.iter().find(|step| !stored.contains(step));
    if let Some(step) = absent {
        let known: Vec<String> = stored.iter().map(u64::to_string).collect();
        anyhow::bail!("{} has no trajectories of step {step}, only of {}", run.display(), known.join(", "));
    }
    Ok(if asked.is_empty() { stored } else { asked.to_vec() })
}

/// The skills of a step, beside the turns they belong to.
fn as_text(step: u64, trajectories: &[Trajectory], analyses: &Analyses, not_critical: usize) -> String {
    let mut text = String::new();
    for (t, result) in trajectories.iter().zip(&analyses.results) {
        let outcome = if t.won { "won" } else { "lost" };
        text.push_str(&format!(
            "step {step}, group {}, episode {}: {} ({}), {outcome} in {} turns\n",
            t.group,
            t.member,
            t.goal,
            t.task,
            t.turns.len()
        ));
        match result {
            Ok(analysis) => describe(&mut text, t, analysis),
            Err(error) => text.push_str(&format!("  no skills ({}): {error}\n", error.cause())),
        }
        text.push('\n');
    }
    let failures = analyses.failures();
    let failed: usize = failures.values().sum();
    let done = trajectories.len() - failed;
    text.push_str(&format!("step {step}: {done} episodes analyzed, {failed} failed{}\n", causes(&failures)));
    if not_critical > 0 {
        text.push_str(&format!(
            "{not_critical} step skills left out: statistics find their steps not critical\n"
        ));
    }
    text.extend(usage(&analyses.usage).map(|line| format!("{line}\n")));
    text.push('\n');
    text
}

fn describe(text: &mut String, t: &Trajectory, analysis: &Analysis) {
    for (name, words) in [("summary", &analysis.summary), ("episode skill", &analysis.episode_skill)] {
        if !words.is_empty() {
            text.push_str(&format!("  {name}: {words}\n"));
        }
    }
    for (i, turn) in t.turns.iter().enumerate() {
        let refused = if turn.valid { "" } else { "  (invalid)" };
        // What is no command may hold anything.
        let action = turn.action.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("  {i:>3}  > {action}{refused}\n"));
        if let Some(skill) = analysis.step_skills.get(&i) {
            text.push_str(&format!("       skill: {skill}\n"));
        }
    }
}

/// The same for programs.
fn as_json(step: u64, trajectories: &[Trajectory], analyses: &Analyses, not_critical: usize) -> Value {
    let episode = |(t, result): (&Trajectory, &Result<Analysis, AnalyzerError>)| {
        let turns: Vec<Value> = t
            .turns
            .iter()
            .enumerate()
            .map(|(i, turn)| {
                let skill = result.as_ref().ok().and_then(|a| a.step_skills.get(&i));
                json!({ "action": turn.action, "valid": turn.valid, "skill": skill })
            })
            .collect();
        let mut episode = json!({
            "group": t.group, "member": t.member, "task": t.task, "goal": t.goal, "won": t.won, "turns": turns,
        });
        match result {
            Ok(analysis) => {
                episode["summary"] = json!(analysis.summary);
                episode["episode_skill"] = json!(analysis.episode_skill);
            }
            Err(error) => episode["failure"] = json!({ "cause": error.cause(), "reason": error.to_string() }),
        }
        episode
    };
    let episodes: Vec<Value> = trajectories.iter().zip(&analyses.results).map(episode).collect();
    json!({
        "step": step, "episodes": episodes, "failures": analyses.failures(), "not_critical": not_critical,
        "analyzer": analyses.usage,
    })
}
