//! `opid track`: what a run has measured, for other tools.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use opid::run::RunFolder;
use opid::tracking::{Mlflow, TensorBoard, points, times};
use opid_view::Run;

use super::print;

/// Options of `track`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run.
    run: PathBuf,
    /// Write an event file into this folder; TensorBoard shows every folder below its --logdir as a run.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Send to the MLflow tracking server at this URL.
    #[arg(long, value_name = "URL")]
    mlflow: Option<String>,
    /// Experiment of the MLflow server [default: that of the run's recipe].
    #[arg(long, value_name = "NAME", requires = "mlflow")]
    experiment: Option<String>,
}

/// Writes or sends all lines of `metrics.jsonl`.
pub fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        args.tensorboard.is_some() || args.mlflow.is_some(),
        "say where the metrics are to go: --tensorboard DIR, --mlflow URL, or both"
    );
    let run = Run::read(&args.run)?;
    let file = args.run.join("metrics.jsonl");
    let changed = std::fs::metadata(&file).and_then(|file| file.modified());
    let changed = changed.with_context(|| format!("cannot read {}", file.display()))?;
    let lines: Vec<_> = times(&run.lines, changed).into_iter().zip(run.lines.iter().map(points)).collect();
    let count: usize = lines.iter().map(|(_, points)| points.len()).sum();
    let Some((first, _)) = lines.first() else { bail!("{} has no metrics yet", args.run.display()) };
    if let Some(folder) = &args.tensorboard {
        let write = || -> std::io::Result<()> {
            let mut board = TensorBoard::create(folder, 0, *first)?;
            lines.iter().try_for_each(|(time, points)| board.add(points, *time))
        };
        write().with_context(|| format!("cannot write into {}", folder.display()))?;
        print(&format!("{count} numbers written into {}\n", folder.display()))?;
    }
    if let Some(server) = &args.mlflow {
        let recipe = RunFolder::recipe(&args.run)?;
        let experiment = args.experiment.as_ref().unwrap_or(&recipe.log.mlflow_experiment);
        let mut mlflow = Mlflow::start(server, experiment, &recipe, &run.name(), None);
        lines.into_iter().for_each(|(time, points)| mlflow.add(points, time));
        if let Some(trouble) = mlflow.finish(run.state == opid_view::State::Finished) {
            bail!("{trouble}");
        }
        print(&format!("{count} numbers sent to {server}, experiment {experiment}\n"))?;
    }
    Ok(())
}
