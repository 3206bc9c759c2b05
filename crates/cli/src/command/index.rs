//! `opid index`: the vectors of a corpus, as a file that `opid serve-retriever` and FAISS read.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use opid_retrieval::corpus::Corpus;
use opid_retrieval::dense::build_index;
use opid_retrieval::encoder::{Encoder, EncoderOptions};
use opid_retrieval::flat::Storage;

/// Options of `index`.
#[derive(clap::Args)]
pub struct Args {
    /// Passages, one JSON object a line: {"id": "...", "contents": "\"Title\"\nText"}.
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// Hugging Face folder of a BERT encoder, such as e5-base-v2 or all-MiniLM-L6-v2.
    #[arg(long, value_name = "FOLDER")]
    encoder: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Keep vectors in f16: half the size, scores off by about 0.001.
    #[arg(long)]
    f16: bool,
    /// Put before every passage; e5 needs "passage: ".
    #[arg(long, value_name = "TEXT", default_value = "")]
    passage_prefix: String,
    /// Longest passage in tokens; the rest is left out.
    #[arg(long, value_name = "N", default_value_t = EncoderOptions::default().max_tokens)]
    max_tokens: usize,
}

/// Encodes and writes.
pub fn run(args: Args) -> anyhow::Result<()> {
    let options = EncoderOptions {
        max_tokens: args.max_tokens,
        passage_prefix: args.passage_prefix,
        ..EncoderOptions::default()
    };
    let encoder = Encoder::open(&args.encoder, options)?;
    let corpus = Corpus::open(&args.corpus)?;
    let bar = ProgressBar::new(corpus.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} passages, {eta} left")?);
    let storage = if args.f16 { Storage::F16 } else { Storage::F32 };
    build_index(&corpus, &encoder, &args.out, storage, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    eprintln!("{} vectors of {} numbers in {}", corpus.len(), encoder.dimension(), args.out.display());
    Ok(())
}
