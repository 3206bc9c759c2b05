//! Golden checkpoints: logits, log-probabilities, entropies, gradients and greedy tokens against a
//! float64 reference recorded from transformers (`goldens/models` of the shared folder).

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use opid_lm::batch::{TreeBatch, TreeBuilder};
use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::TokenGrad;
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use serde_json::Value;

const CHECKPOINTS: [&str; 6] = [
    "tiny-qwen2-tied",
    "tiny-qwen2-untied",
    "tiny-qwen2-bf16",
    "tiny-qwen3",
    "tiny-qwen3-sharded",
    "tiny-qwen3-untied-mqa",
];

fn goldens() -> PathBuf {
    let shared = std::env::var_os("OPID_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    shared.join("goldens/models")
}

fn main() {
    let args = Arguments::from_args();
    let root = goldens();
    let mut trials = Vec::new();
    for name in CHECKPOINTS {
        for (what, check) in [("scores", scores as Check), ("gradients", gradients), ("greedy", greedy)] {
            let folder = root.join(name);
            let missing = !folder.is_dir();
            let trial = Trial::test(format!("{name}::{what}"), move || {
                let model = Model::open(&folder, Precision::F32).map_err(|e| Failed::from(e.to_string()))?;
                let golden = std::fs::read(folder.join("golden.json")).map_err(|e| e.to_string())?;
                let golden: Value = serde_json::from_slice(&golden).map_err(|e| e.to_string())?;
                check(&model, &golden)
            });
            trials.push(trial.with_ignored_flag(missing));
        }
    }
    libtest_mimic::run(&args, trials).exit();
}

type Check = fn(&Model, &Value) -> Result<(), Failed>;

/// The tokens of a row that are not padding.
fn row_tokens(golden: &Value, row: usize) -> (usize, Vec<u32>) {
    let mask = golden["attention_mask"][row].as_array().unwrap();
    let first = mask.iter().position(|m| m == 1).unwrap();
    let ids = golden["input_ids"][row].as_array().unwrap();
    (first, ids[first..].iter().map(|v| v.as_u64().unwrap() as u32).collect())
}

/// Both rows as one batch, every token but the first a target.
fn batch(golden: &Value) -> TreeBatch {
    let mut builder = TreeBuilder::new();
    for row in 0..2 {
        let (_, tokens) = row_tokens(golden, row);
        let root = builder.root();
        let first = builder.extend(root, &tokens[..1]);
        builder.score(first, &tokens[1..]);
    }
    builder.build()
}

/// Fails with the first few differences when any exceeds its bound.
fn compare(what: &str, pairs: impl Iterator<Item = (String, f64, f64, f64)>) -> Result<(), Failed> {
    let (mut count, mut wrong) = (0, Vec::new());
    for (place, got, want, bound) in pairs {
        count += 1;
        // A NaN is not close to anything.
        let close = (got - want).abs() <= bound;
        if !close {
            wrong.push(format!("{what} {place}: got {got}, want {want} (bound {bound:e})"));
        }
    }
    if count == 0 {
        return Err(format!("{what}: no case").into());
    }
    if !wrong.is_empty() {
        let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        return Err(format!("{} of {count} {what} differ:\n{shown}", wrong.len()).into());
    }
    Ok(())
}

/// Logits within 1e-4, log-probabilities within 1e-5 (relative to their size above 1), entropies alike.
fn scores(model: &Model, golden: &Value) -> Result<(), Failed> {
    let stats = Workspace::new(model).score(model, &batch(golden), 1.0);
    let mut want = Vec::new();
    for row in 0..2 {
        let (first, tokens) = row_tokens(golden, row);
        for p in first..first + tokens.len() - 1 {
            want.push((
                format!("row {row} position {p}"),
                golden["target_logprobs"][row][p].as_f64().unwrap(),
                golden["entropy"][row][p].as_f64().unwrap(),
            ));
        }
    }
    let pairs = || stats.iter().zip(&want);
    compare(
        "log-probability",
        pairs().map(|(s, (place, lp, _))| (place.clone(), s.logprob as f64, *lp, 1e-5 * lp.abs().max(1.0))),
    )?;
    compare(
        "entropy",
        pairs().map(|(s, (place, _, h))| (place.clone(), s.entropy as f64, *h, 1e-5 * h.abs().max(1.0))),
    )?;
    let mut logits = Vec::new();
    for case in golden["logits"].as_array().unwrap() {
        let (row, pos) = (case["row"].as_u64().unwrap() as usize, case["pos"].as_u64().unwrap() as usize);
        let (first, tokens) = row_tokens(golden, row);
        let mut sequence = Sequence::default();
        let entry = Entry { sequence: &mut sequence, tokens: &tokens[..=pos - first] };
        let got = Decoder::new(model).extend(&mut [entry]);
        for (i, (g, w)) in got.iter().zip(case["logits"].as_array().unwrap()).enumerate() {
            logits.push((
                format!("row {row} position {pos} token {i}"),
                *g as f64,
                w.as_f64().unwrap(),
                1e-4,
            ));
        }
    }
    compare("logit", logits.into_iter())
}

/// Every gradient of the mean log-probability within 1e-4 of its tensor's norm.
fn gradients(model: &Model, golden: &Value) -> Result<(), Failed> {
    let batch = batch(golden);
    let coefficient = 1.0 / batch.targets() as f32;
    let mut grad = vec![0.0; model.len()];
    let loss = |_: usize, _| TokenGrad { logprob: coefficient, entropy: 0.0 };
    Workspace::new(model).forward_backward(model, &batch, 1.0, &loss, &mut grad);
    let mut pairs = Vec::new();
    let mut seen = 0;
    for t in &model.layout.tensors {
        let want = &golden["grads"][&t.name];
        let values = &grad[t.range.clone()];
        let norm = values.iter().map(|&v| v as f64 * v as f64).sum::<f64>().sqrt();
        let want_norm = want["norm"].as_f64().ok_or(format!("no recorded gradient of {}", t.name))?;
        seen += 1;
        pairs.push((format!("norm of {}", t.name), norm, want_norm, 1e-4 * want_norm.max(1e-6)));
        let places = want["flat_index"].as_array().unwrap().iter().zip(want["value"].as_array().unwrap());
        for (place, value) in places {
            let place = place.as_u64().unwrap() as usize;
            let (got, want) = (values[place] as f64, value.as_f64().unwrap());
            pairs.push((format!("{}[{place}]", t.name), got, want, 1e-4 * want.abs().max(want_norm * 0.01)));
        }
    }
    let recorded = golden["grads"].as_object().unwrap().len();
    if seen != recorded {
        return Err(format!("{seen} tensors compared, {recorded} recorded").into());
    }
    compare("gradient", pairs.into_iter())
}

/// Eight greedy tokens after each row equal those of transformers.
fn greedy(model: &Model, golden: &Value) -> Result<(), Failed> {
    for row in 0..2 {
        let (_, tokens) = row_tokens(golden, row);
        let want: Vec<u64> = golden["greedy_8_new_tokens"][row]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap())
            .collect();
        let mut decoder = Decoder::new(model);
        let mut sequence = Sequence::default();
        let (mut next, mut got) = (tokens, Vec::new());
        while got.len() < want.len() {
            let logits = decoder.extend(&mut [Entry { sequence: &mut sequence, tokens: &next }]);
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            got.push(best as u64);
            next = vec![best as u32];
        }
        if got != want {
            return Err(format!("row {row}: got {got:?}, want {want:?}").into());
        }
    }
    Ok(())
}
