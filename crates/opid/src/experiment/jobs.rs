//! Runs as processes of their own, several at a time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::log::Log;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often their progress is read from their folders.
const READ: Duration = Duration::from_secs(1);

/// Lines of a failed job's log that are shown.
const TAIL: usize = 6;

/// A run of this program that is to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name for whoever watches.
    pub name: String,
    /// What it is called with.
    pub arguments: Vec<OsString>,
    /// The run folder it works in.
    pub run: PathBuf,
    /// Training steps of the whole run; 0 where its progress is not counted in steps.
    pub steps: u64,
}

impl Job {
    /// A job that is not counted in steps.
    pub fn new(name: &str, arguments: &[&OsStr], run: &Path) -> Job {
        let arguments = arguments.iter().map(|argument| argument.into()).collect();
        Job { name: name.to_owned(), arguments, run: run.to_owned(), steps: 0 }
    }

    /// Where its output goes, that of earlier attempts included.
    pub fn log(&self) -> PathBuf {
        self.run.with_extension("log")
    }

    /// Training steps that its run has done.
    fn steps_done(&self) -> u64 {
        // It may not have made its folder yet; what is wrong with one will be said by the job itself.
        Log::read(&self.run).ok().and_then(|log| log.steps.last().map(|line| line.step)).unwrap_or(0)
    }
}

/// How jobs are run.
#[derive(Debug)]
pub struct Pool<'a> {
    /// The program.
    pub program: &'a Path,
    /// Most jobs at the same time, at least 1.
    pub at_once: usize,
    /// Threads of each.
    pub threads: usize,
    /// Every job keeps this file open, so that a lock on it holds until the last of them has ended.
    pub lock: &'a File,
    /// Ends all jobs once it is set.
    pub stop: &'a AtomicBool,
}

/// What happens to jobs.
#[derive(Debug)]
pub enum Event<'a> {
    /// One has begun.
    Began(&'a Job),
    /// How far all are, about once a second.
    Progress(&'a Progress),
    /// One has ended well.
    Ended(&'a Job, Duration),
    /// One has failed.
    Failed(&'a Failure),
}

/// How far jobs are.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Jobs that ended, well or not.
    pub ended: usize,
    /// All jobs.
    pub jobs: usize,
    /// Names of the jobs that run, with the training steps they have done and will do (0 where they are not counted).
    pub running: Vec<(String, u64, u64)>,
    /// Training steps done, those before the jobs were resumed included.
    pub steps_done: u64,
    /// Training steps of all jobs.
    pub steps: u64,
    /// Time left, if steps go on as so far.
    pub left: Option<Duration>,
}

/// A job that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub reason: String,
    /// Its output.
    pub log: PathBuf,
    /// The last lines of that.
    pub tail: Vec<String>,
}

/// What became of all jobs.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// Whether the rest was stopped.
    pub stopped: bool,
}

/// A job under way.
struct Running {
    index: usize,
    child: Child,
    since: Instant,
}

/// Ends the processes that are left when the rest is stopped.
impl Drop for Running {
    fn drop(&mut self) {
        // A process that has ended already cannot be ended; nothing else can go wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs all jobs, in their order as places become free. A job that fails does not stop the others.
pub fn run(jobs: &[Job], pool: &Pool<'_>, observe: &mut dyn FnMut(Event<'_>)) -> Ended {
    let started = Instant::now();
    let mut waiting = jobs.iter().enumerate();
    let mut running: Vec<Running> = Vec::new();
    let mut ended = Ended { failures: Vec::new(), stopped: false };
    // Training steps by job: those done, and those it will have done in the end.
    let mut done: Vec<u64> = jobs.iter().map(Job::steps_done).collect();
    let mut goal: Vec<u64> = jobs.iter().map(|job| job.steps).collect();
    let before: u64 = done.iter().sum();
    let mut finished = 0;
    let mut read: Option<Instant> = None;
    loop {
        while running.len() < pool.at_once
            && let Some((index, job)) = waiting.next()
        {
            match spawn(job, pool) {
                Ok(child) => {
                    running.push(Running { index, child, since: Instant::now() });
                    observe(Event::Began(job));
                }
                Err(error) => {
                    finished += 1;
                    goal[index] = done[index];
                    ended.fail(job, format!("cannot be started: {error}"), observe);
                }
            }
        }
        if running.is_empty() {
            return ended;
        }
        if pool.stop.load(Ordering::Relaxed) {
            ended.stopped = true;
            return ended;
        }
        if read.is_none_or(|at| at.elapsed() >= READ) {
            read = Some(Instant::now());
            running.iter().for_each(|r| done[r.index] = jobs[r.index].steps_done());
            let (steps_done, steps) = (done.iter().sum::<u64>(), goal.iter().sum::<u64>());
            let now = |r: &Running| (jobs[r.index].name.clone(), done[r.index], goal[r.index]);
            let new = steps_done.saturating_sub(before);
            observe(Event::Progress(&Progress {
                ended: finished,
                jobs: jobs.len(),
                running: running.iter().map(now).collect(),
                steps_done,
                steps,
                left: time_left(started.elapsed(), new, steps.saturating_sub(steps_done)),
            }));
        }
        std::thread::sleep(LOOK);
        running.retain_mut(|r| {
            let reason = match r.child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) if status.success() => None,
                Ok(Some(status)) => Some(format!("ended with {status}")),
                Err(error) => Some(format!("cannot be watched: {error}")),
            };
            finished += 1;
            match reason {
                None => {
                    done[r.index] = goal[r.index];
                    observe(Event::Ended(&jobs[r.index], r.since.elapsed()));
                }
                Some(reason) => {
                    goal[r.index] = done[r.index];
                    ended.fail(&jobs[r.index], reason, observe);
                }
            }
            false
        });
    }
}

/// Starts a job with its output in its log.
fn spawn(job: &Job, pool: &Pool<'_>) -> std::io::Result<Child> {
    let log = job.log();
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(pool.program);
    command.args(&job.arguments).env("RAYON_NUM_THREADS", pool.threads.to_string());
    command.stdin(Stdio::from(pool.lock.try_clone()?)).stdout(log.try_clone()?).stderr(log);
    // An interrupt at the terminal is for this program, which then ends its jobs.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

impl Ended {
    /// Keeps and shows a failure.
    fn fail(&mut self, job: &Job, reason: String, observe: &mut dyn FnMut(Event<'_>)) {
        let log = job.log();
        // A log that cannot be read has no last lines; where it is, is said all the same.
        let text = fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| (*line).to_owned()).collect();
        let failure = Failure { name: job.name.clone(), reason, log, tail };
        observe(Event::Failed(&failure));
        self.failures.push(failure);
    }
}

/// Time for the steps left, if they take as long as those since the start.
fn time_left(elapsed: Duration, done: u64, left: u64) -> Option<Duration> {
    (done > 0).then(|| Duration::from_secs_f64(elapsed.as_secs_f64() * left as f64 / done as f64))
}
