//! `opid serve`: a model over HTTP, with OpenAI's interface.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::ensure;
use opid::run::locate;
use opid_lm::kernels::tile::Precision;
use opid_serve::{CompletionServer, Limits, Served};

/// Environment variable with the key that clients must send.
const KEY: &str = "OPID_API_KEY";

/// Options of `serve`.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face folder, run (its last checkpoint), or checkpoint in a run.
    model: PathBuf,
    /// Name that clients ask for [default: that of the folder].
    #[arg(long)]
    name: Option<String>,
    /// Address to listen at; 0.0.0.0 is reached from other machines. With OPID_API_KEY in the environment, clients must
    /// send that key.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Most completions computed at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Most completions computed or waiting; beyond, requests are refused with status 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    queue: u32,
    /// Round weights, keys and values to bf16: half the memory traffic.
    #[arg(long)]
    bf16: bool,
}

/// Serves until it is stopped.
pub fn run(args: Args) -> anyhow::Result<()> {
    let folder = locate(&args.model)?.folder;
    let place = args.model.canonicalize().unwrap_or_else(|_| args.model.clone());
    let own = place.file_name().map_or("model".to_owned(), |name| name.to_string_lossy().into_owned());
    let name = args.name.unwrap_or(own);
    ensure!(!name.is_empty(), "--name is empty: give the name that clients ask for");
    let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
    let precision = if args.bf16 { Precision::Bf16 } else { Precision::F32 };
    let (served, model) = Served::open(&folder, name.clone(), precision)?;
    let what =
        format!("{name}: {:.2} M parameters, {} tokens of context", model.len() as f64 / 1e6, served.context);
    let limits = Limits { concurrency: args.concurrency as usize, queue: args.queue as usize };
    let keyed = if key.is_some() { ", with a key" } else { "" };
    let server =
        CompletionServer::start(SocketAddr::new(args.host, args.port), (served, model), limits, key)?;
    eprintln!("{what}, at http://{}/v1{keyed}", server.address());
    server.wait();
    Ok(())
}
