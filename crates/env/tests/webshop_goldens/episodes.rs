//! Episodes, step by step.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use libtest_mimic::Failed;
use opid_env::environment::Episode;
use opid_env::webshop::{Catalogue, Files, Goals, Manner, Place, ShopEpisode, ShopTask, Speaker, Style};
use serde::Deserialize;

use crate::{Differences, Shared};

#[derive(Deserialize)]
struct Recorded {
    goal_idx: usize,
    human: bool,
    instruction: String,
    goal_asin: String,
    reset: Page,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Page {
    obs: String,
    rich: String,
    url: String,
    has_search_bar: bool,
    clickables: Vec<String>,
}

#[derive(Deserialize)]
struct Step {
    action: String,
    #[serde(flatten)]
    page: Page,
    reward: f64,
    done: bool,
    session: Option<Session>,
    reward_info: Option<Info>,
}

#[derive(Deserialize)]
struct Session {
    asin: Option<String>,
    options: BTreeMap<String, String>,
    page: Option<i64>,
}

#[derive(Deserialize)]
struct Info {
    r_type: f64,
    query_match: u8,
    category_match: u8,
    title_score: f64,
    r_price: u8,
}

fn compare_page(differences: &mut Differences, name: &dyn Fn() -> String, page: Page, episode: &ShopEpisode) {
    differences.compare(name, page.obs, episode.page(Style::Text));
    differences.compare(name, page.rich, episode.page(Style::Rich));
    differences.compare(name, page.url, episode.address().to_owned());
    differences.compare(name, page.has_search_bar, episode.visit().place() == Place::Search);
    let clickables = episode.clickables().iter().map(|name| name.to_string()).collect();
    differences.compare(name, page.clickables, clickables);
}

fn replay(
    differences: &mut Differences,
    catalogue: &Catalogue,
    recorded: Recorded,
    mut episode: ShopEpisode,
) {
    let title = format!("goal {} human {}", recorded.goal_idx, recorded.human);
    let name = || format!("{title}: reset");
    differences.compare(name, recorded.instruction, episode.visit().instruction().to_owned());
    let product = episode.task().product();
    differences.compare(name, &*recorded.goal_asin, &*catalogue.product(product).asin);
    compare_page(differences, &name, recorded.reset, &episode);
    for (number, step) in recorded.steps.into_iter().enumerate() {
        let name = || format!("{title} step {number} {:?}", step.action);
        let ours = episode.step(&step.action);
        differences.compare(name, (step.reward as f32, step.done), (ours.score, ours.done));
        differences.compare(name, step.done && step.reward == 1.0, ours.won);
        compare_page(differences, &name, step.page, &episode);
        let visit = episode.visit();
        let own = visit.product().map(|product| catalogue.product(product));
        let session = step.session.map(|s| (s.asin, s.options, s.page.unwrap_or(0)));
        let chosen = visit.chosen().iter().filter_map(|choice| {
            own.map(|product| (choice.name(product).to_owned(), choice.value(product).to_owned()))
        });
        let ours = (own.map(|product| product.asin.to_string()), chosen.collect(), visit.page());
        differences.compare(name, session, episode.receipt().is_none().then_some(ours));
        if let (Some(info), Some(receipt)) = (step.reward_info, episode.receipt()) {
            let kind = receipt.reward.kind;
            let recorded = (
                info.r_type,
                info.query_match == 1,
                info.category_match == 1,
                info.title_score,
                info.r_price == 1,
            );
            let own = (kind.factor, kind.same_query, kind.same_category, kind.title, receipt.reward.price);
            differences.compare(name, recorded, own);
            differences.compare(name, step.reward, receipt.reward.total);
        }
    }
}

fn play(shared: &Shared, name: &str, shows_attributes: bool) -> Result<(usize, Differences), Failed> {
    let catalogue = Arc::new(shared.catalogue()?);
    let goals = [Speaker::Made, Speaker::Human].map(|who| Arc::new(Goals::new(&catalogue, who, 0)));
    let mut differences = Differences::default();
    let mut steps = 0;
    for recorded in shared.lines::<Recorded>(name)? {
        let goals = Arc::clone(&goals[usize::from(recorded.human)]);
        let manner = Manner { shows_attributes, ..Manner::default() };
        let task = ShopTask::new(Arc::clone(&catalogue), goals, recorded.goal_idx, manner);
        steps += recorded.steps.len();
        replay(&mut differences, &catalogue, recorded, Arc::new(task).episode());
    }
    Ok((steps, differences))
}

pub fn episodes(shared: &Shared) -> Result<(), Failed> {
    let (steps, differences) = play(shared, "episodes.jsonl", false)?;
    println!("{steps} steps");
    let cases = differences.cases;
    differences.report(cases)?;
    if steps == 2174 { Ok(()) } else { Err(Failed::from(format!("{steps} steps, not 2174"))) }
}

pub fn episodes_with_attributes(shared: &Shared) -> Result<(), Failed> {
    let (steps, differences) = play(shared, "episodes_show_attrs.jsonl", true)?;
    println!("{steps} steps");
    let cases = differences.cases;
    differences.report(cases)
}

/// Worlds of a catalogue made by hand, each followed by its episodes.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    World { human: bool, seed: u64, prices: HashMap<String, f64>, products: Vec<Loaded>, goals: Vec<Wish> },
    Episode { human: bool, goal_idx: usize, reset: String, steps: Vec<EdgeStep> },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Loaded {
    #[serde(rename = "asin")]
    asin: String,
    title: String,
    price: String,
    #[serde(rename = "options")]
    options: BTreeMap<String, Vec<String>>,
    attributes: Vec<String>,
    #[serde(rename = "query")]
    query: String,
    bullet_points: Vec<String>,
    description: String,
}

#[derive(Deserialize)]
struct Wish {
    instruction_text: String,
    price_upper: f64,
    weight: f64,
}

#[derive(Deserialize)]
struct EdgeStep {
    action: String,
    obs: String,
    rich: String,
    reward: f64,
    done: bool,
    has_search_bar: bool,
    clickables: Vec<String>,
    options: BTreeMap<String, String>,
}

pub fn edge_catalogue() -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/webshop");
    let files = Files {
        products: folder.join("items_shuffle.json"),
        attributes: folder.join("items_ins.json"),
        human: Some(folder.join("items_human_ins.json")),
        ..Files::default()
    };
    let catalogue = Arc::new(Catalogue::load(&files)?);
    let mut differences = Differences::default();
    let mut worlds: HashMap<bool, Arc<Goals>> = HashMap::new();
    let mut steps = 0;
    let traces = BufReader::new(GzDecoder::new(File::open(folder.join("traces.jsonl.gz"))?));
    for line in traces.lines() {
        match serde_json::from_str(&line?)? {
            Line::World { human, seed, prices, products, goals: recorded } => {
                let speaker = if human { Speaker::Human } else { Speaker::Made };
                let goals = Goals::new(&catalogue, speaker, seed);
                for (number, product) in (0..).zip(catalogue.products()) {
                    let name = || format!("price of {}", product.asin);
                    differences.compare(name, prices[&*product.asin], goals.price(&catalogue, number));
                }
                differences.compare(|| "products".into(), products.len(), catalogue.products().len());
                for (loaded, product) in products.into_iter().zip(catalogue.products()) {
                    let texts =
                        |all: &[Box<str>]| all.iter().map(|text| text.to_string()).collect::<Vec<_>>();
                    let options =
                        product.options.iter().map(|(name, v)| (name.to_string(), texts(v))).collect();
                    let name = || loaded.asin.clone();
                    differences.compare(name, loaded.options, options);
                    let recorded = [loaded.title, loaded.price, loaded.query, loaded.description];
                    let ours =
                        [&*product.title, &product.price.to_string(), &product.query, &product.description]
                            .map(str::to_owned);
                    differences.compare(|| loaded.asin.clone(), recorded, ours);
                    let recorded = (loaded.attributes, loaded.bullet_points);
                    differences.compare(
                        || loaded.asin.clone(),
                        recorded,
                        (texts(&product.attributes), texts(&product.bullets)),
                    );
                }
                differences.compare(|| "goals".into(), recorded.len(), goals.list().len());
                let weights = goals.weights(&catalogue);
                for ((wish, &goal), weight) in recorded.into_iter().zip(goals.list()).zip(weights) {
                    let ours =
                        (goals.instruction(&catalogue, goal), goals.wanted(&catalogue, goal).price_upper);
                    let near = (wish.weight - weight).abs() < 1e-15;
                    let name = || wish.instruction_text.clone();
                    differences.compare(name, true, near);
                    differences.compare(String::new, (wish.instruction_text, wish.price_upper), ours);
                }
                worlds.insert(human, Arc::new(goals));
            }
            Line::Episode { human, goal_idx, reset, steps: recorded } => {
                let goals = Arc::clone(&worlds[&human]);
                let task = ShopTask::new(Arc::clone(&catalogue), goals, goal_idx, Manner::default());
                let mut episode = Arc::new(task).episode();
                differences.compare(|| "reset".into(), reset, episode.page(Style::Text));
                for (number, step) in recorded.into_iter().enumerate() {
                    steps += 1;
                    let name = || format!("human {human} goal {goal_idx} step {number} {:?}", step.action);
                    let ours = episode.step(&step.action);
                    differences.compare(name, (step.reward as f32, step.done), (ours.score, ours.done));
                    differences.compare(name, &step.obs, &episode.page(Style::Text));
                    differences.compare(name, &step.rich, &episode.page(Style::Rich));
                    let clickables: Vec<String> =
                        episode.clickables().iter().map(|c| c.to_string()).collect();
                    differences.compare(name, &step.clickables, &clickables);
                    let visit = episode.visit();
                    differences.compare(name, step.has_search_bar, visit.place() == Place::Search);
                    let product = visit.product().map(|product| catalogue.product(product));
                    let chosen: BTreeMap<String, String> = visit
                        .chosen()
                        .iter()
                        .filter_map(|c| product.map(|p| (c.name(p).to_owned(), c.value(p).to_owned())))
                        .collect();
                    // The recorder reads the options after the purchase, when the visit is over; the page shows them.
                    if !step.done {
                        differences.compare(name, &step.options, &chosen);
                    }
                }
            }
        }
    }
    println!("{steps} steps");
    let cases = differences.cases;
    differences.report(cases)
}
