//! `opid view`: a page on runs, served while they go on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use opid_view::{PageServer, find};

/// Options of `view`.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs, of experiments, or with runs in them.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Address to listen at; 0.0.0.0 is reached from other machines.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, default_value_t = 6007)]
    port: u16,
}

/// Serves until it is stopped.
pub fn run(args: Args) -> anyhow::Result<()> {
    for path in &args.runs {
        find(path)?;
    }
    let server = PageServer::start(SocketAddr::new(args.host, args.port), args.runs)?;
    eprintln!("open http://{}/", server.address());
    server.wait();
    Ok(())
}
