//! The served model, and conversations as its tokens.

use std::path::Path;

use opid_lm::chat::{ChatError, ChatOptions, ChatTemplate, Message};
use opid_lm::error::LoadError;
use opid_lm::kernels::tile::Precision;
use opid_lm::model::Model;
use opid_lm::tokenizer::{Stretch, Tokenizer, TokenizerError};

use crate::error::ApiError;

/// A model that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServedError {
    /// Its weights or configuration.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Its chat template.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] opid_http::ListenError),
}

/// How the served model is spoken to.
pub struct Served {
    /// Its name for clients.
    pub name: String,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Absent where the model has none: then it takes no conversations.
    template: Option<ChatTemplate>,
    /// Longest prompt and completion in tokens.
    pub context: usize,
    /// Tokens of its vocabulary.
    pub vocabulary: usize,
    /// Tokens that end a completion.
    pub ends: Vec<u32>,
}

impl Served {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// A file is missing or malformed. A missing chat template is none: the model then takes no conversations.
    pub fn open(folder: &Path, name: String, precision: Precision) -> Result<(Served, Model), ServedError> {
        let model = Model::open(folder, precision)?;
        let tokenizer = Tokenizer::from_folder(folder)?;
        let template = match ChatTemplate::from_folder(folder) {
            Err(ChatError::NoTemplate { .. }) => None,
            template => Some(template?),
        };
        let mut ends = model.config.eos_token_ids.clone();
        if let Some(template) = &template {
            ends.extend(tokenizer.token_id(&template.end_of_turn(&ChatOptions::default())?));
        }
        let (context, vocabulary) = (model.config.max_position_embeddings, model.config.vocab_size);
        Ok((Served { name, tokenizer, template, context, vocabulary, ends }, model))
    }

    /// The tokens of a conversation, up to where the model answers.
    ///
    /// Special tokens count in the template's words only. Where the template rewrites what a message says, so that the
    /// two cannot be told apart, a message that holds a special token is refused.
    ///
    /// # Errors
    /// There is no template, or it refuses the conversation.
    pub fn conversation(&self, messages: &[Message], options: &ChatOptions) -> Result<Vec<u32>, ApiError> {
        let wrong = |reason: String| ApiError::invalid(Some("messages"), reason);
        let Some(template) = &self.template else {
            return Err(wrong("the model has no chat template; use /v1/completions".to_owned()));
        };
        let whole = template.opening(messages, options).map_err(|error| wrong(error.to_string()))?;
        let frames = frames(template, messages, options);
        let tokens = match frames.as_ref().and_then(|frames| fill(frames, messages, &whole)) {
            Some(stretches) => {
                let stretches = stretches.iter().map(|(text, control)| Stretch { text, control: *control });
                self.tokenizer.encode_stretches(&stretches.collect::<Vec<_>>())
            }
            None => {
                for (number, message) in messages.iter().enumerate() {
                    let text = |control| {
                        self.tokenizer.encode_stretches(&[Stretch { text: &message.content, control }])
                    };
                    if text(true).ok() != text(false).ok() {
                        return Err(wrong(format!(
                            "message {number} holds a special token of the model, which its chat template does not \
                             keep apart from its own; leave it out"
                        )));
                    }
                }
                self.tokenizer.encode(&whole)
            }
        };
        tokens.map_err(|error| wrong(error.to_string()))
    }
}

/// What stands for the text of a message when the template's words around it are looked for.
fn mark(number: usize) -> String {
    format!("OPID-MESSAGE-{number}-TEXT")
}

/// The template's words before, between and after the messages; nothing where it does not show each of them once, in
/// order.
fn frames(template: &ChatTemplate, messages: &[Message], options: &ChatOptions) -> Option<Vec<String>> {
    let marked: Vec<Message> = messages
        .iter()
        .enumerate()
        .map(|(number, message)| Message { content: mark(number), ..message.clone() })
        .collect();
    let rendered = template.opening(&marked, options).ok()?;
    let mut rest = rendered.as_str();
    let mut frames = Vec::new();
    for number in 0..messages.len() {
        let (before, after) = rest.split_once(&mark(number))?;
        frames.push(before.to_owned());
        rest = after;
    }
    frames.push(rest.to_owned());
    Some(frames)
}

/// Frames and messages in turn, with whether they are the template's, if that is the `whole` conversation: with the
/// messages as they are, or stripped of blanks as many templates do.
fn fill<'a>(frames: &'a [String], messages: &'a [Message], whole: &str) -> Option<Vec<(&'a str, bool)>> {
    let of = |text: fn(&str) -> &str| {
        let texts = messages.iter().map(|message| (text(&message.content), false));
        let mut parts: Vec<(&str, bool)> =
            frames.iter().zip(texts).flat_map(|(frame, text)| [(frame.as_str(), true), text]).collect();
        parts.extend(frames.last().map(|frame| (frame.as_str(), true)));
        parts
    };
    let variants = [of(|text| text), of(str::trim)];
    variants.into_iter().find(|parts| parts.iter().map(|(text, _)| *text).collect::<String>() == whole)
}
