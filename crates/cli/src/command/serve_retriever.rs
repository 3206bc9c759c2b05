//! `opid serve-retriever`: passages over HTTP, with the interface of Search-R1's retrieval server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use opid::retriever;
use opid_env::retrieval::{Passages, Retriever};
use opid_retrieval::encoder::EncoderOptions;
use opid_retrieval::server::RetrievalServer;

/// Options of `serve-retriever`.
#[derive(clap::Args)]
pub struct Args {
    /// Passages, one JSON object a line: {"id": "...", "contents": "\"Title\"\nText"}.
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// Vectors of the passages, of `opid index` or FAISS; without them, passages are found by their words (BM25).
    #[arg(long, value_name = "FILE", requires = "encoder")]
    index: Option<PathBuf>,
    /// Hugging Face folder of the encoder that made the vectors.
    #[arg(long, value_name = "FOLDER", requires = "index")]
    encoder: Option<PathBuf>,
    /// Put before every query; e5 needs "query: ".
    #[arg(long, value_name = "TEXT", default_value = "", requires = "encoder")]
    query_prefix: String,
    /// Longest query in tokens; the rest is left out.
    #[arg(long, value_name = "N", default_value_t = EncoderOptions::default().max_tokens)]
    max_tokens: usize,
    /// Address to listen at; 0.0.0.0 is reached from other machines.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
}

/// Serves until it is stopped.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (retriever, what): (Arc<dyn Retriever>, String) = match args.index.zip(args.encoder) {
        None => {
            let passages = Passages::open(&args.corpus)?;
            let what = format!("{} passages by BM25", passages.len());
            (Arc::new(passages), what)
        }
        Some((index, encoder)) => {
            let options = EncoderOptions {
                max_tokens: args.max_tokens,
                query_prefix: args.query_prefix,
                ..EncoderOptions::default()
            };
            let dense = retriever::dense(&args.corpus, &index, &encoder, options)?;
            let what = format!("{} passages by vectors of {} numbers", dense.len(), dense.dimension());
            (Arc::new(dense), what)
        }
    };
    let server = RetrievalServer::start(SocketAddr::new(args.host, args.port), retriever)?;
    eprintln!("{what}, at http://{}/retrieve", server.address());
    server.wait();
    Ok(())
}
