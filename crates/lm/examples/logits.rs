//! Prints the logits after every token of a sequence, to compare with other programs:
//! `cargo run --release -p opid-lm --example logits -- FOLDER f32|bf16 TOKEN...`
//!
//! One JSON line: for every position the 8 largest logits and their tokens, and the log-probability of
//! the next token of the sequence. `scripts/check_transformers.py` compares it with transformers.

use std::path::Path;

use opid_lm::decoder::{Decoder, Entry, Sequence};
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, precision, tokens @ ..] = &arguments[..] else {
        return Err("usage: logits FOLDER f32|bf16 TOKEN...".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        other => return Err(format!("the precision is f32 or bf16, not {other}").into()),
    };
    let tokens: Vec<u32> = tokens.iter().map(|t| t.parse()).collect::<Result<_, _>>()?;
    let model = Model::open(Path::new(folder), precision)?;
    let mut decoder = Decoder::new(&model);
    let mut sequence = Sequence::default();
    let mut lines = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let logits = decoder.extend(&mut [Entry { sequence: &mut sequence, tokens: &[*token] }]);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let top: Vec<(usize, f32)> = order[..8.min(order.len())].iter().map(|&t| (t, logits[t])).collect();
        let highest = top[0].1 as f64;
        let sum: f64 = logits.iter().map(|&l| (l as f64 - highest).exp()).sum();
        let next = tokens.get(i + 1).map(|&next| logits[next as usize] as f64 - highest - sum.ln());
        lines.push(serde_json::json!({ "top": top, "next_logprob": next }));
    }
    println!("{}", serde_json::Value::Array(lines));
    Ok(())
}
