//! Corpora and indices.

use std::cmp::Ordering;

use opid_env::retrieval::{Index, IndexBuilder, Passages, Retriever};
use opid_retrieval::corpus::Corpus;
use opid_retrieval::flat::{FlatIndex, FlatWriter, Metric, Storage};

use crate::{Row, in_folder};

pub const TARGETS: &[Row] = &[
    ("corpus", 20, corpus, corpora),
    ("faiss", 40, faiss, faiss_files),
    ("search_index", 20, index, indices),
];

fn corpus(bytes: &[u8]) {
    in_folder("corpus.jsonl", bytes, |folder| {
        let path = folder.join("corpus.jsonl");
        if let Ok(corpus) = Corpus::open(&path) {
            (0..corpus.len().min(4)).for_each(|number| drop(corpus.passage(number, 0.0)));
        }
        if let Ok(passages) = Passages::open(&path) {
            passages.retrieve(&["capital of x".to_owned()], 3);
        }
    });
}

fn corpora() -> Vec<Vec<u8>> {
    let lines = "{\"id\":\"1\",\"contents\":\"\\\"Title\\\"\\nThe capital of X is Y.\"}\n\n\
                 {\"id\":\"2\",\"contents\":\"\\\"A\\\"\\nB \u{e9}\u{130}\"}\r\n{\"id\":3,\"contents\":\"x\"}";
    vec![lines.as_bytes().to_vec()]
}

fn faiss(bytes: &[u8]) {
    in_folder("vectors.index", bytes, |folder| {
        if let Ok(index) = FlatIndex::open(&folder.join("vectors.index"))
            && index.dimension() <= 1024
        {
            index.search(&vec![0.5; index.dimension()], 3);
        }
    });
}

fn faiss_files() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let vectors: Vec<f32> = (0..24).map(|i| i as f32 / 10.0).collect();
    let kinds =
        [(Metric::InnerProduct, Storage::F32), (Metric::L2, Storage::F32), (Metric::L2, Storage::F16)];
    let file = |(metric, storage)| {
        let path = folder.path().join("vectors.index");
        let mut writer = FlatWriter::create(&path, 4, metric, storage).expect("an index");
        writer.add(&vectors).and_then(|()| writer.finish()).expect("an index");
        std::fs::read(path).expect("a file")
    };
    kinds.map(file).into()
}

fn index(bytes: &[u8]) {
    in_folder("words.bm25", bytes, |folder| {
        if let Ok(index) = Index::open(&folder.join("words.bm25"), 7) {
            index.search("red cotton shirts x", 3, |a: u32, b: u32| -> Ordering { a.cmp(&b) });
        }
    });
}

fn indices() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut builder = IndexBuilder::default();
    for text in ["a red cotton shirt", "blue shirts of cotton", "", "x y z red red red"] {
        builder.add(text);
    }
    let path = folder.path().join("words.bm25");
    builder.finish(7).save(&path).expect("an index");
    // The second is damaged: it counts no words in its documents, whose scores then are no numbers.
    vec![std::fs::read(path).expect("a file"), include_bytes!("../seeds/counts.bm25").to_vec()]
}
