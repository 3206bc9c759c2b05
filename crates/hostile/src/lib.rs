//! Everything of opid that reads what others wrote, as functions of bytes: files, replies of models, actions.
//!
//! A [`Target`] must come back from any bytes, soon and without a panic, and must not ask for more memory than the bytes
//! account for. Its result does not matter. `tests/smoke.rs` runs all of them on mutations of good inputs; the folder
//! `fuzz` at the top gives the same functions to cargo-fuzz.

mod environments;
mod models;
mod mutation;
mod retrieval;
mod runs;

use std::cell::RefCell;
use std::path::Path;

pub use mutation::mutate;

/// Something that reads bytes of others.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Reads them.
    pub run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many times as long it takes as the quickest, roughly.
    pub cost: u64,
}

/// All of them.
pub fn targets() -> Vec<Target> {
    [environments::TARGETS, models::TARGETS, retrieval::TARGETS, runs::TARGETS]
        .into_iter()
        .flatten()
        .map(|&(name, cost, run, seeds)| Target { name, run, seeds, cost })
        .collect()
}

/// Name, cost, function and seeds of a [`Target`].
type Row = (&'static str, u64, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Text as a file would give it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lets `read` look at a folder in which the file `name` has the content `bytes`.
fn in_folder(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    }
    let folder = FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        folder.path().to_owned()
    });
    let path = folder.join(name);
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).expect("a folder");
    }
    std::fs::write(&path, bytes).expect("a file");
    read(&folder);
}
