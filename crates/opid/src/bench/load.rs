//! Many episodes at once for long: how fast they go on, and whether memory grows.

use std::sync::Arc;

use opid_env::catalog::{self, CatalogError, Options};
use opid_env::environment::{Episode, Task};
use opid_env::random::Draw;
use rayon::prelude::*;
use serde::Serialize;

use super::{Speed, time};
use crate::memory::Memory;

/// The split whose tasks are played.
const SPLIT: &str = "train";
/// Most turns of an episode.
const TURNS: usize = 50;
/// Environments that are measured.
const NAMES: [&str; 3] = ["household", "webshop", "search"];

/// What was measured of one environment.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The environment.
    pub name: &'static str,
    /// Episodes at once.
    pub episodes: usize,
    /// Steps in all.
    pub steps: usize,
    /// Tasks that were begun, one for each episode.
    pub tasks: usize,
    /// Steps, on all threads.
    pub speed: Speed,
    /// Resident bytes of the process after each tenth of the steps; empty where the system does not say.
    pub resident: Vec<u64>,
}

/// An episode under way.
struct Seat {
    episode: Box<dyn Episode>,
    turns: usize,
}

/// Plays `rounds` random steps in each of `episodes` episodes at once; one that ends makes room for the next task.
///
/// # Errors
/// A task cannot be had.
pub fn all(episodes: usize, rounds: usize) -> Result<Vec<Measured>, CatalogError> {
    NAMES.into_iter().map(|name| measure(name, episodes, rounds)).collect()
}

fn measure(name: &'static str, episodes: usize, rounds: usize) -> Result<Measured, CatalogError> {
    let source = catalog::open(name, Options::default())?;
    let len = source.len(SPLIT)?;
    let start = |number: usize| -> Result<Seat, CatalogError> {
        let task: Arc<dyn Task> = source.task(SPLIT, len.map_or(number, |len| number % len))?;
        Ok(Seat { episode: task.start(), turns: 0 })
    };
    let mut seats = (0..episodes).into_par_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let (mut tasks, mut resident) = (episodes, Vec::new());
    let (played, timing) = time(|| {
        for round in 0..rounds {
            let over: Vec<bool> =
                seats.par_iter_mut().enumerate().map(|(number, seat)| seat.step(round, number)).collect();
            let ended: Vec<usize> = (0..episodes).filter(|&number| over[number]).collect();
            let next = (0..ended.len()).into_par_iter().map(|i| start(tasks + i));
            let next = next.collect::<Result<Vec<_>, _>>()?;
            tasks += next.len();
            for (number, seat) in ended.into_iter().zip(next) {
                seats[number] = seat;
            }
            if (round + 1) * 10 / rounds > round * 10 / rounds {
                resident.extend(Memory::now().map(|memory| memory.resident));
            }
        }
        Ok::<(), CatalogError>(())
    });
    played?;
    let steps = episodes * rounds;
    Ok(Measured { name, episodes, steps, tasks, speed: Speed::of(&[(steps as f64, timing)]), resident })
}

impl Seat {
    /// A random step; whether the episode is over.
    fn step(&mut self, round: usize, number: usize) -> bool {
        let commands = self.episode.admissible();
        let mut draw = Draw::new(&[round as u64, number as u64]);
        self.turns += 1;
        let command = match draw.pick(&commands) {
            Some(command) => command.replace("<your query>", "red shirt"),
            // Where nothing is listed, such as in a search for answers, anything can be said.
            None => format!("<search>who is number {}</search>", draw.below(1000)),
        };
        if let Some(lookup) = self.episode.lookup(&command) {
            let found = lookup.retriever.retrieve(&[lookup.query], lookup.most);
            found.into_iter().for_each(|found| self.episode.supply(found));
        }
        self.episode.step(&command).done || self.turns >= TURNS
    }
}
