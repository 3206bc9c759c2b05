//! `opid bench`: tables of speed.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use opid::bench::{Figure, environment, load, model, roofline, search, shop, step};
use opid::recipe::Recipe;

use super::print;

/// Steps that are measured of each method.
const STEPS: step::Extent = step::Extent { rounds: 4, steps: 4 };

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(clap::Subcommand)]
enum What {
    /// Random play in one thread, with the admissible commands listed at every step; and a shop's files, clicks and
    /// searches.
    Env(EnvironmentArgs),
    /// The engine: training, scoring and sampling of models, on one thread; with --json, a line per figure.
    Lm(Common),
    /// Whole training steps under OPID and under GRPO.
    Step(StepArgs),
    /// Many episodes at once for long: speed on all threads, and whether memory grows.
    Load(LoadArgs),
    /// Retrieval: by words, among vectors, and making vectors; with --json, a line per figure.
    Search(SearchArgs),
}

/// Options of every measurement.
#[derive(clap::Args)]
struct Common {
    /// Measure less, in seconds instead of minutes; the figures are rougher.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `bench env`.
#[derive(clap::Args)]
struct EnvironmentArgs {
    #[command(flatten)]
    common: Common,
    /// Measure only a shop, with this many products that are made up.
    #[arg(long, value_name = "N")]
    products: Option<usize>,
}

/// Options of `bench load`.
#[derive(clap::Args)]
struct LoadArgs {
    #[command(flatten)]
    common: Common,
    /// Episodes at once, in each environment [default: 10000, quick 1000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    episodes: Option<u32>,
    /// Steps of each [default: 400, quick 40].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    rounds: Option<u32>,
}

/// Options of `bench step`.
#[derive(clap::Args)]
struct StepArgs {
    #[command(flatten)]
    common: Common,
    /// Recipe file; without one, the built-in household recipe.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Change a key of the recipe, for example --set rollout.groups=4 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Hugging Face folder, run or checkpoint to start from [default: a random policy].
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
}

/// Options of `bench search`.
#[derive(clap::Args)]
struct SearchArgs {
    #[command(flatten)]
    common: Common,
    /// Corpus of JSON lines to search by words [default: about 18,000 made-up passages].
    #[arg(long, value_name = "FILE", requires = "questions")]
    corpus: Option<PathBuf>,
    /// Questions asked about the corpus, as JSON lines or parquet.
    #[arg(long, value_name = "FILE", requires = "corpus")]
    questions: Option<PathBuf>,
    /// Hugging Face folder of an encoder to measure too.
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
}

/// Measures and shows.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Env(args) => measure_environments(&args),
        What::Lm(common) => measure_models(&common),
        What::Load(args) => measure_load(&args),
        What::Step(args) => measure_steps(&args),
        What::Search(args) => measure_search(args),
    }?;
    if cfg!(debug_assertions) {
        eprintln!("note: this program was built without --release, so all speeds are too low");
    }
    Ok(())
}

fn measure_load(args: &LoadArgs) -> anyhow::Result<()> {
    let (episodes, rounds) = if args.common.quick { (1000, 40) } else { (10_000, 400) };
    let chosen = |given: Option<u32>, otherwise: usize| given.map_or(otherwise, |given| given as usize);
    let measured = load::all(chosen(args.episodes, episodes), chosen(args.rounds, rounds))?;
    if args.common.json {
        return print(&format!("{}\n", serde_json::to_string(&measured)?));
    }
    let mut text =
        "environment   episodes      steps     tasks    steps/s  resident MB after each tenth\n".to_owned();
    for m in &measured {
        let resident: Vec<String> =
            m.resident.iter().map(|bytes| format!("{:.0}", *bytes as f64 / 1e6)).collect();
        text.push_str(&format!(
            "{:<12} {:>9} {:>10} {:>9} {:>10.0}  {}\n",
            m.name,
            m.episodes,
            m.steps,
            m.tasks,
            m.speed.per_second,
            resident.join(" ")
        ));
    }
    print(&text)
}

fn measure_environments(args: &EnvironmentArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let shop_extent = match common.quick {
        true => shop::Extent { clicks: 20_000, repetitions: 3 },
        false => shop::Extent { clicks: 200_000, repetitions: 5 },
    };
    let figures = match (args.products, std::env::var_os("WEBSHOP_DATA")) {
        (Some(products), _) => {
            ensure!(products >= 10, "--products {products}; give 10 or more");
            shop::made(products, shop::Extent { repetitions: shop_extent.repetitions.min(3), ..shop_extent })?
        }
        (None, Some(folder)) => shop::measure(Path::new(&folder), shop_extent)?,
        (None, None) => shop::made(1000, shop_extent)?,
    };
    let lines = |text: &mut String| {
        figures.iter().for_each(|f| text.push_str(&format!("{:<32} {:>12.3} {}\n", f.name, f.value, f.unit)));
    };
    if args.products.is_some() {
        let mut text = String::new();
        match common.json {
            true => text.push_str(&format!("{}\n", serde_json::json!({ "figures": figures }))),
            false => lines(&mut text),
        }
        return print(&text);
    }
    let extent = match common.quick {
        true => environment::Extent { games: 10, steps: 10_000, repetitions: 3 },
        false => environment::Extent { games: 50, steps: 10_000, repetitions: 5 },
    };
    let measured = environment::all(extent)?;
    if common.json {
        return print(&format!("{}\n", serde_json::json!({ "environments": measured, "figures": figures })));
    }
    let mut text = String::from(
        "environment                       steps/s  per CPU s   (borrowed)   commands  ready ms  state bytes\n",
    );
    for m in measured {
        text.push_str(&format!(
            "{:<30} {:>10.0} {:>10.0} {:>12.0} {:>10.1} {:>9.2} {:>12.0}\n",
            m.name,
            m.steps.per_second,
            m.steps.per_cpu_second,
            m.borrowed_steps.per_cpu_second,
            m.commands,
            m.ready_ms,
            m.state_bytes
        ));
    }
    text.push_str(
        "One thread, random play, admissible commands listed at every step; `borrowed` lists them without\n\
         copying. `ready`: a game made, or loaded from its file. Python engine: 18.6 steps per CPU second.\n",
    );
    lines(&mut text);
    if std::env::var_os("ALFWORLD_DATA").is_none() {
        text.push_str("Set ALFWORLD_DATA to the folder that holds json_2.1.1 to measure real games too.\n");
    }
    print(&text)
}

/// The figures of the engine: small and large models, and a step under OPID against one under GRPO.
fn measure_models(common: &Common) -> anyhow::Result<()> {
    let repetitions = if common.quick { 1 } else { 5 };
    let extent = model::Extent {
        batch: 16,
        length: 512,
        sequences: 64,
        prompt: 256,
        new: if common.quick { 16 } else { 64 },
        repetitions,
    };
    eprintln!("measuring the processor");
    let mut figures = roofline::measure(repetitions);
    for (name, config) in [("A", model::model_a()), ("recipe", model::recipe_model())] {
        eprintln!("measuring model {name}");
        figures.extend(model::small(name, &config, extent)?);
    }
    if common.quick {
        eprintln!("left out: model B (0.5 billion parameters, minutes) and whole steps");
    } else {
        eprintln!("measuring model B");
        let large = model::Extent { batch: 1, sequences: 8, prompt: 128, new: 32, repetitions: 3, ..extent };
        let single = model::Extent { batch: 0, sequences: 1, ..large };
        figures.extend(model::large("B", &model::model_b(), &[large, single])?);
        eprintln!("measuring steps of the built-in recipe");
        let recipe = Recipe::read(None, &[])?;
        let compared = step::measure(&recipe, None, STEPS, &mut |what| eprintln!("{what}"))?;
        figures.push(Figure::ratio("step/opid-over-grpo", compared.opid_over_grpo));
        figures.push(Figure::ratio("tokens/opid/padded-over-here", compared.algorithms[0].tokens.saved()));
    }
    let mut text = list(&figures, common)?;
    if !common.json {
        text.push_str(&format!(
            "A has 3.67 million parameters, B is of the shape of Qwen2.5-0.5B; one thread unless said.\n\
             train: {} x {} tokens (B: 1 x 512), forward, backward, clipping, AdamW; decode: {} sequences,\n\
             {} new tokens after {} (B: 8 and 1 sequences, 32 after 128). docs/performance.md has the peers.\n",
            extent.batch, extent.length, extent.sequences, extent.new, extent.prompt
        ));
    }
    print(&text)
}

/// A line per figure.
fn list(figures: &[Figure], common: &Common) -> anyhow::Result<String> {
    let mut text = String::new();
    for f in figures {
        match common.json {
            true => text.push_str(&format!("{}\n", serde_json::to_string(f)?)),
            false => text.push_str(&format!("{:<44} {:>10.2} {}\n", f.name, f.value, f.unit)),
        }
    }
    Ok(text)
}

fn measure_search(args: SearchArgs) -> anyhow::Result<()> {
    let quick = args.common.quick;
    let extent = search::Extent {
        corpus: args.corpus.zip(args.questions),
        encoder: args.encoder,
        vectors: if quick { 20_000 } else { 200_000 },
        dimension: 768,
        questions: 1200,
        repetitions: if quick { 3 } else { 7 },
    };
    let figures = search::measure(&extent, &mut |what| eprintln!("{what}"))?;
    let mut text = list(&figures, &args.common)?;
    if !args.common.json {
        text.push_str("Top 3 of every query; docs/performance.md has the peers.\n");
        if extent.encoder.is_none() {
            text.push_str("Give --encoder FOLDER to measure an encoder too.\n");
        }
    }
    print(&text)
}

fn measure_steps(args: &StepArgs) -> anyhow::Result<()> {
    let recipe = Recipe::read(args.recipe.as_deref(), &args.changes)?;
    let located = args.model.as_deref().map(opid::run::locate).transpose()?;
    let folder = located.map(|l| l.folder);
    let named = Some(&recipe.policy.model).filter(|m| !m.is_empty()).map(PathBuf::from);
    let extent = if args.common.quick { step::Extent { rounds: 1, steps: 1 } } else { STEPS };
    let model = folder.or(named);
    let compared = step::measure(&recipe, model.as_deref(), extent, &mut |what| eprintln!("{what}"))?;
    if args.common.json {
        return print(&format!("{}\n", serde_json::to_string(&compared)?));
    }
    let (measured, ratio) = (&compared.algorithms, compared.opid_over_grpo);
    let mut text =
        String::from("seconds of a step   total  rollout  reference  analyzer  re-score  update\n");
    for m in measured {
        let s = &m.seconds;
        text.push_str(&format!(
            "{:<17} {:>7.2} {:>8.2} {:>10.2} {:>9.2} {:>9.2} {:>7.2}\n",
            m.algorithm, m.total, s.rollout, s.reference, s.analyzer_wait, s.rescore, s.update
        ));
    }
    text.push_str(&format!("OPID takes {ratio:.2} times as long as GRPO, for the same episodes.\n\n"));
    text.push_str("tokens computed, without sampling      here  row per turn    padded  padded/here\n");
    for m in measured {
        let t = &m.tokens;
        text.push_str(&format!(
            "{:<33} {:>9} {:>13} {:>9} {:>11.1}x\n",
            format!("{}, {} turns", m.algorithm, t.rows),
            t.computed,
            t.rows_computed,
            t.padded_computed,
            t.saved()
        ));
    }
    text.push_str(
        "Row per turn: every turn with its whole history, once for the old policy, the reference, re-scoring and\n\
         the update each. Padded: the same with rows as long as the longest, as the Python reference has them.\n",
    );
    print(&text)
}
