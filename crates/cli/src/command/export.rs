//! `opid export`: a policy as a Hugging Face folder of its own.

use std::path::PathBuf;

use clap::ValueEnum;
use opid::export::export;
use opid_lm::checkpoint::StoredDtype;

use super::print;

/// Options of `export`.
#[derive(clap::Args)]
pub struct Args {
    /// A run (its last checkpoint), a checkpoint inside a run, or any Hugging Face folder.
    model: PathBuf,
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number format of the weights: f32 is exact, bf16 half as large.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

/// Writes the folder.
pub fn run(args: Args) -> anyhow::Result<()> {
    let dtype = match args.dtype {
        Dtype::F32 => StoredDtype::F32,
        Dtype::Bf16 => StoredDtype::Bf16,
    };
    let parameters = export(&args.model, &args.out, dtype)?;
    print(&format!(
        "{:.2} M parameters as {} in {}\n",
        parameters as f64 / 1e6,
        dtype.name(),
        args.out.display()
    ))
}
