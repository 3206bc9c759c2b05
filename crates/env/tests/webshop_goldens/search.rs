//! Analysed texts, and searches.

use libtest_mimic::Failed;
use opid_env::retrieval::terms;
use serde::Deserialize;

use crate::{Differences, Shared};

pub fn analyzed_texts(shared: &Shared) -> Result<(), Failed> {
    let mut differences = Differences::default();
    let probes: Vec<(String, Vec<String>)> = shared.json("analyzer_probes.json")?;
    for (text, recorded) in probes {
        differences.compare(|| text.clone(), recorded, terms(&text));
    }
    let expected = differences.cases;
    differences.report(expected)
}

pub fn analyzed_products(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let mut differences = Differences::default();
    let recorded: Vec<(String, String)> = shared.lines("doc_tokens_1k.jsonl")?;
    for ((asin, recorded), product) in recorded.into_iter().zip(catalogue.products()) {
        let ours = terms(&product.document()).join(" ");
        differences.compare(|| asin.clone(), (asin.clone(), recorded), (product.asin.to_string(), ours));
    }
    differences.report(1000)
}

#[derive(Deserialize)]
struct Search {
    query: String,
    tokens: Vec<String>,
    top: Vec<(String, f64, f64)>,
}

pub fn searches(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let mut differences = Differences::default();
    for recorded in shared.lines::<Search>("search_top50.jsonl")? {
        let name = || format!("{:?}", recorded.query);
        differences.compare(name, recorded.tokens, terms(&recorded.query));
        let ours = catalogue.search(&recorded.query);
        let ours: Vec<(String, u32)> = ours
            .into_iter()
            .map(|(p, score)| (catalogue.product(p).asin.to_string(), score.to_bits()))
            .collect();
        let recorded = recorded
            .top
            .into_iter()
            .map(|(asin, _, score)| (asin, (score as f32).to_bits()))
            .collect::<Vec<_>>();
        let differs = ours.iter().zip(&recorded).position(|(a, b)| a != b);
        let from = differs.unwrap_or(ours.len().min(recorded.len()));
        differences.compare(|| format!("query from rank {from}"), &recorded[from..], &ours[from..]);
    }
    differences.report(640)
}
