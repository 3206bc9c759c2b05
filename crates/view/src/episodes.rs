//! The index of a run's kept episodes: what a list needs to be filtered by, as columns.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

use opid::record::{self, stored_as, stored_steps};
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::summary::rounded;

/// What is read of an episode.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    group: usize,
    member: usize,
    task: String,
    kind: String,
    goal: String,
    won: bool,
    #[serde(default)]
    score: f64,
    reward: f64,
    ending: String,
    turns: Vec<Turn>,
    #[serde(default)]
    analysis: Option<Skills>,
}

#[derive(Clone, Debug, Deserialize)]
struct Turn {
    valid: bool,
    response: Vec<IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
struct Skills {
    step_skills: BTreeMap<usize, IgnoredAny>,
}

/// Length and time of change of a file: if both are as they were, so is what is in it.
type Mark = (u64, Option<SystemTime>);

/// A step's file as it was read.
struct Read {
    mark: Mark,
    lines: Result<Vec<Line>, String>,
}

/// The index of a run, which is kept up to date.
#[derive(Default)]
pub struct Index {
    steps: BTreeMap<u64, Read>,
}

fn mark(file: &Metadata) -> Mark {
    (file.len(), file.modified().ok())
}

impl Index {
    /// Reads the files that are new or have changed, and gives the index: columns, with texts as numbers of `texts`, and
    /// `unreadable` files.
    pub fn update(&mut self, run: &Path) -> Value {
        // A folder without trajectories has none.
        let steps = stored_steps(run).unwrap_or_default();
        self.steps.retain(|step, _| steps.contains(step));
        let changed: Vec<(u64, Mark)> = steps
            .into_iter()
            .filter_map(|step| Some((step, mark(&std::fs::metadata(record::stored_file(run, step)).ok()?))))
            .filter(|(step, mark)| self.steps.get(step).is_none_or(|read| read.mark != *mark))
            .collect();
        let read = changed.into_par_iter().map(|(step, mark)| {
            let lines = stored_as(run, step).map_err(|error| error.to_string());
            (step, Read { mark, lines })
        });
        self.steps.extend(read.collect::<Vec<_>>());
        self.columns()
    }

    fn columns(&self) -> Value {
        let lines: Vec<(u64, &Line)> = self
            .steps
            .iter()
            .flat_map(|(step, read)| read.lines.iter().flatten().map(move |line| (*step, line)))
            .collect();
        let mut texts = Texts::default();
        let mut words = |of: fn(&Line) -> &str| -> Vec<usize> {
            lines.iter().map(|(_, l)| texts.number(of(l))).collect()
        };
        let (task, kind, goal, ending) =
            (words(|l| &l.task), words(|l| &l.kind), words(|l| &l.goal), words(|l| &l.ending));
        let column = |of: &dyn Fn(&Line) -> Value| lines.iter().map(|(_, line)| of(line)).collect::<Vec<_>>();
        let unreadable: Vec<&String> =
            self.steps.values().filter_map(|read| read.lines.as_ref().err()).collect();
        json!({
            "step": lines.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
            "group": column(&|l| json!(l.group)),
            "member": column(&|l| json!(l.member)),
            "task": task, "kind": kind, "goal": goal, "ending": ending,
            "won": column(&|l| json!(u8::from(l.won))),
            "score": column(&|l| json!(rounded(l.score))),
            "reward": column(&|l| json!(rounded(l.reward))),
            "turns": column(&|l| json!(l.turns.len())),
            "invalid": column(&|l| json!(l.turns.iter().filter(|t| !t.valid).count())),
            "tokens": column(&|l| json!(l.turns.iter().map(|t| t.response.len()).sum::<usize>())),
            // The number of step skills; null without an analysis.
            "skills": column(&|l| json!(l.analysis.as_ref().map(|skills| skills.step_skills.len()))),
            "texts": texts.list,
            "unreadable": unreadable,
        })
    }
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.list.push(text.to_owned());
        self.numbers.insert(text.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}
