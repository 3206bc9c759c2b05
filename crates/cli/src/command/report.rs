//! `opid report`: a page on runs, as one file.

use std::path::PathBuf;

use opid_view::{Run, find, write};

use super::print;

/// Options of `report`.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs, of experiments, or with runs in them; running ones as well.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Room for episodes in MB; of more, steps spread over the run are kept. 0 leaves all episodes out.
    #[arg(long, value_name = "N", default_value_t = 48)]
    max_mb: u32,
}

/// Writes the page.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for path in &args.runs {
        for folder in find(path)? {
            runs.push(Run::read(&folder)?);
        }
    }
    let report = write(&runs, &args.out, args.max_mb as usize * 1_000_000)?;
    let left_out = match report.left_out {
        0 => String::new(),
        n => format!("; the episodes of {n} more steps have no room (--max-mb), `opid view` shows them"),
    };
    print(&format!(
        "{}: {} run{}, episodes of {} steps, {:.1} MB{left_out}\n",
        args.out.display(),
        runs.len(),
        if runs.len() == 1 { "" } else { "s" },
        report.kept,
        report.bytes as f64 / 1e6
    ))
}
