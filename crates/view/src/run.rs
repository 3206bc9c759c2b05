//! A run folder as people look at it: readable while the run goes on, whatever is missing or damaged in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use opid::evaluate::Way;
use opid::log::seconds;
use opid::recipe::Recipe;
use opid::run::{RunError, io};
use serde_json::Value;
use toml::Table;

/// What cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// There is no run at a path.
    #[error(
        "{path} is no run: give the folder of a run (with config.toml), of an experiment (with cells/), or a folder of \
         runs"
    )]
    NoRun {
        /// The path.
        path: PathBuf,
    },
    /// The configuration of a run.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All steps and the evaluations after the last are done.
    Finished,
    /// It wrote something not long ago, for how long its steps take.
    Running,
    /// It is not finished and has written nothing for this long: it stopped, or is in a long phase.
    Silent(Duration),
}

/// The best evaluation of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Share of tasks solved, with its 95 % interval.
    pub success: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Training steps done.
    pub step: u64,
    /// Sampling temperature.
    pub temperature: f64,
}

/// A run, read from its folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// Its configuration.
    pub config: Table,
    /// The same as this program reads it; absent where the run is another version's.
    pub recipe: Option<Recipe>,
    /// The lines of `metrics.jsonl` that are JSON objects.
    pub lines: Vec<Value>,
    /// Numbers, from 1, of complete lines that are none.
    pub damaged: Vec<usize>,
    /// How far it is.
    pub state: State,
}

/// A run that writes a line at least this often is running.
const PATIENCE: Duration = Duration::from_secs(120);

/// The folders of runs that a path stands for: a run, the runs of an experiment, or all runs in a folder.
///
/// # Errors
/// There are none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, ViewError> {
    let is_run = |path: &Path| path.join("config.toml").is_file();
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut runs: Vec<PathBuf> = match path.join("cells").is_dir() {
        true => folders(&path.join("cells"))?
            .iter()
            .map(|cell| folders(cell))
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        false if path.is_dir() => folders(path)?,
        false => Vec::new(),
    };
    runs.retain(|run| is_run(run));
    if runs.is_empty() {
        return Err(ViewError::NoRun { path: path.to_owned() });
    }
    Ok(runs)
}

/// The folders in a folder, in order of name.
fn folders(path: &Path) -> Result<Vec<PathBuf>, ViewError> {
    let mut found = Vec::new();
    for entry in io("read", path, std::fs::read_dir(path))? {
        let entry = io("read", path, entry)?.path();
        if entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

impl Run {
    /// Reads a run. A last line of `metrics.jsonl` without its end is left out.
    ///
    /// # Errors
    /// `config.toml` cannot be read or is no TOML, or `metrics.jsonl` cannot be read.
    pub fn read(path: &Path) -> Result<Run, ViewError> {
        let file = path.join("config.toml");
        let text = io("read", &file, std::fs::read_to_string(&file))?;
        let wrong =
            |error: toml::de::Error| ViewError::Config { path: file.clone(), reason: error.to_string() };
        let config: Table = text.parse().map_err(wrong)?;
        let recipe = Recipe::parse(&text, &file.display().to_string()).ok();
        let metrics = path.join("metrics.jsonl");
        let text = match std::fs::read(&metrics) {
            // A run that has just begun has none yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => io("read", &metrics, read)?,
        };
        let (mut lines, mut damaged) = (Vec::new(), Vec::new());
        let complete = text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        for (number, line) in complete.enumerate() {
            match serde_json::from_slice::<Value>(line) {
                Ok(line) if line.is_object() => lines.push(line),
                _ => damaged.push(number + 1),
            }
        }
        let mut run = Run { path: path.to_owned(), config, recipe, lines, damaged, state: State::Finished };
        if !run.is_finished() {
            run.state = run.activity();
        }
        Ok(run)
    }

    /// Name for people: that of the folder, in an experiment with its cell.
    pub fn name(&self) -> String {
        let place = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
        };
        let own = part(Some(&place)).unwrap_or_else(|| self.path.display().to_string());
        let cell = place.parent().filter(|cell| cell.parent().is_some_and(|above| above.ends_with("cells")));
        part(cell).map_or(own.clone(), |cell| format!("{cell}/{own}"))
    }

    /// A key of the configuration, dotted.
    pub fn setting(&self, key: &str) -> Option<&toml::Value> {
        let mut parts = key.split('.');
        let first = self.config.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// The lines of training steps, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line.get("update").is_some())
    }

    /// The evaluations, in order.
    pub fn evaluations(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter_map(|line| line.get("evaluation"))
    }

    /// Training steps done.
    pub fn done(&self) -> u64 {
        self.steps().filter_map(|line| line["step"].as_u64()).max().unwrap_or(0)
    }

    /// Training steps of the whole run.
    pub fn planned(&self) -> u64 {
        self.setting("steps").and_then(toml::Value::as_integer).and_then(|n| n.try_into().ok()).unwrap_or(0)
    }

    /// Mean seconds of a training step, of those that are done.
    pub fn step_seconds(&self) -> Option<f64> {
        let seconds: Vec<f64> = self.steps().filter_map(seconds).collect();
        (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
    }

    /// The evaluation with the highest success.
    pub fn best(&self) -> Option<Best> {
        let best = |evaluation: &Value| {
            let rate = &evaluation["report"]["overall"];
            Some(Best {
                success: rate["success"].as_f64()?,
                low: rate["low"].as_f64()?,
                high: rate["high"].as_f64()?,
                step: evaluation["step"].as_u64()?,
                temperature: evaluation["temperature"].as_f64()?,
            })
        };
        self.evaluations()
            .filter_map(best)
            .max_by(|a, b| a.success.total_cmp(&b.success).then(b.step.cmp(&a.step)))
    }

    fn is_finished(&self) -> bool {
        let planned = self.planned();
        let last = self.evaluations().filter(|e| e["step"].as_u64() == Some(planned)).count();
        let ways = self.recipe.as_ref().map_or(1, |recipe| Way::all(&recipe.evaluation).count());
        self.done() >= planned && last >= ways
    }

    /// Whether an unfinished run is at work, by when it last wrote something.
    fn activity(&self) -> State {
        let changed =
            |name: &str| std::fs::metadata(self.path.join(name)).and_then(|file| file.modified()).ok();
        let last = ["metrics.jsonl", "config.toml"].into_iter().filter_map(changed).max();
        // A clock that was set back makes it now.
        let silent = last.and_then(|last| SystemTime::now().duration_since(last).ok()).unwrap_or_default();
        let step = Duration::from_secs_f64(self.step_seconds().unwrap_or(0.0).clamp(0.0, 1e6));
        match silent < PATIENCE.max(4 * step) {
            true => State::Running,
            false => State::Silent(silent),
        }
    }
}
