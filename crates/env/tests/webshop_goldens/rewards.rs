//! Likeness of texts, colours, rewards, and which goals can be reached.

use std::collections::{BTreeMap, HashMap};

use libtest_mimic::Failed;
use opid_env::webshop::color;
use opid_env::webshop::fuzzy::{Similarity, token_set_ratio};
use opid_env::webshop::reward::reward;
use opid_env::webshop::{Goals, Speaker};
use serde::Deserialize;

use crate::{Differences, Shared};

#[derive(Deserialize)]
struct Pair {
    p: String,
    g: String,
    difflib: u32,
    rapidfuzz: u32,
}

pub fn similarities(shared: &Shared) -> Result<(), Failed> {
    let mut differences = Differences::default();
    for pair in shared.lines::<Pair>("fuzz_pairs.jsonl")? {
        let ours = |similarity| token_set_ratio(&pair.p, &pair.g, similarity);
        let name = || format!("{:?} {:?}", pair.p, pair.g);
        differences.compare(name, pair.difflib, ours(Similarity::Blocks));
        differences.compare(name, pair.rapidfuzz, ours(Similarity::Subsequence));
    }
    differences.report(2 * 4011)
}

#[derive(Deserialize)]
struct Normalized {
    s: String,
    n: String,
}

pub fn colors(shared: &Shared) -> Result<(), Failed> {
    let mut differences = Differences::default();
    let recorded: Vec<Normalized> = shared.lines("normalize_color.jsonl")?;
    let expected = recorded.len();
    for case in recorded {
        differences.compare(|| case.s.clone(), &*case.n, color::normalize(&case.s));
    }
    differences.report(expected)
}

#[derive(Deserialize)]
struct Case {
    goal_idx: usize,
    human: u8,
    goal_asin: String,
    asin: String,
    price: f64,
    options: BTreeMap<String, String>,
    reward: f64,
    num_attr: usize,
    num_opt: Option<usize>,
    r_type: f64,
    query_match: u8,
    category_match: u8,
    title_score: f64,
    r_price: u8,
}

pub fn rewards(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let places: HashMap<&str, u32> =
        (0..).zip(catalogue.products()).map(|(i, product)| (&*product.asin, i)).collect();
    let goals = [Speaker::Made, Speaker::Human].map(|speaker| Goals::new(&catalogue, speaker, 0));
    let mut differences = Differences::default();
    for case in shared.lines::<Case>("reward_cases.jsonl")? {
        let goals = &goals[usize::from(case.human)];
        let wanted = goals.wanted(&catalogue, goals.list()[case.goal_idx]);
        let number = places[&*case.asin];
        let product = catalogue.product(number);
        let chosen = case.options.values().map(String::as_str);
        let ours = reward(&wanted, product, case.price, chosen, Similarity::Blocks);
        let name =
            || format!("goal {} human {}: {} {:?}", case.goal_idx, case.human, case.asin, case.options);
        let recorded = (&*case.goal_asin, case.price, case.reward, case.num_attr, case.num_opt.unwrap_or(0));
        let own = (
            &*wanted.product.asin,
            goals.price(&catalogue, number),
            ours.total,
            ours.attributes,
            ours.options,
        );
        differences.compare(name, recorded, own);
        let recorded = (
            case.r_type,
            case.query_match == 1,
            case.category_match == 1,
            case.title_score,
            case.r_price == 1,
        );
        let kind = ours.kind;
        let own = (kind.factor, kind.same_query, kind.same_category, kind.title, ours.price);
        differences.compare(name, recorded, own);
    }
    differences.report(2 * 1004)
}

pub fn attainable_goals(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let goals = Goals::new(&catalogue, Speaker::Made, 0);
    let mut differences = Differences::default();
    let recorded: Vec<u8> = shared.json("goal_attainable_seed0.json")?;
    for (number, (recorded, &goal)) in recorded.into_iter().zip(goals.list()).enumerate() {
        let ours = goals.is_attainable(&catalogue, goal, Similarity::Blocks);
        differences.compare(|| format!("goal {number}"), recorded == 1, ours);
    }
    differences.report(6910)
}
