//! A run may die at any write, and lose power there; it goes on as if nothing had happened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use opid::algo::Algorithm;
use opid::layout::Layout;
use opid::recipe::{Recipe, Teacher};
use opid::train::{Control, resume, train};
use opid_lm::checkpoint::StoredDtype;
use opid_lm::storage::{Disk, Storage};
use serde_json::Value;

use crate::micro::saved;
use crate::overlapping::{ask, reply};
use crate::resuming::metrics;
use crate::server::Server;

/// How a storage fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The program dies: nothing more is written, and the file at hand is written in part.
    Death,
    /// So does the machine: what was not synced is lost, too.
    PowerLoss,
    /// The disk is full: this write fails, and so do all others that need room.
    Full,
}

/// A file system that fails from one operation on.
#[derive(Debug)]
struct Failing {
    end: End,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Operations that still succeed.
    left: usize,
    /// Files that were written and not synced.
    unsynced: Vec<(PathBuf, u64)>,
}

impl Failing {
    fn after(operations: usize, end: End) -> Arc<Self> {
        Arc::new(Failing { end, state: Mutex::new(State { left: operations, unsynced: Vec::new() }) })
    }

    fn left(&self) -> usize {
        self.state.lock().expect("a state").left
    }

    /// Counts an operation; `partly` is what is left of it where it fails.
    fn count(&self, partly: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().expect("a state");
        if state.left > 0 {
            state.left -= 1;
            return Ok(());
        }
        if self.end == End::Full {
            partly()?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        // Only the first failing operation leaves something.
        if state.left == 0 && !state.unsynced.iter().any(|(path, _)| path.as_os_str().is_empty()) {
            partly()?;
            if self.end == End::PowerLoss {
                for (path, synced) in &state.unsynced {
                    // It may have been renamed or removed meanwhile.
                    if let Ok(file) = File::options().write(true).open(path) {
                        file.set_len(*synced)?;
                    }
                }
            }
            state.unsynced.push((PathBuf::new(), 0));
        }
        Err(io::Error::other("dead"))
    }
}

/// Cuts a file to half its length, if it is there.
fn halve(path: &Path) -> io::Result<()> {
    match File::options().write(true).open(path) {
        Ok(file) => file.set_len(file.metadata()?.len() / 2),
        Err(_) => Ok(()),
    }
}

impl Storage for Failing {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.count(|| Ok(()))?;
        Disk.make_folder(path)
    }

    fn fill(&self, path: &Path, write: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        self.count(|| write(path).and_then(|()| halve(path)))?;
        Disk.fill(path, write)
    }

    fn append(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.count(|| Disk.append(path, file, &bytes[..bytes.len() / 2]))?;
        let synced = file.metadata()?.len();
        Disk.append(path, file, bytes)?;
        let mut state = self.state.lock().expect("a state");
        if state.unsynced.iter().all(|(known, _)| known != path) {
            state.unsynced.push((path.to_owned(), synced));
        }
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        if self.end != End::Full {
            self.count(|| Ok(()))?;
        }
        Disk.sync(path)?;
        self.state.lock().expect("a state").unsynced.retain(|(known, _)| known != path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.end != End::Full {
            self.count(|| Ok(()))?;
        }
        Disk.rename(from, to)
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.end != End::Full {
            self.count(|| Ok(()))?;
        }
        Disk.place(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.end != End::Full {
            // Of a folder the first file goes.
            self.count(|| match fs::read_dir(path).ok().and_then(|mut files| files.next()) {
                Some(file) => Disk.remove(&file?.path()),
                None => Ok(()),
            })?;
        }
        Disk.remove(path)
    }
}

/// A recipe of two steps that saves, evaluates and removes checkpoints.
fn recipe(start: &Path) -> Recipe {
    let mut recipe = saved(Layout::Transcript, start);
    recipe.steps = 2;
    recipe.rollout.groups = 2;
    recipe.environment.max_turns = 2;
    recipe.evaluation.every = 1;
    recipe.evaluation.games = 1;
    recipe.checkpoint.every = 1;
    recipe.checkpoint.keep = 1;
    recipe
}

/// What a run came to.
fn outcome(run: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![run.join("checkpoints"), run.join("trajectories")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    // Names and contents.
    let named = files.iter().map(|path| {
        let mut content = path.strip_prefix(run).expect("inside").display().to_string().into_bytes();
        content.extend(fs::read(path).expect("a file"));
        content
    });
    let metrics = metrics(run).into_iter().map(|mut line| {
        // How many questions were answered before is not the same after a crash.
        if let Some(skills) = line.get_mut("skills").and_then(Value::as_object_mut) {
            skills.remove("analyzer");
        }
        line.to_string().into_bytes()
    });
    named.chain(metrics).collect()
}

fn control(storage: Arc<Failing>) -> Control {
    Control { storage, ..Control::default() }
}

/// Requests that count as sent.
fn begun(run: &Path) -> usize {
    let text = fs::read_to_string(run.join("spending.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.contains("begun")).count()
}

/// Replies that are kept.
fn kept(run: &Path) -> usize {
    let folders =
        fs::read_dir(run.join("replies")).into_iter().flatten().map(|folder| folder.expect("a folder"));
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder"));
    files
        .filter(|file| file.as_ref().expect("a file").path().extension().is_some_and(|end| end == "json"))
        .count()
}

/// The recipe of a run that keeps its replies, if it asks for any, to itself.
fn alone(recipe: &Recipe, run: &Path) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.skill.openai.cache = run.join("replies").display().to_string();
    recipe
}

/// Trains until the end after every `stride`-th operation from `first` on, and goes on: the result is always the same.
fn check(recipe: &Recipe, end: End, first: usize, stride: usize) -> usize {
    let place = tempfile::tempdir().expect("a folder");
    let whole = place.path().join("whole");
    let plenty = Failing::after(1 << 20, End::Death);
    train(&alone(recipe, &whole), &whole, &control(plenty.clone()), &mut |_| ()).expect("a run");
    let operations = (1 << 20) - plenty.left();
    let expected = outcome(&whole);
    for operation in (first..operations).step_by(stride) {
        let run = place.path().join(format!("run_{operation}"));
        let recipe = &alone(recipe, &run);
        let stopped = train(recipe, &run, &control(Failing::after(operation, end)), &mut |_| ());
        if end == End::Full {
            let Err(error) = stopped else { continue };
            let error = error.to_string();
            assert!(error.contains("make room"), "operation {operation}: {error}");
        } else {
            assert!(stopped.is_err(), "operation {operation} fails");
        }
        // Now and then it dies again, a little later, before it comes through.
        let again = (operation % 4 == 0).then(|| Failing::after(operation / 3 + 2, end));
        for storage in again.into_iter().chain([Failing::after(1 << 20, end)]) {
            let gone_on = match run.join("config.toml").exists() {
                true => resume(recipe, &run, &control(storage.clone()), &mut |_| ()),
                false => train(recipe, &run, &control(storage.clone()), &mut |_| ()),
            };
            if storage.left() > 1 << 19 {
                gone_on.unwrap_or_else(|error| panic!("operation {operation}, {end:?}: {error}"));
            }
        }
        let found = outcome(&run);
        assert_eq!(found.len(), expected.len(), "operation {operation}, {end:?}: number of files and lines");
        for (found, expected) in found.iter().zip(&expected) {
            let name = String::from_utf8_lossy(&expected[..expected.len().min(100)]);
            assert!(found == expected, "operation {operation}, {end:?}: {name} differs");
        }
        assert!(begun(&run) >= kept(&run), "operation {operation}, {end:?}: replies that nobody paid for");
        fs::remove_dir_all(&run).expect("a folder");
    }
    operations
}

#[test]
fn a_run_that_dies_at_any_write_goes_on_as_if_it_had_not() {
    let start = tempfile::tempdir().expect("a folder");
    let mut recipe = recipe(start.path());
    for algorithm in [Algorithm::Opid(Default::default()), Algorithm::Grpo(Default::default())] {
        recipe.algorithm = algorithm;
        let operations = check(&recipe, End::Death, 0, 1);
        assert!(operations > 60, "{operations} operations");
    }
    check(&recipe, End::PowerLoss, 0, 5);
    check(&recipe, End::Full, 0, 6);
}

#[test]
fn so_does_one_with_all_that_a_checkpoint_can_hold() {
    let start = tempfile::tempdir().expect("a folder");
    let mut recipe = recipe(start.path());
    recipe.skill.teacher = Teacher::Average;
    recipe.policy.save_dtype = StoredDtype::Bf16;
    (recipe.checkpoint.keep, recipe.checkpoint.keep_best) = (1, 1);
    check(&recipe, End::Death, 5, 7);
    check(&recipe, End::PowerLoss, 3, 11);
}

#[test]
fn so_does_one_that_asks_a_network_and_its_budget_holds() {
    let start = tempfile::tempdir().expect("a folder");
    let server = Server::start(|_, request| reply(request, false));
    let mut recipe = recipe(start.path());
    ask(&mut recipe, &server);
    let operations = check(&recipe, End::Death, 0, 1);
    assert!(operations > 100, "{operations} operations: each question takes some");
    check(&recipe, End::PowerLoss, 0, 9);
    check(&recipe, End::Full, 0, 9);
}
