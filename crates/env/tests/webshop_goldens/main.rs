//! Compares the shop with what was recorded from the Python original.
//!
//! Episodes in a catalogue made by hand are in `fixtures`. Recordings of the real products, and the products, lie outside the repository: in `$OPID_SHARED`, or in `shared` beside the
//! workspace. Where they are missing, each of their trials is reported as ignored, by name. The nouns of real titles come
//! from the recordings, whose tagger is not ours.

mod episodes;
mod products;
mod rewards;
mod search;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use opid_env::webshop::{Catalogue, Files};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The recordings.
struct Shared {
    root: PathBuf,
    nouns: tempfile::TempDir,
}

impl Shared {
    fn find() -> Option<Self> {
        let root = match std::env::var_os("OPID_SHARED") {
            Some(path) => PathBuf::from(path),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        };
        let nouns = tempfile::tempdir().ok()?;
        root.join("goldens/webshop").is_dir().then_some(Self { root, nouns })
    }

    fn golden(&self, name: &str) -> PathBuf {
        self.root.join("goldens/webshop").join(name)
    }

    /// The lines of a recording.
    fn lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, Failed> {
        let text = std::fs::read_to_string(self.golden(name))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failed> {
        Ok(serde_json::from_str(&std::fs::read_to_string(self.golden(name))?)?)
    }

    /// The 1,000 real products with the recorded nouns.
    fn catalogue(&self) -> Result<Catalogue, Failed> {
        let nouns = self.nouns.path().join("nouns.json");
        if !nouns.is_file() {
            let recorded: Vec<Value> = self.lines("products_loaded.jsonl")?;
            let entry = |p: &Value| (p["asin"].as_str().unwrap_or_default().to_owned(), p["nouns"].clone());
            let object: serde_json::Map<String, Value> = recorded.iter().map(entry).collect();
            let part = self.nouns.path().join(format!("{:?}", std::thread::current().id()));
            std::fs::write(&part, Value::Object(object).to_string())?;
            std::fs::rename(part, &nouns)?;
        }
        let files = Files::of(&self.root.join("data/webshop"), false)?;
        Ok(Catalogue::load(&Files { nouns: Some(nouns), ..files })?)
    }
}

/// Differences between recording and program.
#[derive(Default)]
struct Differences {
    cases: usize,
    found: Vec<String>,
}

impl Differences {
    /// Compares one thing; `name` is asked where it differs.
    fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        name: impl FnOnce() -> String,
        recorded: T,
        ours: T,
    ) {
        self.cases += 1;
        if recorded != ours {
            self.found.push(format!("{}\n  recorded {recorded:?}\n  ours     {ours:?}", name()));
        }
    }

    /// Fails with the first differences, or if another number of things was compared.
    fn report(self, expected: usize) -> Result<(), Failed> {
        if !self.found.is_empty() {
            let first = self.found.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
            let count = format!("{} of {} differ; the first:\n{first}", self.found.len(), self.cases);
            return Err(Failed::from(count));
        }
        println!("{} compared, no difference", self.cases);
        match self.cases == expected {
            true => Ok(()),
            false => Err(Failed::from(format!("{} were compared, not {expected}", self.cases))),
        }
    }
}

fn main() {
    type Check = fn(&Shared) -> Result<(), Failed>;
    let checks: [(&str, Check); 14] = [
        ("random_numbers", products::random_numbers),
        ("products", products::products),
        ("goals", products::goals),
        ("goals_of_five_seeds", products::goals_of_five_seeds),
        ("goals_of_people", products::goals_of_people),
        ("analyzed_texts", search::analyzed_texts),
        ("analyzed_products", search::analyzed_products),
        ("searches", search::searches),
        ("similarities", rewards::similarities),
        ("colors", rewards::colors),
        ("rewards", rewards::rewards),
        ("attainable_goals", rewards::attainable_goals),
        ("episodes", episodes::episodes),
        ("episodes_with_attributes", episodes::episodes_with_attributes),
    ];
    let shared = Shared::find().map(Arc::new);
    let trials = checks.into_iter().map(|(name, check)| match shared.clone() {
        Some(shared) => Trial::test(name, move || check(&shared)),
        None => {
            Trial::test(format!("{name} (no recordings: set OPID_SHARED)"), || Ok(())).with_ignored_flag(true)
        }
    });
    let made = std::iter::once(Trial::test("edge_catalogue", episodes::edge_catalogue));
    libtest_mimic::run(&Arguments::from_args(), made.chain(trials).collect()).exit();
}
