//! The encoder against the formulas of BERT, written plainly in f64, and retrieval with it.

mod tiny;

use opid_env::retrieval::Retriever;
use opid_retrieval::corpus::Corpus;
use opid_retrieval::dense::{Dense, build_index};
use opid_retrieval::encoder::{Encoder, EncoderOptions};
use opid_retrieval::flat::{FlatIndex, Metric, Storage};
use tiny::{HEADS, LAYERS, POSITIONS, Tensors, WIDTH};

type Rows = Vec<Vec<f64>>;

fn options() -> EncoderOptions {
    EncoderOptions { max_tokens: POSITIONS, ..EncoderOptions::default() }
}

fn linear(tensors: &Tensors, name: &str, x: &Rows) -> Rows {
    let (_, weight) = &tensors[&format!("{name}.weight")];
    let (_, bias) = &tensors[&format!("{name}.bias")];
    let product = |row: &Vec<f64>, weights: &[f32]| -> f64 {
        row.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum()
    };
    let outputs = |row: &Vec<f64>| {
        let rows = weight.chunks_exact(row.len()).zip(bias);
        rows.map(|(weights, bias)| product(row, weights) + f64::from(*bias)).collect()
    };
    x.iter().map(outputs).collect()
}

fn norm(tensors: &Tensors, name: &str, x: &mut Rows) {
    let (_, weight) = &tensors[&format!("{name}.LayerNorm.weight")];
    let (_, bias) = &tensors[&format!("{name}.LayerNorm.bias")];
    for row in x {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        for ((x, w), b) in row.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) / (variance + 1e-12).sqrt() * f64::from(*w) + f64::from(*b);
        }
    }
}

/// The error function by its series.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn add(x: &mut Rows, more: &Rows) {
    x.iter_mut().zip(more).for_each(|(x, more)| x.iter_mut().zip(more).for_each(|(x, more)| *x += more));
}

fn reference(tensors: &Tensors, tokens: &[u32]) -> Vec<f64> {
    let table = |name: &str, row: usize| -> Vec<f64> {
        let (_, numbers) = &tensors[&format!("embeddings.{name}_embeddings.weight")];
        numbers[row * WIDTH..][..WIDTH].iter().map(|x| f64::from(*x)).collect()
    };
    let mut x: Rows = tokens.iter().map(|token| table("word", *token as usize)).collect();
    add(&mut x, &(0..tokens.len()).map(|position| table("position", position)).collect());
    add(&mut x, &vec![table("token_type", 0); tokens.len()]);
    norm(tensors, "embeddings", &mut x);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let [q, k, v] = ["query", "key", "value"]
            .map(|part| linear(tensors, &name(&format!("attention.self.{part}")), &x));
        let mut mixed = vec![vec![0.0; WIDTH]; x.len()];
        let size = WIDTH / HEADS;
        for (i, mixed) in mixed.iter_mut().enumerate() {
            for head in 0..HEADS {
                let part = head * size..(head + 1) * size;
                let score = |j: usize| -> f64 {
                    part.clone().map(|c| q[i][c] * k[j][c]).sum::<f64>() / (size as f64).sqrt()
                };
                let shares: Vec<f64> = (0..x.len()).map(|j| score(j).exp()).collect();
                let sum: f64 = shares.iter().sum();
                for c in part.clone() {
                    mixed[c] = shares.iter().zip(&v).map(|(share, v)| share / sum * v[c]).sum();
                }
            }
        }
        add(&mut x, &linear(tensors, &name("attention.output.dense"), &mixed));
        norm(tensors, &name("attention.output"), &mut x);
        let mut inner = linear(tensors, &name("intermediate.dense"), &x);
        inner.iter_mut().flatten().for_each(|x| *x *= (1.0 + erf(*x / 2f64.sqrt())) / 2.0);
        add(&mut x, &linear(tensors, &name("output.dense"), &inner));
        norm(tensors, &name("output"), &mut x);
    }
    let mean: Vec<f64> =
        (0..WIDTH).map(|c| x.iter().map(|row| row[c]).sum::<f64>() / x.len() as f64).collect();
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.into_iter().map(|x| x / length).collect()
}

#[test]
fn vectors_are_those_of_the_formulas() {
    let texts = [
        "",
        "red cups of tea",
        "Green cup: query.",
        "a cup of red tea . of green tea . of red tea of tea cup",
    ];
    let tensors = tiny::tensors(1);
    for prefix in ["", "bert."] {
        let folder = tempfile::tempdir().expect("a folder");
        tiny::write(folder.path(), &tensors, prefix);
        let encoder = Encoder::open(folder.path(), options()).expect("an encoder");
        let vectors = encoder.passages(&texts).expect("vectors");
        for (text, vector) in texts.iter().zip(vectors.chunks_exact(WIDTH)) {
            let tokens = encoder.tokens(text).expect("tokens");
            assert_eq!((tokens[0], tokens[tokens.len() - 1]), (2, 3));
            for (x, expected) in vector.iter().zip(reference(&tensors, &tokens)) {
                assert!((f64::from(*x) - expected).abs() < 2e-6, "{text}: {x} {expected}");
            }
            assert_eq!(encoder.passages(&[text]).expect("a vector"), vector, "alone as together");
        }
    }
}

#[test]
fn long_texts_are_cut_and_prefixes_are_put_before() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), &tiny::tensors(2), "");
    let prefixes = EncoderOptions {
        max_tokens: 8,
        query_prefix: "query: ".to_owned(),
        passage_prefix: "passage: ".to_owned(),
    };
    let encoder = Encoder::open(folder.path(), prefixes).expect("an encoder");
    assert_eq!(encoder.tokens(&"tea ".repeat(20)).expect("tokens"), [2, 8, 8, 8, 8, 8, 8, 3]);
    let plain = Encoder::open(folder.path(), options()).expect("an encoder");
    let vector = |text: &str| plain.queries(&[text]).expect("a vector");
    assert_eq!(encoder.queries(&["red tea"]).expect("a vector"), vector("query: red tea"));
    assert_eq!(encoder.passages(&["red tea"]).expect("a vector"), vector("passage: red tea"));
}

#[test]
fn folders_that_are_no_encoder_are_refused() {
    let refused = |change: &dyn Fn(&std::path::Path), says: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        tiny::write(folder.path(), &tiny::tensors(3), "");
        change(folder.path());
        let error = Encoder::open(folder.path(), options()).map(|_| ()).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    };
    let edit = |from: &'static str, to: &'static str| {
        move |folder: &std::path::Path| {
            let path = folder.join("config.json");
            let text = std::fs::read_to_string(&path).expect("text").replace(from, to);
            std::fs::write(path, text).expect("a file");
        }
    };
    refused(&edit("\"bert\"", "\"roberta\""), "model_type");
    refused(&edit("\"gelu\"", "\"relu\""), "hidden_act");
    refused(&edit("\"hidden_size\":12", "\"hidden_size\":15"), "shape");
    refused(&edit("\"hidden_size\":12", "\"hidden_size\":13"), "num_attention_heads");
    refused(&edit("\"max_position_embeddings\":24", "\"max_position_embeddings\":20"), "24 tokens");
    refused(
        &|folder| std::fs::remove_file(folder.join("model.safetensors")).expect("removed"),
        "safetensors",
    );
    refused(&|folder| std::fs::write(folder.join("tokenizer.json"), "{}").expect("a file"), "tokenizer");
    refused(
        &|folder| {
            std::fs::create_dir(folder.join("1_Pooling")).expect("a folder");
            std::fs::write(folder.join("1_Pooling/config.json"), "{\"pooling_mode_cls_token\":true}")
                .expect("a file");
        },
        "pooling_mode_mean_tokens",
    );
}

#[test]
fn passages_are_found_by_their_vectors() {
    let folder = tempfile::tempdir().expect("a folder");
    tiny::write(folder.path(), &tiny::tensors(4), "");
    let encoder = || Encoder::open(folder.path(), options()).expect("an encoder");
    let texts = ["red tea", "green tea", "cup of tea", "green cups", "red . red ."];
    let path = folder.path().join("corpus.jsonl");
    let lines: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| serde_json::json!({ "id": i.to_string(), "contents": text }).to_string())
        .collect();
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let corpus = || Corpus::open(&path).expect("a corpus");
    for storage in [Storage::F32, Storage::F16] {
        let file = folder.path().join("vectors.index");
        let mut done = 0;
        build_index(&corpus(), &encoder(), &file, storage, |count| done = count).expect("an index");
        assert_eq!(done, texts.len());
        let index = FlatIndex::open(&file).expect("an index");
        let dense = Dense::new(encoder(), index, corpus()).expect("a retriever");
        let queries: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        for (query, found) in queries.iter().zip(dense.retrieve(&queries, 2)) {
            let found = found.expect("passages");
            assert_eq!(found.len(), 2);
            assert_eq!(&*found[0].contents, query);
            assert!((found[0].score - 1.0).abs() < 1e-3 && found[1].score <= found[0].score);
        }
    }
    let few = FlatIndex::new(&[0.0; WIDTH], WIDTH, Metric::InnerProduct, Storage::F32);
    let error = Dense::new(encoder(), few, corpus()).map(|_| ()).expect_err("too few").to_string();
    assert!(error.contains("1 vectors") && error.contains("5 passages"), "{error}");
    let narrow = FlatIndex::new(&[0.0; 25], 5, Metric::InnerProduct, Storage::F32);
    assert!(Dense::new(encoder(), narrow, corpus()).is_err());
    // A line that is none is an error of the queries that find it.
    std::fs::write(&path, format!("{}\n{{}}", lines[0])).expect("a file");
    let both = FlatIndex::new(&[0.0; 2 * WIDTH], WIDTH, Metric::InnerProduct, Storage::F32);
    let dense = Dense::new(encoder(), both, corpus()).expect("a retriever");
    let error = dense.retrieve(&["tea".to_owned()], 2)[0].clone().expect_err("no passage").to_string();
    assert!(error.contains("line 2"), "{error}");
}
