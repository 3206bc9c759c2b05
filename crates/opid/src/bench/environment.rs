//! How fast environments are: random play in one thread, the admissible commands listed at every step.

use std::sync::Arc;

use opid_env::alfworld::GameEpisode;
use opid_env::catalog::{self, CatalogError, Options, TaskSource};
use opid_env::environment::Task;
use opid_env::household::HouseholdConfig;
use opid_env::random::Draw;
use serde::Serialize;

use super::{Speed, Timing, median, time};
use crate::recipe::Environment;

/// An episode is started anew after this many random steps.
const EPISODE: usize = 50;

/// The split whose games are played.
const SPLIT: &str = "train";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Games played.
    pub games: usize,
    /// Steps in each.
    pub steps: usize,
    /// Repetitions.
    pub repetitions: usize,
}

/// What was measured of one environment.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The environment.
    pub name: String,
    /// Games played.
    pub games: usize,
    /// Steps through the interface that agents use.
    pub steps: Speed,
    /// Steps where the list of commands borrows the game's texts instead of copying them.
    pub borrowed_steps: Speed,
    /// Mean number of admissible commands.
    pub commands: f64,
    /// Milliseconds to make a game, or to load it from its file; the median.
    pub ready_ms: f64,
    /// Bytes of an episode's state; the median.
    pub state_bytes: f64,
}

/// Measures household games as the built-in recipe has them and of real size, a shop (of the products that `WEBSHOP_DATA`
/// names, or made up), and ALFWorld's own games where `ALFWORLD_DATA` names them.
///
/// # Errors
/// `ALFWORLD_DATA` or `WEBSHOP_DATA` is set, but what it names cannot be read.
pub fn all(extent: Extent) -> Result<Vec<Measured>, CatalogError> {
    let household = |size| {
        let household = HouseholdConfig { size, ..HouseholdConfig::default() };
        catalog::open("household", Options { household, ..Options::default() })
    };
    let (least, most) = Environment::default().receptacles;
    let small = format!("household, {least} to {most} receptacles");
    let mut measured = vec![
        measure(small, household((least, most))?.as_ref(), extent)?,
        measure("household, real size".into(), household((0, 0))?.as_ref(), extent)?,
    ];
    let shop = catalog::open("webshop", Options::default())?;
    measured.push(measure("webshop".into(), shop.as_ref(), extent)?);
    if std::env::var_os("ALFWORLD_DATA").is_some() {
        let games = catalog::open("alfworld", Options::default())?;
        measured.push(measure("alfworld".into(), games.as_ref(), extent)?);
    }
    Ok(measured)
}

fn measure(name: String, source: &dyn TaskSource, extent: Extent) -> Result<Measured, CatalogError> {
    // Spread over the split, whose games may be sorted by kind.
    let len = source.len(SPLIT)?.unwrap_or(extent.games);
    let games = extent.games.min(len);
    let mut ready = Vec::new();
    let mut tasks = Vec::new();
    for i in 0..games {
        let (task, t) = time(|| source.task(SPLIT, i * len / games));
        ready.push(1e3 * t.wall);
        tasks.push(task?);
    }
    let (mut copied, mut borrowed, mut commands) = (Vec::new(), Vec::new(), 0);
    for repetition in 0..extent.repetitions as u64 {
        let work = (games * extent.steps) as f64;
        let (count, t) = time(|| play(&tasks, extent.steps, repetition));
        copied.push((work, t));
        commands = count;
        borrowed.extend(play_borrowed(&tasks, extent.steps, repetition).map(|t| (work, t)));
    }
    let sizes = tasks.iter().filter_map(|t| {
        let episode = t.clone().start();
        Some(episode.as_any().downcast_ref::<GameEpisode>()?.state().size() as f64)
    });
    Ok(Measured {
        name,
        games,
        steps: Speed::of(&copied),
        borrowed_steps: Speed::of(&borrowed),
        commands: commands as f64 / (games * extent.steps).max(1) as f64,
        ready_ms: median(ready),
        state_bytes: median(sizes.collect()),
    })
}

/// Random steps in every game; returns how many commands were listed.
fn play(tasks: &[Arc<dyn Task>], steps: usize, key: u64) -> usize {
    let mut listed = 0;
    for (game, task) in tasks.iter().enumerate() {
        let mut draw = Draw::new(&[key, game as u64]);
        let mut episode = task.clone().start();
        for step in 0..steps {
            let commands = episode.admissible();
            listed += commands.len();
            let done = draw.pick(&commands).is_none_or(|command| episode.step(command).done);
            if done || (step + 1) % EPISODE == 0 {
                episode = task.clone().start();
            }
        }
    }
    listed
}

/// The same with borrowed texts; nothing for an environment that has no such way.
fn play_borrowed(tasks: &[Arc<dyn Task>], steps: usize, key: u64) -> Option<Timing> {
    let start = |task: &Arc<dyn Task>| task.clone().start().as_any().downcast_ref::<GameEpisode>().cloned();
    let episodes: Vec<GameEpisode> = tasks.iter().map(start).collect::<Option<_>>()?;
    let (_, t) = time(|| {
        for (game, first) in episodes.iter().enumerate() {
            let mut draw = Draw::new(&[key, game as u64]);
            let mut episode = first.clone();
            let mut action = String::new();
            for step in 0..steps {
                let mut commands = Vec::with_capacity(64);
                episode.admissible_into(&mut commands);
                action.clear();
                action.push_str(draw.pick(&commands).copied().unwrap_or_default());
                if episode.advance(&action) || (step + 1) % EPISODE == 0 {
                    episode = first.clone();
                }
            }
        }
    });
    Some(t)
}
