//! `opid generate`: household games as files that opid and the original ALFWorld play, products as files of WebShop, or
//! questions and passages as files of Search-R1.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use opid_env::household::{self, HouseholdConfig};
use opid_env::search::library::{self, SearchConfig};
use opid_env::search::world::WorldConfig;
use opid_env::webshop::generator;

use super::{parse_range, print};

/// Options of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// What is made: household games, a shop's products (webshop), or a world's pages and questions (search).
    #[arg(long, value_enum, default_value = "household")]
    env: World,
    /// Folder to write into; set ALFWORLD_DATA, or WEBSHOP_DATA, to it to play.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// household: number of games.
    #[arg(long, default_value_t = 100)]
    games: usize,
    /// webshop: number of products.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    products: usize,
    /// search: scale of the world; 1 has 728 things.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    size: f64,
    /// household: split: train, valid_seen or valid_unseen.
    #[arg(long, default_value = "train")]
    split: String,
    /// Number of the world, or of the shop.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// household: fewest and most receptacles of a room; 0,0 makes rooms of real size.
    #[arg(long, value_name = "MIN,MAX", default_value = "6,9", value_parser = parse_range)]
    receptacles: (usize, usize),
    /// household: kinds of task, for example pick_and_place_simple,look_at_obj_in_light [default: all six].
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
}

/// What can be made.
#[derive(Clone, Copy, clap::ValueEnum)]
enum World {
    /// Household games.
    Household,
    /// Products of a shop.
    Webshop,
    /// Pages of a world, and questions about it.
    Search,
}

/// Writes games or products and says where they are.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.env {
        World::Household => write_games(args),
        World::Webshop => write_products(&args),
        World::Search => write_questions(&args),
    }
}

fn write_questions(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.size > 0.0 && args.size <= 100.0,
        "--size {}; give a number above 0, at most 100",
        args.size
    );
    let config =
        SearchConfig { world: WorldConfig { size: args.size, seed: args.seed }, ..SearchConfig::default() };
    let written = library::write(config, &args.out);
    let [pages, questions] = written.with_context(|| format!("cannot write into {}", args.out.display()))?;
    let out = args.out.display();
    print(&format!(
        "{pages} passages in {out}/corpus.jsonl, {questions} questions in {out}/questions\nask them with --set \
         environment.search.questions={out}/questions --set environment.search.corpus={out}/corpus.jsonl\n"
    ))
}

fn write_products(args: &Args) -> anyhow::Result<()> {
    let most = generator::MOST_PRODUCTS;
    ensure!((1..=most).contains(&args.products), "--products {}; give 1 to {most}", args.products);
    let written = generator::write(&args.out, args.seed, args.products);
    let [products, attributes] =
        written.with_context(|| format!("cannot write into {}", args.out.display()))?;
    print(&format!(
        "{} products in {}, their attributes and instructions in {}\nshop there with WEBSHOP_DATA={} and the \
         environment webshop\n",
        args.products,
        products.display(),
        attributes.display(),
        args.out.display()
    ))
}

fn write_games(args: Args) -> anyhow::Result<()> {
    ensure!(args.games > 0, "--games 0 makes nothing; give a number of games");
    let config = HouseholdConfig { size: args.receptacles, kinds: args.kinds, ..HouseholdConfig::default() };
    let world = household::World::new(config, args.seed)?;
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
