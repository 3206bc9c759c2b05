//! Texts as vectors: encoders of the BERT family, such as e5-base-v2 and MiniLM, from Hugging Face folders.
//!
//! A text's vector is the mean of the last layer over all of its tokens, scaled to length 1. There is no padding:
//! texts are computed one behind the other, and a vector does not depend on what it is computed with.

mod config;
mod layer;

use std::path::{Path, PathBuf};

use opid_lm::checkpoint::Weights;
use opid_lm::error::LoadError;
use opid_lm::tokenizer::{Tokenizer, TokenizerError};
use rayon::prelude::*;

use config::{BertConfig, check_pooling};
use layer::{Embedding, Layer, Scratch};

/// Tokens that are computed together, at the least: then a product's operands are used often enough.
const TOGETHER: usize = 224;

/// An encoder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The weights.
    #[error(transparent)]
    Weights(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder holds another kind of model.
    #[error("{path}: {reason}; supported are BERT encoders with mean pooling (e5, MiniLM)")]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// A text has a token that the model does not have.
    #[error(
        "the tokenizer gives token {token}, but the model has only {tokens}: they do not belong together"
    )]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the model.
        tokens: usize,
    },
}

/// How texts are prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Longest text in tokens, with the one before and the one behind it; the rest is left out.
    pub max_tokens: usize,
    /// What stands before a query; e5 was trained with `"query: "`.
    pub query_prefix: String,
    /// What stands before a passage; e5 was trained with `"passage: "`.
    pub passage_prefix: String,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        EncoderOptions { max_tokens: 256, query_prefix: String::new(), passage_prefix: String::new() }
    }
}

/// An encoder of texts.
pub struct Encoder {
    tokenizer: Tokenizer,
    /// What stands before every text, and behind it.
    ends: [u32; 2],
    options: EncoderOptions,
    embedding: Embedding,
    layers: Vec<Layer>,
    config: BertConfig,
}

impl Encoder {
    /// Reads a folder with `config.json`, `model.safetensors` (f32, f16 or bf16) and `tokenizer.json`. Truncation and
    /// padding that the tokenizer's file asks for do not count.
    ///
    /// # Errors
    /// A file is missing or malformed, or the model is no BERT encoder with mean pooling.
    pub fn open(folder: &Path, options: EncoderOptions) -> Result<Self, EncoderError> {
        let config = BertConfig::read(folder)?;
        check_pooling(folder)?;
        let file = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::from_folder(folder)?;
        let end = |token: &str| {
            let reason = || format!("it has no token {token}, so it is no tokenizer of BERT");
            tokenizer
                .token_id(token)
                .ok_or_else(|| EncoderError::Unsupported { path: file.clone(), reason: reason() })
        };
        let ends = [end("[CLS]")?, end("[SEP]")?];
        if options.max_tokens < 2 || options.max_tokens > config.max_position_embeddings {
            return Err(EncoderError::Unsupported {
                path: folder.join("config.json"),
                reason: format!(
                    "texts of {} tokens are asked for, but the model has 2 to {}",
                    options.max_tokens, config.max_position_embeddings
                ),
            });
        }
        let weights = Weights::open(folder)?;
        let bare = weights.names().any(|name| name.starts_with("embeddings."));
        let prefix = if bare { "" } else { "bert." };
        let embedding = Embedding::read(&weights, folder, prefix, &config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|number| Layer::read(&weights, folder, prefix, number, &config))
            .collect::<Result<_, _>>()?;
        Ok(Encoder { tokenizer, ends, options, embedding, layers, config })
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.config.hidden_size
    }

    /// The vectors of queries, one behind the other.
    ///
    /// # Errors
    /// The tokenizer fails, or does not belong to the model.
    pub fn queries<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<f32>, EncoderError> {
        self.encode(&self.options.query_prefix, texts)
    }

    /// The vectors of passages, one behind the other.
    ///
    /// # Errors
    /// The tokenizer fails, or does not belong to the model.
    pub fn passages<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<f32>, EncoderError> {
        self.encode(&self.options.passage_prefix, texts)
    }

    fn encode<T: AsRef<str> + Sync>(&self, prefix: &str, texts: &[T]) -> Result<Vec<f32>, EncoderError> {
        let tokens = |text: &T| self.tokens(&format!("{prefix}{}", text.as_ref()));
        let texts: Vec<Vec<u32>> = texts.par_iter().map(tokens).collect::<Result<_, _>>()?;
        let mut vectors = vec![0.0; texts.len() * self.dimension()];
        // Pieces of work with enough tokens each.
        let mut pieces = Vec::new();
        let (mut rest, mut start) = (&mut vectors[..], 0);
        for end in 1..=texts.len() {
            let count: usize = texts[start..end].iter().map(Vec::len).sum();
            if count >= TOGETHER || end == texts.len() {
                let (piece, behind) = rest.split_at_mut((end - start) * self.dimension());
                pieces.push((&texts[start..end], piece));
                (rest, start) = (behind, end);
            }
        }
        pieces.into_par_iter().for_each_init(Scratch::default, |scratch, (texts, vectors)| {
            self.forward(texts, vectors, scratch)
        });
        Ok(vectors)
    }

    /// The tokens of a text as the model is given it.
    ///
    /// # Errors
    /// The tokenizer fails, or gives a token that the model does not have.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        let [first, last] = self.ends;
        let mut tokens = vec![first];
        tokens.extend(self.tokenizer.encode(text)?);
        tokens.truncate(self.options.max_tokens - 1);
        tokens.push(last);
        match tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
            Some(&token) => Err(EncoderError::Token { token, tokens: self.config.vocab_size }),
            None => Ok(tokens),
        }
    }

    /// The vectors of a few texts.
    fn forward(&self, texts: &[Vec<u32>], vectors: &mut [f32], scratch: &mut Scratch) {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        scratch.make_room(lengths.iter().sum(), &self.config);
        let width = self.dimension();
        let mut rows = scratch.states.chunks_exact_mut(width);
        for text in texts {
            for ((position, &token), row) in text.iter().enumerate().zip(&mut rows) {
                self.embedding.write(token as usize, position, row);
            }
        }
        for layer in &self.layers {
            layer.apply(&lengths, scratch);
        }
        let mut rows = scratch.states.chunks_exact(width);
        for (length, vector) in lengths.into_iter().zip(vectors.chunks_exact_mut(width)) {
            for row in rows.by_ref().take(length) {
                vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            // The mean and the sum have the same direction.
            let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if norm > 0.0 {
                vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        }
    }
}
