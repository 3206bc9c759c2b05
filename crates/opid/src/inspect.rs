//! What is in a folder, and whether it is whole: a run with its checkpoints, or a model.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use opid_lm::checkpoint::Weights;
use opid_lm::config::ModelConfig;
use opid_lm::parameters::Parameters;
use opid_lm::tokenizer::Tokenizer;
use serde::Serialize;

use crate::log::Log;
use crate::record::{stored_file, stored_steps};
use crate::run::{RunError, RunFolder, begun, check, io, unfinished};

/// A folder, looked into.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The folder.
    pub path: PathBuf,
    /// The run, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunFacts>,
    /// Its checkpoints in order of steps, or the model.
    pub models: Vec<ModelFacts>,
    /// Everything that is not as it was written, in words.
    pub faults: Vec<String>,
}

/// What a run says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct RunFacts {
    /// Name of its recipe.
    pub name: String,
    /// The method.
    pub algorithm: &'static str,
    /// The environment.
    pub environment: String,
    /// Seed.
    pub seed: u64,
    /// Training steps of the recipe.
    pub steps: u64,
    /// Training steps in its metrics.
    pub measured: u64,
    /// Training steps that are saved: where it goes on.
    pub saved: Option<u64>,
    /// Updates of its warm start that are kept, where that was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taught: Option<u64>,
    /// Training steps whose trajectories are stored.
    pub trajectories: usize,
}

/// A model on disk.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFacts {
    /// Its folder.
    pub path: PathBuf,
    /// Training steps, in a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Bytes of all files of its manifest; absent outside of runs, or where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its architecture, such as `qwen3`.
    pub family: String,
    /// Number of parameters.
    pub parameters: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Number formats of the weights.
    pub dtypes: Vec<String>,
    /// Whether it holds an optimizer's state.
    pub optimizer: bool,
    /// Success in the evaluations after its step, in the order of the metrics.
    pub success: Vec<f64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Looks into a folder. Everything in it is read: files of a checkpoint are compared with its manifest.
///
/// # Errors
/// It is neither a run nor a model, or the recipe of the run cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection, RunError> {
    if path.join("config.toml").is_file() {
        return inspect_run(path);
    }
    if !path.join("config.json").is_file() {
        return Err(RunError::NoModel { path: path.to_owned() });
    }
    let of_run = path.join("manifest.json").is_file();
    let model = model(path, None, of_run, Vec::new());
    let faults = model.fault.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
    Ok(Inspection { path: path.to_owned(), run: None, models: vec![model], faults })
}

fn inspect_run(path: &Path) -> Result<Inspection, RunError> {
    let recipe = RunFolder::recipe(path)?;
    let mut faults = Vec::new();
    let log = Log::read(path).unwrap_or_else(|error| {
        faults.push(error.to_string());
        Log::default()
    });
    let checkpoints = path.join("checkpoints");
    let models: Vec<ModelFacts> = begun(&checkpoints)?
        .into_iter()
        .map(|step| {
            let success = log.evaluations_after(step).map(|e| e.report.overall.success).collect();
            model(&checkpoints.join(format!("step_{step}")), Some(step), true, success)
        })
        .collect();
    let broken = |model: &ModelFacts| Some(format!("{}: {}", model.path.display(), model.fault.as_ref()?));
    faults.extend(models.iter().filter_map(broken));
    let saved = models.iter().filter(|model| model.fault.is_none()).filter_map(|model| model.step).max();
    let taught = unfinished(path)?.map(|kept| kept.standing.updates);
    if saved.is_none() && taught.is_none() {
        faults.push("no checkpoint is whole".to_owned());
    }
    let stored = if path.join("trajectories").is_dir() { stored_steps(path)? } else { Vec::new() };
    for &step in &stored {
        let file = stored_file(path, step);
        // Trajectories after the last checkpoint are written again.
        if let Err(error) = read_through(&file) {
            faults.push(format!("{}: {error}", file.display()));
        }
    }
    let run = RunFacts {
        name: recipe.name,
        algorithm: recipe.algorithm.method().title(),
        environment: recipe.environment.name,
        seed: recipe.seed,
        steps: recipe.steps,
        measured: log.steps.last().map_or(0, |line| line.step),
        saved,
        taught,
        trajectories: stored.len(),
    };
    Ok(Inspection { path: path.to_owned(), run: Some(run), models, faults })
}

/// Unpacks a file, keeping nothing of it.
fn read_through(path: &Path) -> Result<(), RunError> {
    let unpack = || {
        let mut unpacked = GzDecoder::new(fs::File::open(path)?);
        let mut piece = vec![0; 1 << 16];
        while unpacked.read(&mut piece)? > 0 {}
        Ok(())
    };
    io("read", path, unpack())
}

/// Looks at a model; one of a run has a manifest.
fn model(path: &Path, step: Option<u64>, of_run: bool, success: Vec<f64>) -> ModelFacts {
    let mut facts = ModelFacts {
        path: path.to_owned(),
        step,
        bytes: None,
        family: String::new(),
        parameters: 0,
        vocabulary: 0,
        dtypes: Vec::new(),
        optimizer: path.join("optimizer.safetensors").is_file(),
        success,
        fault: None,
    };
    let described = facts.describe();
    match of_run.then(|| check(path)).transpose() {
        // What the manifest says is nearer to the cause.
        Err(fault) => facts.fault = Some(fault.to_string()),
        Ok(bytes) => {
            facts.bytes = bytes;
            facts.fault = described.err();
        }
    }
    facts
}

impl ModelFacts {
    fn describe(&mut self) -> Result<(), String> {
        let path = self.path.clone();
        let config = ModelConfig::from_folder(&path).map_err(|error| error.to_string())?;
        self.family = config.family.model_type().to_owned();
        self.parameters = Parameters::new(&config).len;
        let weights = Weights::open(&path).map_err(|error| error.to_string())?;
        self.dtypes = weights.dtypes();
        weights.check(&config).map_err(|error| error.to_string())?;
        let tokenizer = fs::read(path.join("tokenizer.json"))
            .map_err(|error| format!("cannot read tokenizer.json: {error}"))?;
        let tokenizer = Tokenizer::from_json(&tokenizer).map_err(|error| error.to_string())?;
        self.vocabulary = tokenizer.vocab_size();
        Ok(())
    }
}
