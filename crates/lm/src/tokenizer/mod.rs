//! Text to token ids and back, and training of small byte-level vocabularies.

use std::collections::{BTreeSet, HashSet};
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
use memory::Memory;

mod memory;
mod pattern;

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
    /// To the word before them, unless a phrase begins with them. What stands between marks, as a value does in
    /// `size: x large, and` or `click[x large]`, has the same tokens wherever it stands, half as many as with spaces
    /// apart, and each but the last tells the next: it can be copied token by token. Capital letters as in `Apart`.
    Trailing,
}

/// A vocabulary that is to be trained.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vocabulary<'a> {
    /// Its tokens, all counted: the 256 bytes, the merges, the names and the special tokens. A small corpus may give
    /// fewer.
    pub size: usize,
    /// Each is one word for the merges and so can become a single token; longer phrases win.
    pub phrases: &'a [String],
    /// Each is a single token, however rare it is, wherever it stands by itself.
    pub names: &'a [String],
    /// They get the last ids, in this order: those written `<|name|>` are special (left out of decoded text on request),
    /// others, such as `<action>`, are single tokens that decoding always keeps.
    pub special: &'a [&'a str],
    /// Where spaces go.
    pub spaces: Spaces,
}

/// A Hugging Face tokenizer (`tokenizer.json`).
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    memory: Memory,
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
        Ok(Tokenizer { inner, memory: Memory::default() })
    }

    /// Trains a byte-level BPE vocabulary; the same texts give a byte-identical tokenizer.
    pub fn train(
        texts: impl Iterator<Item = String> + Send,
        vocabulary: &Vocabulary<'_>,
    ) -> Result<Tokenizer, TokenizerError> {
        let fail = |reason: String| TokenizerError::Train { reason };
        let wrap = |error: tokenizers::Error| TokenizerError::Train { reason: error.to_string() };
        let Vocabulary { size, phrases, special, spaces, .. } = *vocabulary;
        let distinct: HashSet<&str> = special.iter().copied().collect();
        if distinct.len() != special.len() || distinct.contains("") {
            return Err(fail("special tokens must be distinct and not empty".to_owned()));
        }
        let names = vocabulary.names.iter().map(String::as_str).filter(|name| !name.is_empty());
        let names: BTreeSet<&str> = names.collect();
        let (whole, least) = (names.len(), 256 + names.len() + special.len());
        if size < least {
            let names = if whole == 0 { String::new() } else { format!(", {whole} names") };
            return Err(fail(format!(
                "vocab_size {size} has no room for 256 bytes{names} and {} special tokens; give at least {least}",
                special.len()
            )));
        }
        let split = |pattern: String, behavior| {
            let split = Split::new(SplitPattern::Regex(pattern), behavior, false).map_err(wrap)?;
            Ok(PreTokenizerWrapper::Split(split))
        };
        let bytes = ByteLevel::new(false, true, false);
        let named = pattern::names(vocabulary.names);
        let words = pattern::words(phrases, spaces);
        let mut steps = vec![split(words.clone(), SplitDelimiterBehavior::Isolated)?, bytes.into()];
        if let Some(named) = &named {
            // Merges are for what is spelt.
            steps.insert(0, split(named.clone(), SplitDelimiterBehavior::Removed)?);
        }
        let mut trained: TokenizerImpl<
            BPE,
            NormalizerWrapper,
            PreTokenizerWrapper,
            ByteLevel,
            DecoderWrapper,
        > = TokenizerImpl::new(BPE::default());
        trained.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(steps))));
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size - special.len() - whole)
            // A pair seen once teaches nothing about other texts.
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        trained.train(&mut trainer, texts).map_err(wrap)?;
        let model = with_names(trained.get_model(), &names, bytes).map_err(wrap)?;
        let words = named.map_or(words.clone(), |named| format!("{named}|{words}"));
        let steps = vec![split(words, SplitDelimiterBehavior::Isolated)?, bytes.into()];
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(model));
        inner
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(steps))))
            .with_decoder(Some(DecoderWrapper::ByteLevel(bytes)));
        for token in special {
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
        Ok(Tokenizer { inner, memory: Memory::default() })
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
        self.memory.recall(text, ids, |ids| self.encode_anew(text, ids))
    }

    fn encode_anew(&self, text: &str, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        let mut words = PreTokenizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            words.normalize(|word| normalizer.normalize(word))?;
        }
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words)?;
        }
        words.tokenize(|word| self.inner.get_model().tokenize(word.get()))?;
        for (_, _, tokens) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
            ids.extend(tokens.iter().flatten().map(|token| token.id));
        }
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

/// A model with a further token for each name, which no merge leads to: it is taken where it is a whole word.
fn with_names(model: &BPE, names: &BTreeSet<&str>, bytes: ByteLevel) -> tokenizers::Result<BPE> {
    if names.is_empty() {
        return Ok(model.clone());
    }
    let mut json = serde_json::to_value(model)?;
    json["ignore_merges"] = true.into();
    let mut next = model.get_vocab_size();
    for name in names {
        let mut word = PreTokenizedString::from(*name);
        bytes.pre_tokenize(&mut word)?;
        let parts = word.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        let spelt: String = parts.into_iter().map(|(part, ..)| part).collect();
        if json["vocab"].get(&spelt).is_none() {
            json["vocab"][spelt] = next.into();
            next += 1;
        }
    }
    // Not from the value: the library wants borrowed text.
    Ok(serde_json::from_str(&json.to_string())?)
}
