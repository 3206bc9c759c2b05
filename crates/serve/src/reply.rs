//! Replies in OpenAI's form, whole and in parts.

use opid_lm::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::asked::Kind;
use crate::engine::Sampled;

/// What all parts of a reply have in common.
#[derive(Clone)]
pub struct Envelope {
    /// Chat or plain.
    pub kind: Kind,
    /// Name of the reply.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

impl Finish {
    fn word(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// A token with its log-probability, the most likely ones with theirs, and where its text begins in the completion.
#[derive(Clone, Debug)]
pub struct Weighed {
    token: String,
    bytes: Option<Vec<u8>>,
    logprob: f32,
    top: Vec<(String, f32)>,
    /// Characters of the completion's text before it.
    pub offset: usize,
}

impl Weighed {
    /// The log-probabilities of a token, if they are wanted.
    pub fn of(sampled: &Sampled, tokenizer: &Tokenizer, offset: usize) -> Option<Weighed> {
        let text = |token: u32| tokenizer.decode(&[token], false).unwrap_or_default();
        let (logprob, top) = sampled.logprobs.as_ref()?;
        let token = text(sampled.token);
        // The bytes of an unfinished character are not known.
        let bytes = (!token.contains('\u{fffd}')).then(|| token.as_bytes().to_vec());
        let top = top.iter().map(|&(token, logprob)| (text(token), logprob)).collect();
        Some(Weighed { token, bytes, logprob: *logprob, top, offset })
    }
}

/// What a choice, or a part of one, says.
#[derive(Default)]
pub struct Said<'a> {
    /// Number of the choice.
    pub index: usize,
    /// Its text, or what is new of it.
    pub text: &'a str,
    /// Log-probabilities of its tokens; empty if they are not wanted.
    pub tokens: &'a [Weighed],
    /// Why it ended, if it did.
    pub finish: Option<Finish>,
    /// Whether it is the first part of a streamed choice.
    pub first: bool,
}

impl Envelope {
    /// The whole reply.
    pub fn whole(&self, choices: &[Said<'_>], usage: &Value) -> Value {
        let choices: Vec<Value> = choices.iter().map(|said| self.choice(said, false)).collect();
        let object = if self.kind == Kind::Chat { "chat.completion" } else { "text_completion" };
        let mut reply = self.reply(object, choices);
        reply["usage"] = usage.clone();
        reply
    }

    /// A part of a streamed reply; the one with what was used says nothing else.
    pub fn part(&self, said: Option<&Said<'_>>, usage: Option<&Value>) -> Value {
        let object = if self.kind == Kind::Chat { "chat.completion.chunk" } else { "text_completion" };
        let mut reply = self.reply(object, said.into_iter().map(|said| self.choice(said, true)).collect());
        if let Some(usage) = usage {
            reply["usage"] = usage.clone();
        }
        reply
    }

    fn reply(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    fn choice(&self, said: &Said<'_>, part: bool) -> Value {
        let finish = said.finish.map(Finish::word);
        let mut choice =
            json!({ "index": said.index, "finish_reason": finish, "logprobs": self.logprobs(said.tokens) });
        match (self.kind, part) {
            (Kind::Text, _) => choice["text"] = json!(said.text),
            (Kind::Chat, false) => {
                choice["message"] = json!({ "role": "assistant", "content": said.text, "refusal": null });
            }
            (Kind::Chat, true) => {
                let mut delta = json!({});
                if said.first {
                    delta["role"] = json!("assistant");
                }
                if said.first || !said.text.is_empty() {
                    delta["content"] = json!(said.text);
                }
                choice["delta"] = delta;
            }
        }
        choice
    }

    fn logprobs(&self, tokens: &[Weighed]) -> Value {
        if tokens.is_empty() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let alternative = |(token, logprob): &(String, f32)| json!({ "token": token, "logprob": logprob, "bytes": token.as_bytes() });
                let content = tokens.iter().map(|t| {
                    let top: Vec<Value> = t.top.iter().map(alternative).collect();
                    json!({ "token": t.token, "logprob": t.logprob, "bytes": t.bytes, "top_logprobs": top })
                });
                json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Text => {
                let top = |t: &Weighed| -> Value {
                    t.top
                        .iter()
                        .map(|(token, logprob)| (token.clone(), json!(logprob)))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                };
                json!({
                    "tokens": tokens.iter().map(|t| &t.token).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|t| t.logprob).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
                    "text_offset": tokens.iter().map(|t| t.offset).collect::<Vec<_>>(),
                })
            }
        }
    }
}
