//! Runs as one file that needs no network.

use std::path::Path;

use opid::run::io;
use serde_json::json;

use crate::body::Reader;
use crate::page::{Packed, page};
use crate::run::{Run, ViewError};
use crate::summary::{Indices, summary};

/// What a report came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the file.
    pub bytes: usize,
    /// Training steps whose episodes are in it.
    pub kept: usize,
    /// Training steps whose episodes are not, because the file would be too large.
    pub left_out: usize,
}

/// Writes a report on `runs`; episodes take at most `room` bytes of it. Where they are more, steps are taken from the
/// whole run, its last and its first before others.
///
/// # Errors
/// A file cannot be read or written.
pub fn write(runs: &[Run], file: &Path, room: usize) -> Result<Report, ViewError> {
    let indices = Indices::default().of(runs);
    let readers: Vec<Reader> = runs.iter().map(Reader::new).collect();
    let steps = |index: &serde_json::Value| {
        let mut steps: Vec<u64> =
            index["step"].as_array().into_iter().flatten().filter_map(|s| s.as_u64()).collect();
        steps.dedup();
        spread(&steps)
    };
    let orders: Vec<Vec<u64>> = indices.iter().map(steps).collect();
    let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
    let wanted = (0..longest).flat_map(|place| {
        orders.iter().enumerate().filter_map(move |(run, order)| Some((run, *order.get(place)?)))
    });
    let (mut data, mut kept, mut taken, mut left_out) = (Vec::new(), Vec::new(), 0, 0);
    for (run, step) in wanted {
        if taken < room {
            let packed = Packed::new(format!("steps-{run}-{step}"), &readers[run].read(&runs[run], step)?);
            if taken + packed.len() <= room {
                taken += packed.len();
                data.push(packed);
                kept.push(json!([run, step]));
                continue;
            }
            taken = room;
        }
        left_out += 1;
    }
    let mut overview = summary(runs, &indices);
    overview["kept"] = json!(kept);
    data.insert(0, Packed::new("summary", &overview));
    let title = overview["groups"].as_array().into_iter().flatten().filter_map(|g| g["name"].as_str());
    let text = page(&title.collect::<Vec<_>>().join(", "), &data);
    io("write", file, std::fs::write(file, &text))?;
    Ok(Report { bytes: text.len(), kept: kept.len(), left_out })
}

/// The same numbers in an order whose every beginning is spread over all of them: the last, the first, then the middles
/// of what lies between.
fn spread(numbers: &[u64]) -> Vec<u64> {
    let n = numbers.len();
    let mut order: Vec<usize> = Vec::with_capacity(n);
    if n > 0 {
        order.push(n - 1);
    }
    if n > 1 {
        order.push(0);
    }
    let mut gaps = std::collections::VecDeque::from([(0, n.saturating_sub(1))]);
    while let Some((from, to)) = gaps.pop_front() {
        if to - from > 1 {
            let middle = from + (to - from) / 2;
            order.push(middle);
            gaps.extend([(from, middle), (middle, to)]);
        }
    }
    order.into_iter().map(|place| numbers[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_spread() {
        assert_eq!(spread(&[1, 2, 3, 4, 5]), [5, 1, 3, 2, 4]);
        for n in 0..40u64 {
            let numbers: Vec<u64> = (0..n).collect();
            let mut order = spread(&numbers);
            order.sort_unstable();
            assert_eq!(order, numbers);
        }
    }
}
