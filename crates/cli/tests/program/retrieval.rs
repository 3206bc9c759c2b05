//! `index` and `serve-retriever`: a corpus is encoded, and served by its words and by its vectors.

use std::path::Path;

use opid_env::retrieval::Retriever;
use opid_retrieval::http::{Form, HttpOptions, HttpRetriever};

use crate::serving::Serving;
use crate::{opid, tiny};

/// A retrieval server.
struct Passages(Serving);

impl Passages {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let own = ["serve-retriever", "--corpus", "corpus.jsonl"];
        let serving = Serving::start(folder, &[&own[..], args].concat(), &[]);
        assert!(serving.line.starts_with("4 passages by "), "{}", serving.line);
        Passages(serving)
    }

    /// The names of the best passages for each query.
    fn best(&self, queries: &[&str], form: Form) -> Vec<String> {
        let options =
            HttpOptions { urls: vec![format!("{}/retrieve", self.0.url)], form, ..HttpOptions::default() };
        let queries: Vec<String> = queries.iter().map(|query| (*query).to_owned()).collect();
        let found = HttpRetriever::new(options).expect("a client").retrieve(&queries, 1);
        found.iter().map(|found| found.as_ref().expect("a passage")[0].id.to_string()).collect()
    }
}

#[test]
fn a_corpus_is_encoded_and_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    tiny::write(path, &tiny::tensors(4), "");
    let texts = ["red tea", "green tea", "cup of tea", "green cups"];
    let line = |(id, text)| format!("{{\"id\":\"p{id}\",\"contents\":\"{text}\"}}\n");
    let corpus: String = texts.iter().enumerate().map(line).collect();
    std::fs::write(path.join("corpus.jsonl"), corpus).expect("a file");
    let names = ["p0", "p1", "p2", "p3"];

    let words = Passages::start(path, &[]);
    assert_eq!(words.best(&["red", "cup"], Form::Batch), ["p0", "p2"]);
    drop(words);

    for half in [&["--f16"][..], &[]] {
        let index =
            ["index", "--corpus", "corpus.jsonl", "--encoder", ".", "--out", "v", "--max-tokens", "24"];
        opid(path, &[&index, half].concat()).ok();
        let vectors = Passages::start(path, &["--index", "v", "--encoder", ".", "--max-tokens", "24"]);
        for form in [Form::Batch, Form::Single] {
            assert_eq!(vectors.best(&texts, form), names);
        }
    }

    let serve = ["serve-retriever", "--corpus", "corpus.jsonl"];
    let refused = |more: &[&str]| opid(path, &[&serve, more].concat()).refused().to_owned();
    assert!(refused(&["--index", "v"]).contains("--encoder"));
    assert!(refused(&["--index", "v", "--encoder", "."]).contains("256 tokens"));
    let vectors = ["--encoder", ".", "--max-tokens", "24", "--index"];
    assert!(refused(&[&vectors[..], &["corpus.jsonl"]].concat()).contains("IxFI"));
    assert!(opid(path, &["serve-retriever", "--corpus", "none"]).refused().contains("none"));
}
