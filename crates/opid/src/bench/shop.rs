//! How fast a shop is: its products loaded from files, clicks, searches.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use opid_env::random::Draw;
use opid_env::webshop::{
    Catalogue, CatalogueError, Files, Goals, Manner, Place, Request, ShopTask, Speaker, generator,
};

use super::{Figure, Speed, median, memory, time};

/// Searches in a repetition.
const SEARCHES: usize = 2_000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Clicks in a repetition.
    pub clicks: usize,
    /// Repetitions.
    pub repetitions: usize,
}

/// A shop that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The products cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The products that are made up cannot be written.
    #[error("cannot write products for the measurement: {0}")]
    Write(#[from] std::io::Error),
}

/// Measures a shop of so many products that are made up and written to files first.
///
/// # Errors
/// The files cannot be written or read.
pub fn made(products: usize, extent: Extent) -> Result<Vec<Figure>, ShopError> {
    let folder = tempfile::tempdir()?;
    generator::write(folder.path(), 0, products)?;
    measure(folder.path(), extent)
}

/// Measures the shop whose products are in a folder.
///
/// # Errors
/// The files cannot be read.
pub fn measure(folder: &Path, extent: Extent) -> Result<Vec<Figure>, ShopError> {
    let files = Files::of(folder, true)?;
    memory::reset_peak();
    let (first, making) = time(|| Catalogue::load(&files));
    let mut catalogue = first?;
    let mut loads = Vec::new();
    for _ in 0..extent.repetitions {
        drop(catalogue);
        memory::reset_peak();
        let (again, t) = time(|| Catalogue::load(&files));
        loads.push(t.wall);
        catalogue = again?;
    }
    let catalogue = Arc::new(catalogue);
    let (goals, making_goals) = time(|| Arc::new(Goals::new(&catalogue, Speaker::Made, 0)));
    let goals_seconds = making_goals.wall;
    let queries: Vec<String> = (0..SEARCHES.min(goals.list().len()))
        .map(|i| {
            let goal = goals.list()[i * goals.list().len() / SEARCHES.min(goals.list().len())];
            Request::parse(&goals.instruction(&catalogue, goal)).words
        })
        .collect();
    let (mut searches, mut slowest, mut clicks) = (Vec::new(), 0.0f64, Vec::new());
    for repetition in 0..extent.repetitions {
        let (_, t) = time(|| {
            for query in &queries {
                let (_, t) = time(|| black_box(catalogue.search(query)));
                slowest = slowest.max(t.wall);
            }
        });
        searches.push((queries.len() as f64, t));
        clicks.push(click(&catalogue, &goals, extent.clicks, repetition as u64));
    }
    let name = |what: &str| format!("webshop/{}/{what}", catalogue.products().len());
    let figure = |what: &str, value, unit| Figure { name: name(what), value, unit };
    let mut figures = vec![
        figure("first-load", making.wall, "s"),
        figure("load", median(loads), "s"),
        figure("goals", goals_seconds, "s"),
        figure("clicks", Speed::of(&clicks).per_cpu_second, "steps/cpu-s"),
        figure("searches", Speed::of(&searches).per_cpu_second, "searches/cpu-s"),
        figure("slowest-search", 1e3 * slowest, "ms"),
    ];
    figures.extend(memory::peak().map(|bytes| figure("memory", bytes as f64 / 1e9, "GB")));
    Ok(figures)
}

/// Random clicks after a first search, with what can be clicked listed at every step; the searches are not timed.
fn click(catalogue: &Arc<Catalogue>, goals: &Arc<Goals>, steps: usize, key: u64) -> (f64, super::Timing) {
    let mut draw = Draw::new(&[key]);
    let mut total = super::Timing { wall: 0.0, cpu: 0.0 };
    let mut done = 0;
    while done < steps {
        let number = draw.below(goals.list().len());
        let task = ShopTask::new(Arc::clone(catalogue), Arc::clone(goals), number, Manner::default());
        let mut episode = Arc::new(task).episode();
        let words = Request::parse(episode.visit().instruction()).words;
        episode.advance(&format!("search[{words}]"));
        let (count, t) = time(|| {
            let mut count = 0;
            while count < 100 && episode.receipt().is_none() && episode.visit().place() != Place::Search {
                let names = episode.clickables();
                // Most clicks go on; one in twenty may leave or buy.
                let leaves = |name: &str| matches!(name, "back to search" | "buy now");
                let name = draw.pick(&names).map_or("", |name| name);
                if !leaves(name) || draw.chance(0.05) {
                    episode.advance(&format!("click[{name}]"));
                    count += 1;
                }
            }
            black_box(&episode);
            count
        });
        done += count;
        total.wall += t.wall;
        total.cpu += t.cpu;
    }
    (done as f64, total)
}
