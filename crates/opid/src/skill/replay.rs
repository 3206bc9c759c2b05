//! Skills read from a recording: a file of JSON lines, or the trajectories of a run.
//!
//! A recording fits the episodes it was made from: they are found by training step, group and member, and
//! where the recording knows what happened in an episode, the same must have happened again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::analyzer::{Analyses, Analysis, Analyzer, AnalyzerError, StepContext, StopError, Usage};
use crate::digest;
use crate::record;
use crate::run::RunError;
use crate::trajectory::Trajectory;

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Training step.
    pub step: u64,
    /// Number of the task group within the step.
    pub group: usize,
    /// Number of the episode within its group.
    pub member: usize,
    /// The task's name.
    pub task: String,
    /// [`fingerprint`] of the episode; without one, any episode of the task fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<String>,
    /// The skills; absent if the analysis failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

impl Recorded {
    /// The line of an episode.
    pub fn new(step: u64, t: &Trajectory, analysis: Option<&Analysis>) -> Self {
        Recorded {
            step,
            group: t.group,
            member: t.member,
            task: t.task.clone(),
            episode: Some(fingerprint(t)),
            analysis: analysis.cloned(),
        }
    }
}

/// A hash of everything that was said in an episode.
pub fn fingerprint(t: &Trajectory) -> String {
    let said: Vec<[&str; 2]> = t.turns.iter().map(|turn| [&*turn.observation, &*turn.text]).collect();
    let all = serde_json::to_vec(&(&t.goal, said, &t.last_observation, t.won)).expect("plain data");
    let mut hash = digest::of(&all);
    hash.truncate(32);
    hash
}

/// An episode whose skills are not in the recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It is not there.
    #[error(
        "{origin} has no episode {member} of group {group} in step {step} (task {task}): replay a recording of the \
         same seed and settings, or record this run with opid analyze"
    )]
    Missing {
        /// The recording.
        origin: String,
        /// Training step.
        step: u64,
        /// Group.
        group: usize,
        /// Member.
        member: usize,
        /// The task's name.
        task: String,
    },
    /// Another episode has its place.
    #[error(
        "{origin} has another episode as number {member} of group {group} in step {step}: {recorded} instead of \
         {found}; the run took another course than the recorded one"
    )]
    Other {
        /// The recording.
        origin: String,
        /// Training step.
        step: u64,
        /// Group.
        group: usize,
        /// Member.
        member: usize,
        /// Task and fingerprint in the recording.
        recorded: String,
        /// Task and fingerprint of the episode.
        found: String,
    },
    /// Its analysis failed when it was recorded.
    #[error(
        "{origin} has no skills for episode {member} of group {group} in step {step}: its analysis failed"
    )]
    Failed {
        /// The recording.
        origin: String,
        /// Training step.
        step: u64,
        /// Group.
        group: usize,
        /// Member.
        member: usize,
    },
}

impl ReplayError {
    /// The name it is counted under.
    pub fn cause(&self) -> &'static str {
        match self {
            ReplayError::Missing { .. } => "not_recorded",
            ReplayError::Other { .. } => "other_episode",
            ReplayError::Failed { .. } => "recorded_failure",
        }
    }
}

/// Training step, group and member.
type Key = (u64, usize, usize);

/// The analyzer.
#[derive(Debug)]
pub struct Replay {
    origin: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// All lines of a file.
    File(HashMap<Key, Recorded>),
    /// A run, whose trajectories are read a step at a time: they are large.
    Run,
}

impl Replay {
    /// Opens a recording: a file, or the folder of a run.
    ///
    /// # Errors
    /// There is none, or the file is not a recording.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let source = match path.is_dir() {
            true => {
                record::stored_steps(path)?;
                Source::Run
            }
            false => Source::File(read(path)?),
        };
        Ok(Replay { origin: path.to_owned(), source })
    }

    /// The lines of a step, or of more.
    fn lines(&self, step: u64) -> Result<HashMap<Key, Recorded>, RunError> {
        let Source::Run = &self.source else { return Ok(HashMap::new()) };
        if !record::stored_steps(&self.origin)?.contains(&step) {
            return Ok(HashMap::new());
        }
        let stored = record::stored(&self.origin, step)?;
        let line = |s: &record::Stored| Recorded::new(step, &s.trajectory, s.analysis.as_ref());
        Ok(by_key(stored.iter().map(line)))
    }

    fn find(
        &self,
        lines: &HashMap<Key, Recorded>,
        step: u64,
        t: &Trajectory,
    ) -> Result<Analysis, ReplayError> {
        let (origin, group, member) = (self.origin.display().to_string(), t.group, t.member);
        let Some(line) = lines.get(&(step, group, member)) else {
            return Err(ReplayError::Missing { origin, step, group, member, task: t.task.clone() });
        };
        let print = fingerprint(t);
        let same = line.episode.as_ref().is_none_or(|recorded| *recorded == print);
        if line.task != t.task || !same {
            let recorded = format!("{} {}", line.task, line.episode.as_deref().unwrap_or_default());
            let found = format!("{} {print}", t.task);
            return Err(ReplayError::Other { origin, step, group, member, recorded, found });
        }
        line.analysis.clone().ok_or(ReplayError::Failed { origin, step, group, member })
    }
}

impl Analyzer for Replay {
    fn analyze(&self, context: StepContext<'_>, trajectories: &[&Trajectory]) -> Result<Analyses, StopError> {
        let step = context.step;
        let of_run = self.lines(step)?;
        let lines = match &self.source {
            Source::File(lines) => lines,
            Source::Run => &of_run,
        };
        let results = trajectories.iter().map(|t| self.find(lines, step, t).map_err(AnalyzerError::from));
        Ok(Analyses { results: results.collect(), usage: Usage::default() })
    }
}

fn by_key(lines: impl Iterator<Item = Recorded>) -> HashMap<Key, Recorded> {
    lines.map(|line| ((line.step, line.group, line.member), line)).collect()
}

/// Reads a file of JSON lines.
fn read(path: &Path) -> Result<HashMap<Key, Recorded>, RunError> {
    let fail = |source| RunError::Io { action: "read the recorded skills in", path: path.to_owned(), source };
    let mut lines = Vec::new();
    for (number, line) in BufReader::new(File::open(path).map_err(fail)?).lines().enumerate() {
        let line = line.map_err(fail)?;
        if line.trim().is_empty() {
            continue;
        }
        let recorded = serde_json::from_str(&line).map_err(|error| RunError::Damaged {
            path: path.to_owned(),
            reason: format!("line {}: {error}; opid analyze --record writes such files", number + 1),
        })?;
        lines.push(recorded);
    }
    Ok(by_key(lines.into_iter()))
}
