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
    /// Product, score as Anserini shows it, and Lucene's own score, which was not had for a few at the end of a list.
    top: Vec<(String, f64, Option<f64>)>,
}

pub fn searches(shared: &Shared) -> Result<(), Failed> {
    let catalogue = shared.catalogue()?;
    let mut differences = Differences::default();
    for recorded in shared.lines::<Search>("search_top50.jsonl")? {
        let name = || format!("{:?}", recorded.query);
        differences.compare(name, recorded.tokens, terms(&recorded.query));
        let hits = catalogue.search(&recorded.query);
        let scores = recorded.top.iter().map(|(_, _, score)| score.map(|score| (score as f32).to_bits()));
        let ours: Vec<(&str, Option<u32>)> = hits
            .iter()
            .zip(scores.clone())
            .map(|((product, own), score)| (&*catalogue.product(*product).asin, score.map(|_| own.to_bits())))
            .collect();
        let recorded: Vec<(&str, Option<u32>)> =
            recorded.top.iter().map(|(asin, ..)| asin.as_str()).zip(scores).collect();
        differences.compare(|| "number of results".to_owned(), recorded.len(), hits.len());
        let from = ours.iter().zip(&recorded).take_while(|(a, b)| a == b).count();
        differences.compare(|| format!("from rank {from}"), &recorded[from..], &ours[from..]);
    }
    differences.report(960)
}
