//! `opid experiment`: several recipes with several seeds, side by side, and a report.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use opid::experiment::folder::{Folder, State};
use opid::experiment::jobs::{self, Event, Job, Pool, Progress};
use opid::experiment::plan::Plan;
use opid::experiment::report;

use super::print;
use crate::display::duration;

/// Options of `experiment`.
#[derive(clap::Args)]
pub struct Args {
    /// Experiment file: cells (recipes) and seeds.
    file: PathBuf,
    /// Folder of the runs and the report [default: runs/NAME]; what is there is gone on with.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Most runs at the same time [default: the number of cores]; they share the cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Run nothing: report on the runs that are finished.
    #[arg(long, conflicts_with = "dry_run")]
    report: bool,
    /// Run nothing: check everything, and say what would be run.
    #[arg(long)]
    dry_run: bool,
}

/// Runs what is left of an experiment, and reports.
pub fn run(args: Args) -> anyhow::Result<()> {
    let plan = Plan::read(&args.file)?;
    let path = args.folder.clone().unwrap_or_else(|| Path::new("runs").join(&plan.name));
    let folder = Folder::new(&path)?;
    folder.check(&plan)?;
    if args.dry_run {
        plan.check_tasks()?;
        return print(&overview(&plan, &folder)?);
    }
    if !args.report {
        plan.check_tasks()?;
        let lock = folder.lock()?;
        work(&args, &plan, &folder, &lock)?;
    }
    write_report(&plan, &folder)
}

/// Makes the starting policies and the runs that are missing.
fn work(args: &Args, plan: &Plan, folder: &Folder, lock: &std::fs::File) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    ctrlc::set_handler(move || set.store(true, Ordering::Relaxed))
        .context("cannot catch interrupts, which would leave runs behind")?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let at_once = args.jobs.map_or(cores, |jobs| jobs as usize);
    let started = Instant::now();
    let folder_option =
        args.folder.as_ref().map_or(String::new(), |path| format!(" --folder {}", path.display()));
    let go_on = || {
        format!(
            "the same command goes on where it stopped: opid experiment {}{folder_option}",
            args.file.display()
        )
    };
    let perform = |jobs: &[Job], what: &str| {
        let at_once = at_once.min(jobs.len()).max(1);
        let threads = (cores / at_once).max(1);
        if !jobs.is_empty() {
            print(&format!("{what}: {}, {at_once} at a time with {threads} threads each\n", jobs.len()))?;
        }
        let pool = Pool { program: &program, at_once, threads, lock, stop: &stop };
        let mut display = Display::new();
        let ended = jobs::run(jobs, &pool, &mut |event| display.show(event));
        display.stop();
        match ended.stopped {
            true => bail!("interrupted; {}", go_on()),
            false => anyhow::Ok(ended.failures),
        }
    };
    let failures = perform(&folder.start_jobs(plan)?, "starting policies")?;
    if !failures.is_empty() {
        bail!("without its starting policy nothing can be run; {}", go_on());
    }
    folder.check_starts(plan)?;
    let left = folder.run_jobs(plan)?;
    let there = plan.cells.len() * plan.seeds.len() - left.len();
    if there > 0 {
        print(&format!("{there} runs are finished already\n"))?;
    }
    let failures = perform(&left, "runs")?;
    if !left.is_empty() {
        print(&format!("{} in all\n\n", duration(started.elapsed())))?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    // What the others came to is worth knowing all the same.
    write_report(plan, folder)?;
    let names: Vec<&str> = failures.iter().map(|failure| failure.name.as_str()).collect();
    bail!(
        "{} of {} runs failed ({}); put right what their logs say, then {}",
        names.len(),
        left.len(),
        names.join(", "),
        go_on()
    )
}

/// Writes the report and shows its text.
fn write_report(plan: &Plan, folder: &Folder) -> anyhow::Result<()> {
    let (text, files) = report::write(plan, folder)?;
    let names: Vec<String> =
        files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
    print(&format!("{text}\nwritten in {}: {}\n", folder.path().display(), names.join(", ")))
}

/// What there is and what would be run.
fn overview(plan: &Plan, folder: &Folder) -> anyhow::Result<String> {
    let mut text = format!(
        "{}: {} cells x {} seeds in {}\n",
        plan.name,
        plan.cells.len(),
        plan.seeds.len(),
        folder.path().display()
    );
    for start in &plan.starts {
        let state = if folder.is_made(start)? { "made" } else { "to be made" };
        text.push_str(&format!("{}: {state}\n", start.name));
    }
    for (index, cell) in plan.cells.iter().enumerate() {
        let recipe = &cell.recipe;
        let from = match cell.start {
            Some(start) => &plan.starts[start].name,
            None => &recipe.policy.model,
        };
        let baseline = if plan.baseline == Some(index) { ", the baseline" } else { "" };
        text.push_str(&format!(
            "{}: {} on {}, {} steps of {} x {} episodes, from {from}{baseline}\n",
            cell.name,
            recipe.algorithm.method().title(),
            recipe.environment.name,
            recipe.steps,
            recipe.rollout.groups,
            recipe.rollout.group_size,
        ));
        for &seed in &plan.seeds {
            let state = match folder.state(cell, seed)? {
                State::New => "to be run".to_owned(),
                State::Lost => "stopped before its first checkpoint, to be run again".to_owned(),
                State::Begun(step) => format!("to be resumed, {step} steps done"),
                State::Finished => "finished".to_owned(),
            };
            text.push_str(&format!("    seed {seed}: {state}\n"));
        }
    }
    Ok(text)
}

/// Without a terminal, a line about progress is written no more often than this.
const EVERY: Duration = Duration::from_secs(60);

/// Shows what becomes of jobs: a bar at a terminal, otherwise a line now and then.
struct Display {
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Display {
    fn new() -> Display {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {msg}");
            ProgressBar::new(0).with_style(style.expect("the template is valid"))
        });
        Display { bar, said: Instant::now() }
    }

    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Began(job) => self.say(&format!("{} begins, see {}", job.name, job.log().display())),
            Event::Ended(job, took) => self.say(&format!("{} is done ({})", job.name, duration(took))),
            Event::Failed(failure) => {
                self.say(&format!(
                    "{} failed: {}; see {}",
                    failure.name,
                    failure.reason,
                    failure.log.display()
                ));
                failure.tail.iter().for_each(|line| self.say(&format!("    {line}")));
            }
            Event::Progress(progress) => self.progress(progress),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let left = progress.left.map_or(String::new(), |left| format!(", {} left", duration(left)));
        if let Some(bar) = &self.bar {
            let (ended, jobs, done, steps) =
                (progress.ended, progress.jobs, progress.steps_done, progress.steps);
            // The bar moves with training steps, or with jobs where those have none.
            let (at, of) = if steps > 0 { (done, steps) } else { (ended as u64, jobs as u64) };
            bar.set_length(of);
            bar.set_position(at);
            let counted = if steps > 0 { format!(", {done}/{steps} steps") } else { String::new() };
            bar.set_message(format!("{ended}/{jobs} done{counted}{left}"));
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let running = progress.running.iter().map(|(name, done, steps)| match steps {
                0 => name.clone(),
                _ => format!("{name} {done}/{steps}"),
            });
            let running = running.collect::<Vec<_>>().join(", ");
            eprintln!("{}/{} done, running: {running}{left}", progress.ended, progress.jobs);
        }
    }

    /// Writes a line above the bar.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn stop(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
