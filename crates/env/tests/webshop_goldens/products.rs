//! Random numbers, products, prices and goals.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use opid_env::webshop::mersenne::Mersenne;
use opid_env::webshop::{Catalogue, Goals, Speaker, WantedOption};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Differences, Shared};

#[derive(Deserialize)]
struct Vectors {
    random: Vec<f64>,
    uniform: Vec<f64>,
    sample: Vec<[f64; 2]>,
    randbelow: Vec<u32>,
    shuffle20: Vec<usize>,
}

pub fn random_numbers(shared: &Shared) -> Result<(), Failed> {
    let mut differences = Differences::default();
    let recorded: BTreeMap<u64, Vectors> = shared.json("python_random.json")?;
    for (seed, vectors) in recorded {
        // One generator makes all draws of a seed, in this order; for the last it is seeded again.
        let mut random = Mersenne::python(seed);
        let name = |what| move || format!("seed {seed}: {what}");
        differences.compare(name("random"), vectors.random, (0..4).map(|_| random.random()).collect());
        let uniform = (0..vectors.uniform.len()).map(|_| random.uniform(5.0, 7.25)).collect();
        differences.compare(name("uniform"), vectors.uniform, uniform);
        let sample =
            (0..vectors.sample.len()).map(|_| random.sample_two(&[10.0, 20.0, 30.0, 40.0])).collect();
        differences.compare(name("sample"), vectors.sample, sample);
        let below = [1, 2, 3, 7, 1000, 6910].map(|n| random.below(n)).to_vec();
        differences.compare(name("randbelow"), vectors.randbelow, below);
        let mut order: Vec<usize> = (0..20).collect();
        random = Mersenne::python(seed);
        random.shuffle(&mut order);
        differences.compare(name("shuffle"), vectors.shuffle20, order);
    }
    let recorded: BTreeMap<u32, Vec<Vec<usize>>> = shared.json("numpy_choice_goal_idx.json")?;
    for (seed, draws) in recorded {
        let mut random = Mersenne::numpy(seed);
        let (first, n) = if seed == 0 { (500, 6910 - 500) } else { (0, 500) };
        for draw in draws {
            let ours = random.choice(n, draw.len()).into_iter().map(|i| i + first).collect();
            differences.compare(|| format!("numpy seed {seed}"), draw, ours);
        }
    }
    differences.report(4 * 5 + 6)
}

pub fn products(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let mut differences = Differences::default();
    let recorded: Vec<Value> = shared.lines("products_loaded.jsonl")?;
    for (mut recorded, product) in recorded.into_iter().zip(catalogue.products()) {
        let options: Vec<Value> =
            product.options.iter().map(|(name, values)| json!([name, values])).collect();
        let pricing: Vec<f64> = [product.price.low].into_iter().chain(product.price.high).collect();
        let ours = json!({
            "asin": product.asin, "Title": product.title, "Price": product.price.to_string(), "pricing": pricing,
            "Attributes": product.attributes, "query": product.query, "category": product.category,
            "product_category": product.product_category, "n_bullets": product.bullets.len(),
            "nouns": product.nouns, "options": options,
        });
        // The order of options is not kept by the reader of JSON here; goals and pages depend on it and are compared.
        let unordered = |v: Option<Value>| -> BTreeMap<String, Value> {
            v.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default()
        };
        let options: BTreeMap<String, Value> = unordered(recorded.get_mut("options").map(Value::take));
        let pairs: Vec<(String, Value)> = serde_json::from_value(ours["options"].clone())?;
        differences.compare(|| format!("{} options", product.asin), options, pairs.into_iter().collect());
        let without_options = |mut v: Value| {
            v.as_object_mut().map(|fields| fields.remove("options"));
            v
        };
        differences.compare(|| format!("{}", product.asin), without_options(recorded), without_options(ours));
    }
    differences.report(2000)
}

#[derive(Deserialize)]
struct RecordedGoal {
    asin: String,
    instruction_text: String,
    attributes: Vec<String>,
    price_upper: f64,
    goal_options: Value,
    weight: f64,
}

/// Compares recorded goals with the first of ours.
fn compare(
    differences: &mut Differences,
    catalogue: &Catalogue,
    goals: &Goals,
    recorded: impl IntoIterator<Item = RecordedGoal>,
) {
    let weights = goals.weights(catalogue);
    for (number, (recorded, &goal)) in recorded.into_iter().zip(goals.list()).enumerate() {
        let wanted = goals.wanted(catalogue, goal);
        let options = match goals.speaker() {
            Speaker::Human => wanted.options.iter().map(|o| o.value()).collect(),
            Speaker::Made => Value::Object(
                wanted
                    .options
                    .iter()
                    .filter_map(|option| match option {
                        WantedOption::Named(name, value) => Some((name.to_string(), json!(value))),
                        WantedOption::Value(_) => None,
                    })
                    .collect(),
            ),
        };
        let ours = (
            wanted.product.asin.to_string(),
            goals.instruction(catalogue, goal),
            wanted.attributes.iter().map(|a| a.to_string()).collect::<Vec<_>>(),
            wanted.price_upper,
            options,
        );
        let recorded = (
            (
                recorded.asin,
                recorded.instruction_text,
                recorded.attributes,
                recorded.price_upper,
                recorded.goal_options,
            ),
            recorded.weight,
        );
        differences.compare(|| format!("goal {number}"), recorded.0, ours);
        let near = (recorded.1 - weights[number]).abs() <= 1e-15;
        differences.compare(
            || format!("weight of goal {number}: {} {}", recorded.1, weights[number]),
            true,
            near,
        );
    }
}

pub fn goals(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let goals = Goals::new(&catalogue, Speaker::Made, 0);
    let mut differences = Differences::default();
    differences.compare(|| "number of goals".to_owned(), 6910, goals.list().len());
    compare(&mut differences, &catalogue, &goals, shared.lines("goals_seed0.jsonl")?);
    differences.report(1 + 2 * 6910)
}

pub fn goals_of_people(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let goals = Goals::new(&catalogue, Speaker::Human, 0);
    let mut differences = Differences::default();
    differences.compare(|| "number of goals".to_owned(), 13, goals.list().len());
    compare(&mut differences, &catalogue, &goals, shared.lines("goals_human_seed0.jsonl")?);
    differences.report(1 + 2 * 13)
}

#[derive(Deserialize)]
struct Drawn {
    n: usize,
    sha256_asin_instr_upper: String,
    ranged_prices: BTreeMap<String, f64>,
}

pub fn goals_of_five_seeds(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let mut differences = Differences::default();
    for seed in [0, 1, 42, 233, 1000] {
        let name = |what| move || format!("seed {seed}: {what}");
        let lines: Vec<Value> = shared.lines(&format!("prices_goals_seed{seed}.jsonl"))?;
        let drawn: Drawn = serde_json::from_value(lines[0].clone())?;
        let goals = Goals::new(&catalogue, Speaker::Made, seed);
        let ranged = (0..).zip(catalogue.products()).filter(|(_, product)| product.price.high.is_some());
        let prices: BTreeMap<String, f64> =
            ranged.map(|(i, product)| (product.asin.to_string(), goals.price(&catalogue, i))).collect();
        differences.compare(name("prices"), drawn.ranged_prices, prices);
        differences.compare(name("goals"), drawn.n, goals.list().len());
        let texts = goals.list().iter().map(|&goal| {
            let wanted = goals.wanted(&catalogue, goal);
            let upper = match wanted.price_upper {
                1_000_000.0 => "1000000".to_owned(),
                upper => format!("{upper:?}"),
            };
            format!("{}|{}|{upper}", wanted.product.asin, goals.instruction(&catalogue, goal))
        });
        let hash = Sha256::digest(texts.collect::<Vec<_>>().join("\n"));
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        differences.compare(name("all goals"), drawn.sha256_asin_instr_upper, hash);
    }
    differences.report(15)
}
