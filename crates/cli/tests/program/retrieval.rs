//! `index` and `serve-retriever`: a corpus is encoded, and served by its words and by its vectors.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use opid_env::retrieval::Retriever;
use opid_retrieval::http::{Form, HttpOptions, HttpRetriever};

use crate::{opid, tiny};

/// A server that ends with the test.
pub struct Serving {
    child: Child,
    pub url: String,
}

impl Serving {
    /// Serves the passages of a corpus in a folder.
    pub fn start(folder: &Path, corpus: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_opid"))
            .current_dir(folder)
            .args(["serve-retriever", "--port", "0", "--corpus", corpus])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("standard error")).read_line(&mut line).expect("a line");
        let url = line.split_whitespace().last().expect("an address").to_owned();
        assert!(line.contains(" passages by "), "{line}");
        Serving { child, url }
    }

    /// The names of the best passages for each query.
    fn best(&self, queries: &[&str], form: Form) -> Vec<String> {
        let options = HttpOptions { urls: vec![self.url.clone()], form, ..HttpOptions::default() };
        let queries: Vec<String> = queries.iter().map(|query| (*query).to_owned()).collect();
        let found = HttpRetriever::new(options).expect("a client").retrieve(&queries, 1);
        found.iter().map(|found| found.as_ref().expect("a passage")[0].id.to_string()).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
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

    let words = Serving::start(path, "corpus.jsonl", &[]);
    assert_eq!(words.best(&["red", "cup"], Form::Batch), ["p0", "p2"]);
    drop(words);

    for half in [&["--f16"][..], &[]] {
        let index =
            ["index", "--corpus", "corpus.jsonl", "--encoder", ".", "--out", "v", "--max-tokens", "24"];
        opid(path, &[&index, half].concat()).ok();
        let vectors =
            Serving::start(path, "corpus.jsonl", &["--index", "v", "--encoder", ".", "--max-tokens", "24"]);
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
