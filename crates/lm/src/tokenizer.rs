//! Text to token ids and back, and training of small byte-level vocabularies.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, Model, ModelWrapper, Normalizer, NormalizerWrapper, OffsetReferential,
    OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior, TokenizerImpl,
};

use crate::caught;

/// A tokenizer that cannot be read, trained or applied.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` cannot be read or is malformed.
    #[error("cannot read the tokenizer {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `tokenizer.json` cannot be written.
    #[error("cannot write the tokenizer {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The vocabulary asked for cannot be trained.
    #[error("cannot train a tokenizer: {reason}")]
    Train {
        /// What is wrong.
        reason: String,
    },
    /// A text cannot be encoded, or ids cannot be decoded.
    #[error("cannot apply the tokenizer: {reason}")]
    Apply {
        /// What the tokenizer said.
        reason: String,
    },
}

/// A part of a text to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether added tokens written in it (such as `<|im_end|>`) become their ids.
    pub control: bool,
}

/// Where the spaces between words go in a vocabulary that is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spaces {
    /// To the word behind them. A word with the number after it (`drawer 3`) is one word, because the names of an
    /// environment with few of them are copied as a whole: short texts.
    #[default]
    Joined,
    /// Nowhere: a word has the same tokens wherever it stands, after a space, a tag or a bracket, so that words can be
    /// copied which were never seen before. A capital letter begins a word (`LowArrow` is two). For environments whose names have no end.
    Apart,
}

/// A Hugging Face tokenizer (`tokenizer.json`).
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a checkpoint folder.
    ///
    /// Truncation and padding that the file may ask for are switched off: a trainer must see
    /// exactly the tokens of the text.
    pub fn from_folder(folder: &Path) -> Result<Tokenizer, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let fail = |reason: String| TokenizerError::Read { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        Tokenizer::from_json(&bytes).map_err(|error| fail(error.to_string()))
    }

    /// Reads the content of a `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
        // Of what is no JSON at all, this says where.
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes);
        json.map_err(|error| TokenizerError::Apply { reason: error.to_string() })?;
        let inner = guarded(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            inner.with_padding(None);
            inner.with_truncation(None)?;
            Ok(inner)
        })?;
        Ok(Tokenizer { inner })
    }

    /// Trains a byte-level BPE vocabulary; the same texts give a byte-identical tokenizer.
    ///
    /// `vocab_size` counts everything: the 256 bytes, the merges and `special_tokens`; a small
    /// corpus may give fewer. Each of `phrases` is one word for the merges and so can become a
    /// single token; longer phrases win. `special_tokens` get the last ids, in the given order:
    /// those written `<|name|>` are special (left out of decoded text on request), others, such as
    /// `<action>`, are single tokens that decoding always keeps.
    pub fn train(
        texts: impl Iterator<Item = String> + Send,
        vocab_size: usize,
        phrases: &[String],
        special_tokens: &[&str],
        spaces: Spaces,
    ) -> Result<Tokenizer, TokenizerError> {
        let fail = |reason: String| TokenizerError::Train { reason };
        let wrap = |error: tokenizers::Error| TokenizerError::Train { reason: error.to_string() };
        let distinct: HashSet<&str> = special_tokens.iter().copied().collect();
        if distinct.len() != special_tokens.len() || distinct.contains("") {
            return Err(fail("special tokens must be distinct and not empty".to_owned()));
        }
        let smallest = 256 + special_tokens.len();
        if vocab_size < smallest {
            return Err(fail(format!(
                "vocab_size {vocab_size} has no room for 256 bytes and {} special tokens; give at least {smallest}",
                special_tokens.len()
            )));
        }
        let words = SplitPattern::Regex(word_pattern(phrases, spaces));
        let split = Split::new(words, SplitDelimiterBehavior::Isolated, false).map_err(wrap)?;
        let bytes = ByteLevel::new(false, true, false);
        let mut trained: TokenizerImpl<
            BPE,
            NormalizerWrapper,
            PreTokenizerWrapper,
            ByteLevel,
            DecoderWrapper,
        > = TokenizerImpl::new(BPE::default());
        trained
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
                PreTokenizerWrapper::Split(split),
                PreTokenizerWrapper::ByteLevel(bytes),
            ]))))
            .with_decoder(Some(DecoderWrapper::ByteLevel(bytes)));
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(vocab_size - special_tokens.len())
            // A pair seen once teaches nothing about other texts.
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        trained.train(&mut trainer, texts).map_err(wrap)?;
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(trained.get_model().clone()));
        inner
            .with_pre_tokenizer(trained.get_pre_tokenizer().cloned())
            .with_decoder(trained.get_decoder().cloned());
        for token in special_tokens {
            if inner.token_to_id(token).is_some() {
                return Err(fail(format!(
                    "the special token {token:?} is also an ordinary word of the texts"
                )));
            }
            if token.starts_with("<|") && token.ends_with("|>") {
                inner.add_special_tokens(&[AddedToken::from(*token, true)]);
            } else {
                inner.add_tokens(&[AddedToken::from(*token, false).normalized(false)]);
            }
        }
        Ok(Tokenizer { inner })
    }

    /// The content of `tokenizer.json`.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(true).map_err(|error| TokenizerError::Apply { reason: error.to_string() })
    }

    /// Writes `tokenizer.json` into a folder that exists.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let path = folder.join("tokenizer.json");
        let text = self.to_json()?;
        std::fs::write(&path, text).map_err(|error| TokenizerError::Write { path, reason: error.to_string() })
    }

    /// The token ids of a text. Added tokens written in the text become their ids; none are inserted.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| Ok(self.inner.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// The token ids of the text that the stretches make up together. Added tokens become their ids where
    /// they stand whole within neighbouring stretches with `control`; elsewhere, for example in text from
    /// outside, they are text like any other. Without any such, the ids are those of
    /// [`encode`](Self::encode).
    pub fn encode_stretches(&self, stretches: &[Stretch<'_>]) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| self.encode_parts(stretches))
    }

    fn encode_parts(&self, stretches: &[Stretch<'_>]) -> tokenizers::Result<Vec<u32>> {
        let (vocabulary, normalizer) = (self.inner.get_added_vocabulary(), self.inner.get_normalizer());
        let mut ids = Vec::new();
        // Text between added tokens; words may reach over the ends of stretches.
        let mut plain = String::new();
        for run in stretches.chunk_by(|a, b| a.control == b.control) {
            let text: String = run.iter().map(|s| s.text).collect();
            if !run[0].control {
                plain.push_str(&text);
                continue;
            }
            let split = vocabulary.extract_and_normalize(normalizer, &text);
            for (_, (start, end), tokens) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                match tokens {
                    None => plain.push_str(&text[start..end]),
                    Some(tokens) => {
                        self.encode_plain(&plain, &mut ids)?;
                        plain.clear();
                        ids.extend(tokens.iter().map(|token| token.id));
                    }
                }
            }
        }
        self.encode_plain(&plain, &mut ids)?;
        Ok(ids)
    }

    /// Appends the ids of a text in which no added token counts.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut words = PreTokenizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            words.normalize(|word| normalizer.normalize(word))?;
        }
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words)?;
        }
        words.tokenize(|word| self.inner.get_model().tokenize(word.get()))?;
        ids.extend(words.into_encoding(None, 0, OffsetType::None)?.get_ids());
        Ok(())
    }

    /// The text of token ids. Incomplete UTF-8 becomes U+FFFD; unknown ids are left out.
    ///
    /// With `skip_special` the special tokens are left out; other added tokens stay.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        guarded(|| self.inner.decode(ids, skip_special))
    }

    /// The id of a token, added tokens included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The number of tokens, added tokens included. A model's embedding table may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// Calls the library, which panics over some files that are well-formed and make no sense.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    let reason = match caught(call) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("the tokenizers library gave up on this tokenizer.json: {panic}"),
    };
    Err(TokenizerError::Apply { reason })
}

/// The regular expression whose matches are the words within which BPE merges.
///
/// A fixed phrase comes first (the longest that fits), then a run of letters, a number, one other
/// character; then white space.
fn word_pattern(phrases: &[String], spaces: Spaces) -> String {
    let mut sorted: Vec<&str> =
        phrases.iter().map(String::as_str).filter(|phrase| !phrase.is_empty()).collect();
    sorted.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    sorted.dedup();
    let mut pattern = String::new();
    if !sorted.is_empty() {
        let alternatives: Vec<String> = sorted.into_iter().map(phrase_pattern).collect();
        let before = if spaces == Spaces::Joined { " ?" } else { "" };
        pattern.push_str(&format!("{before}(?:{})|", alternatives.join("|")));
    }
    pattern.push_str(match spaces {
        Spaces::Joined => r" ?[A-Za-z]+ [0-9]+| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s+(?!\S)|\s+",
        Spaces::Apart => r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\sA-Za-z0-9]|\s+",
    });
    pattern
}

/// A phrase as a regular expression that does not end inside a longer word or number.
fn phrase_pattern(phrase: &str) -> String {
    let mut pattern = String::new();
    for character in phrase.chars() {
        // Not `<` and `>`: escaped, they mean the edges of a word.
        if r"\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    match phrase.chars().last() {
        Some(last) if last.is_ascii_alphabetic() => pattern.push_str("(?![A-Za-z])"),
        Some(last) if last.is_ascii_digit() => pattern.push_str("(?![0-9])"),
        _ => {}
    }
    pattern
}
