//! `opid generate`: household games as files that opid and the original ALFWorld play.

use std::path::PathBuf;

use anyhow::ensure;
use opid_env::household::{HouseholdConfig, World};

use super::{parse_range, print};

/// Options of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder to write into; set ALFWORLD_DATA to it to play the games.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of games.
    #[arg(long, default_value_t = 100)]
    games: usize,
    /// Split: train, valid_seen or valid_unseen.
    #[arg(long, default_value = "train")]
    split: String,
    /// Number of the world of games.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Fewest and most receptacles of a room; 0,0 makes rooms of real size.
    #[arg(long, value_name = "MIN,MAX", default_value = "6,9", value_parser = parse_range)]
    receptacles: (usize, usize),
    /// Kinds of task, for example pick_and_place_simple,look_at_obj_in_light [default: all six].
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
}

/// Writes the games and says where they are.
pub fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.games > 0, "--games 0 makes nothing; give a number of games");
    let config = HouseholdConfig { size: args.receptacles, kinds: args.kinds, ..HouseholdConfig::default() };
    let world = World::new(config, args.seed)?;
    let mut last = PathBuf::new();
    for index in 0..args.games {
        last = world.make(&args.split, index)?.write(&args.out)?;
    }
    print(&format!(
        "{} games under {}; the last is {}\nplay them with ALFWORLD_DATA={} and the environment alfworld\n",
        args.games,
        args.out.join("json_2.1.1").join(&args.split).display(),
        last.display(),
        args.out.display()
    ))
}
