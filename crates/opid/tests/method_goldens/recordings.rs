//! Reading recorded cases and comparing with them.

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use serde_json::Value;

/// Relative and absolute tolerance of float32 recordings.
pub const PLAIN: (f64, f64) = (2e-5, 2e-6);
/// The tolerance where float32 was divided by a standard deviation.
pub const SCALED: (f64, f64) = (3e-4, 3e-4);

/// What became of a case.
pub enum Outcome {
    /// It was compared.
    Compared,
    /// It was compared with our own result, because we differ from the reference for this reason.
    Deviates(&'static str),
    /// It was not, for this reason.
    Excluded(&'static str),
}

/// The shared folder.
pub fn shared() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("OPID_SHARED").map_or(workspace.join("../shared"), PathBuf::from)
}

/// The file of a name in `goldens/opid` of the shared folder; with a folder in front, JSON lines in that folder.
pub fn recorded_file(name: &str) -> PathBuf {
    let folder = shared().join("goldens");
    match name.contains('/') {
        true => folder.join(format!("{name}.jsonl")),
        false => folder.join(format!("opid/{name}.json")),
    }
}

/// The cases of a function in a file; an empty name means all cases of the file.
pub fn recorded(file: &str, function: &str) -> Result<Vec<Value>, Failed> {
    let text = std::fs::read_to_string(recorded_file(file))?;
    if file.contains('/') {
        return Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?);
    }
    // Python writes half of a surrogate pair, which is no JSON; it stands in one recorded result.
    let document: Value =
        serde_json::from_str(&text.replace(" \\ud83d y\", \"step", " \\ufffd y\", \"step"))?;
    let cases = document["cases"].as_array().cloned().unwrap_or_default();
    Ok(cases.into_iter().filter(|case| case["fn"].as_str().unwrap_or("") == function).collect())
}

/// Collects differences and shows the first few.
#[derive(Default)]
pub struct Comparison {
    case: String,
    cases: usize,
    wrong: usize,
    values: usize,
    shown: Vec<String>,
}

impl Comparison {
    /// Starts a case.
    pub fn begin(&mut self, case: &Value) {
        self.case = case["id"].as_str().unwrap_or("?").to_owned();
    }

    /// Counts the case as compared.
    pub fn end(&mut self) {
        self.cases += 1;
    }

    /// How many cases were compared.
    pub fn cases(&self) -> usize {
        self.cases
    }

    fn differs(&mut self, what: String) {
        self.wrong += 1;
        if self.shown.len() < 5 {
            self.shown.push(format!("{}: {what}", self.case));
        }
    }

    /// Compares numbers within a tolerance.
    pub fn close(&mut self, what: &str, found: &[f64], expected: &[f64], (rtol, atol): (f64, f64)) {
        if found.len() != expected.len() {
            self.differs(format!("{what}: {} values, expected {}", found.len(), expected.len()));
        }
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            self.values += 1;
            let near = (found - expected).abs() <= atol + rtol * expected.abs();
            if !near && found != expected {
                self.differs(format!(
                    "{what}[{place}] is {found}, expected {expected} (rtol {rtol}, atol {atol})"
                ));
            }
        }
    }

    /// Compares exactly.
    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        self.values += 1;
        if found != expected {
            self.differs(format!("{what} is {found:?}, expected {expected:?}"));
        }
    }

    /// The verdict over all cases.
    pub fn result(self) -> Result<(), Failed> {
        if self.cases == 0 {
            return Err("no case was compared".into());
        }
        if self.wrong == 0 {
            return Ok(());
        }
        Err(format!("{} of {} values differ:\n{}", self.wrong, self.values, self.shown.join("\n")).into())
    }
}

/// A number; recordings write numbers that are not finite as text.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => text.trim_start_matches('+').parse().unwrap_or(f64::NAN),
        value => value.as_f64().unwrap_or(f64::NAN),
    }
}

/// A list of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(number).collect()
}

/// A list of lists of numbers.
pub fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().into_iter().flatten().map(numbers).collect()
}

/// A list of booleans.
pub fn flags(value: &Value) -> Vec<bool> {
    value.as_array().into_iter().flatten().map(|flag| number(flag) != 0.0).collect()
}

/// A list of texts.
pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The values of each row where the mask is set.
pub fn valid(values: &Value, mask: &Value) -> Vec<Vec<f64>> {
    let rows = matrix(values).into_iter().zip(matrix(mask));
    rows.map(|(row, mask)| {
        row.into_iter().zip(mask).filter(|(_, kept)| *kept != 0.0).map(|(value, _)| value).collect()
    })
    .collect()
}

/// One value for each row, repeated for every token of `tokens`.
pub fn spread(by_row: &[f64], tokens: &[Vec<f64>]) -> Vec<f64> {
    by_row.iter().zip(tokens).flat_map(|(value, row)| row.iter().map(move |_| *value)).collect()
}
