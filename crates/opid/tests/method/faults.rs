//! What goes wrong in a run: numbers that are none, environments that panic, folders that cannot be written.

use std::any::Any;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opid::layout::Layout;
use opid::log::Log;
use opid::recipe::Recipe;
use opid::rollout::{Group, SampleError, Settings, sample};
use opid::tasks::Tasks;
use opid::train::{Control, Event, TrainError, resume, train};
use opid::trajectory::{Ending, Trajectory};
use opid_env::environment::{Episode, Expert, Slips, Step, Task};
use opid_lm::checkpoint::StoredDtype;
use opid_lm::storage::{Disk, Storage};

use crate::micro::{policy, recipe, saved};

/// A task whose every so many-th episode panics, at its start or at its first action.
struct Fragile {
    task: Arc<dyn Task>,
    every: usize,
    at_start: bool,
    begun: AtomicUsize,
}

struct FragileEpisode {
    episode: Box<dyn Episode>,
    breaks: bool,
}

impl Task for Fragile {
    fn id(&self) -> &str {
        self.task.id()
    }

    fn kind(&self) -> &str {
        self.task.kind()
    }

    fn goal(&self) -> &str {
        self.task.goal()
    }

    fn start(self: Arc<Self>) -> Box<dyn Episode> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let breaks = number % self.every == self.every - 1;
        assert!(!(breaks && self.at_start), "no world today");
        Box::new(FragileEpisode { episode: self.task.clone().start(), breaks })
    }
}

impl Episode for FragileEpisode {
    fn observation(&self) -> &str {
        self.episode.observation()
    }

    fn admissible(&self) -> Vec<String> {
        self.episode.admissible()
    }

    fn step(&mut self, action: &str) -> Step {
        assert!(!self.breaks, "the table is not where it was");
        self.episode.step(action)
    }

    fn expert(&self, seed: u64, slips: Slips) -> Box<dyn Expert> {
        self.episode.expert(seed, slips)
    }

    fn fork(&self) -> Box<dyn Episode> {
        self.episode.fork()
    }

    fn as_any(&self) -> &dyn Any {
        self.episode.as_any()
    }
}

/// Episodes of three tasks, of which the second is fragile.
fn played(every: usize, at_start: bool, most: f64) -> Result<Vec<Trajectory>, SampleError> {
    let recipe = recipe(Layout::Transcript);
    let tasks = Tasks::open(&recipe.environment, recipe.seed).expect("tasks");
    let tasks = tasks.training("train", 0, 3).expect("tasks");
    let groups: Vec<Group> = tasks
        .into_iter()
        .enumerate()
        .map(|(number, task)| {
            let task = match number {
                1 => Arc::new(Fragile { task, every, at_start, begun: AtomicUsize::new(0) }),
                _ => return Group { task, skill: None },
            };
            Group { task, skill: None }
        })
        .collect();
    let settings =
        Settings { group_size: 4, max_crashes: most, ..Settings::training(&recipe, [recipe.seed, 1, 1]) };
    let policy = policy(Layout::Transcript);
    sample(&policy.model, &policy.dialogue, &groups, &settings, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn an_environment_that_panics_ends_its_episode_and_no_other() {
    let undisturbed = played(1000, false, 0.0).expect("episodes");
    for (every, at_start, crashed) in [(2, false, 2), (5, true, 1), (1, true, 4)] {
        let episodes = played(every, at_start, 0.5).expect("episodes");
        assert_eq!(episodes.len(), 12);
        let broken: Vec<_> = episodes.iter().filter(|t| t.ending == Ending::Crashed).collect();
        assert_eq!(broken.len(), crashed, "{broken:?}");
        let said = if at_start { "no world today" } else { "the table is not where it was" };
        assert!(broken.iter().all(|t| t.group == 1 && !t.won && t.last_observation.contains(said)));
        for (t, other) in episodes.iter().zip(&undisturbed).filter(|(t, _)| t.ending != Ending::Crashed) {
            let sampled =
                |t: &Trajectory| t.turns.iter().map(|turn| turn.response.clone()).collect::<Vec<_>>();
            assert_eq!(sampled(t), sampled(other), "episode {} of group {}", t.member, t.group);
        }
    }
    let error = played(1, false, 0.2).expect_err("a third fails").to_string();
    for part in ["4 of 12", "rollout.max_crashes = 0.2", "the table is not where it was"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A recipe whose first update throws the weights far out.
fn exploding(start: &Path) -> Recipe {
    let mut recipe = saved(Layout::Transcript, start);
    recipe.optimizer.learning_rate = 1e38;
    recipe.checkpoint.every = 0;
    recipe.evaluation.games = 1;
    recipe
}

#[test]
fn updates_without_finite_gradient_are_skipped_and_counted_and_stop_the_run() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = exploding(&place.path().join("start"));
    recipe.optimizer.max_skipped = 0;
    let run = place.path().join("run");
    let mut skipped = 0;
    let error = train(&recipe, &run, &Control::default(), &mut |event| {
        if let Event::Step(metrics, _) = event {
            skipped = metrics.update.skipped;
        }
    });
    let error = error.expect_err("an update is skipped");
    assert!(matches!(error, TrainError::NotFinite { step: 1, .. }), "{error}");
    assert!(error.to_string().contains("optimizer.learning_rate"), "{error}");
    assert_eq!(skipped, 1, "the second of two mini-batches");
    let log = Log::read(&run).expect("a log");
    assert_eq!(log.steps[0].update.skipped, 1);
    // Where more may be skipped, the next episodes show that the policy is broken.
    recipe.optimizer.max_skipped = 5;
    let error = resume(&recipe, &run, &Control::default(), &mut |_| ()).expect_err("no policy left");
    assert!(
        matches!(error, TrainError::Sampling(SampleError::NotFinite { .. }) | TrainError::Broken { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("finite"), "{error}");
    // With a better rate it goes on from what was saved.
    recipe.optimizer.learning_rate = 1e-3;
    resume(&recipe, &run, &Control::default(), &mut |_| ()).expect("a run");
}

#[test]
fn so_do_those_of_a_warm_start() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = recipe(Layout::Transcript);
    let warm = recipe.warm_start.as_mut().expect("a warm start");
    (warm.stages[0].learning_rate, warm.stages[0].warmup) = (1e38, 0);
    recipe.optimizer.max_skipped = 2;
    let error = train(&recipe, &place.path().join("run"), &Control::default(), &mut |_| ());
    let error = error.expect_err("updates are skipped").to_string();
    assert!(error.contains("3 updates were skipped") && error.contains("learning_rate"), "{error}");
}

#[test]
fn a_model_whose_weights_are_no_numbers_is_refused_by_its_first_token() {
    let place = tempfile::tempdir().expect("a folder");
    let start = place.path().join("start");
    let recipe = saved(Layout::Transcript, &start);
    let mut broken = policy(Layout::Transcript).model.clone();
    let tasks = Tasks::open(&recipe.environment, recipe.seed).expect("tasks");
    let tasks = tasks.training("train", 0, 1).expect("a task");
    for wrong in [f32::NAN, f32::INFINITY] {
        broken.weights[40] = wrong;
        let text = Some(&policy(Layout::Transcript).text);
        broken.save(&start, StoredDtype::F32, text).expect("a model");
        let run = place.path().join(format!("run_{wrong}"));
        let error = train(&recipe, &run, &Control::default(), &mut |_| ()).expect_err("no numbers");
        assert!(matches!(error, TrainError::Broken { step: 0 }), "{wrong}: {error}");
        let groups = [Group { task: tasks[0].clone(), skill: None }];
        let settings = Settings::training(&recipe, [recipe.seed, 1, 1]);
        let dialogue = &policy(Layout::Transcript).dialogue;
        let sampled = sample(&broken, dialogue, &groups, &settings, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(sampled, Err(SampleError::NotFinite { .. })), "{wrong}: {sampled:?}");
    }
}

/// A folder that cannot be written to.
#[derive(Debug)]
struct ReadOnly;

impl Storage for ReadOnly {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn fill(&self, _: &Path, _: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn append(&self, path: &Path, file: &mut std::fs::File, bytes: &[u8]) -> io::Result<()> {
        Disk.append(path, file, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        Disk.sync(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn place(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named_before_anything_is_computed() {
    let place = tempfile::tempdir().expect("a folder");
    let recipe = saved(Layout::Transcript, &place.path().join("start"));
    let control = Control { storage: Arc::new(ReadOnly), ..Control::default() };
    let mut events = 0;
    let error = train(&recipe, &place.path().join("run"), &control, &mut |_| events += 1);
    let error = error.expect_err("nothing can be written").to_string();
    assert!(error.contains("run/trajectories") && error.contains("--run DIR"), "{error}");
    assert_eq!(events, 0);
}
