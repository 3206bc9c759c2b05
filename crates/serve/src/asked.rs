//! What a request asks for, of either kind of completion.

use opid_lm::chat::{ChatOptions, Message};
use opid_lm::sampling::Sampling;
use serde_json::{Map, Value};

use crate::conversation::Served;
use crate::engine::Ask;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// The two kinds of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the assistant says next.
    Chat,
    /// What follows a text.
    Text,
}

/// Tokens of a plain completion that does not say how many, as with OpenAI.
const TEXT_TOKENS: usize = 16;
/// Most choices, prompts, and stop strings of a request, and most alternatives to a token.
const CHOICES: usize = 128;
const PROMPTS: usize = 128;
const STOPS: usize = 16;
const ALTERNATIVES: usize = 20;

/// A request as it was meant.
#[derive(Debug)]
pub struct Asked {
    /// Every choice of every prompt, in order.
    pub asks: Vec<Ask>,
    /// Tokens of all prompts, each counted once.
    pub prompt_tokens: usize,
    /// Strings before which a completion ends.
    pub stops: Vec<String>,
    /// Whether the reply is sent as it comes.
    pub stream: bool,
    /// Whether a streamed reply ends with what was used.
    pub usage: bool,
}

impl Asked {
    /// Reads a request; `seed` is for one that gives none.
    ///
    /// # Errors
    /// Something in it is wrong, or not served.
    pub fn parse(kind: Kind, body: &[u8], served: &Served, seed: u64) -> Result<Asked, ApiError> {
        let mut fields = Fields::parse(body)?;
        match fields.take("model") {
            None => return Err(ApiError::invalid(Some("model"), "the request names no model")),
            Some(Value::String(name)) if name == served.name => {}
            Some(other) => {
                let message = format!("there is no model {other}; this server has {:?}", served.name);
                let error = ApiError::of(404, "model_not_found", message);
                return Err(ApiError { parameter: Some("model".to_owned()), ..error });
            }
        }
        let prompts = match kind {
            Kind::Chat => vec![conversation(&mut fields, served)?],
            Kind::Text => prompts(&mut fields, served)?,
        };
        let sampling = Sampling {
            temperature: fields.number("temperature", 1.0, (0.0, 2.0))? as f32,
            top_p: fields.number("top_p", 1.0, (f64::from(f32::MIN_POSITIVE), 1.0))? as f32,
            top_k: fields.count("top_k", 0, usize::MAX)?.unwrap_or(0),
        };
        let seed = match fields.take("seed") {
            None => seed,
            Some(value) => value
                .as_i64()
                .map(i64::cast_unsigned)
                .or(value.as_u64())
                .ok_or_else(|| wrong("seed", &value, "a whole number"))?,
        };
        let alternatives = match kind {
            Kind::Chat => {
                let wanted = fields.flag("logprobs")?;
                let most = fields.count("top_logprobs", 0, ALTERNATIVES)?;
                if most.is_some() && !wanted {
                    return Err(ApiError::invalid(
                        Some("top_logprobs"),
                        "top_logprobs needs logprobs = true",
                    ));
                }
                wanted.then_some(most.unwrap_or(0))
            }
            Kind::Text => fields.count("logprobs", 0, ALTERNATIVES)?,
        };
        let choices = fields.count("n", 1, CHOICES)?.unwrap_or(1);
        let stops = stops(fields.take("stop"))?;
        let limit = fields.count("max_tokens", 1, usize::MAX)?;
        let limit = fields.count("max_completion_tokens", 1, usize::MAX)?.or(limit);
        let stream = fields.flag("stream")?;
        let usage = usage(fields.take("stream_options"), stream)?;
        fields.finish()?;

        let mut asks = Vec::new();
        for prompt in &prompts {
            let max_tokens = room(prompt.len(), limit, kind, served)?;
            let ask = Ask { prompt: prompt.clone(), sampling, max_tokens, seed, alternatives };
            asks.extend(std::iter::repeat_n(ask, choices));
        }
        let prompt_tokens = prompts.iter().map(Vec::len).sum();
        Ok(Asked { asks, prompt_tokens, stops, stream, usage })
    }
}

/// Most tokens of a completion after a prompt.
fn room(prompt: usize, limit: Option<usize>, kind: Kind, served: &Served) -> Result<usize, ApiError> {
    let room = served.context.saturating_sub(prompt);
    let wanted = limit.unwrap_or(if kind == Kind::Chat { room.max(1) } else { TEXT_TOKENS });
    if wanted > room {
        let message = format!(
            "the model has room for {} tokens; the prompt has {prompt} and the completion may have {wanted}: shorten \
             the prompt or lower max_tokens",
            served.context
        );
        return Err(ApiError { code: Some("context_length_exceeded"), ..ApiError::invalid(None, message) });
    }
    Ok(wanted)
}

fn stops(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    const WANTED: &str = "a string or a list of up to 16 strings, none of them empty";
    let Some(value) = value else { return Ok(Vec::new()) };
    let texts = match &value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let fits = |texts: &Vec<String>| texts.len() <= STOPS && texts.iter().all(|text| !text.is_empty());
    texts.filter(fits).ok_or_else(|| wrong("stop", &value, WANTED))
}

/// Whether usage is wanted at the end of a stream.
fn usage(options: Option<Value>, stream: bool) -> Result<bool, ApiError> {
    let Some(options) = options else { return Ok(false) };
    let known = |fields: &Map<String, Value>| {
        let usage = fields.get("include_usage").map_or(Some(false), Value::as_bool)?;
        let all = fields.iter().all(|(name, _)| name == "include_usage" || name == "include_obfuscation");
        all.then_some(usage)
    };
    match options.as_object().and_then(known) {
        Some(usage) if stream => Ok(usage),
        Some(_) => Err(ApiError::invalid(Some("stream_options"), "stream_options needs stream = true")),
        None => Err(wrong("stream_options", &options, "{\"include_usage\": true}")),
    }
}

/// The tokens of a conversation.
fn conversation(fields: &mut Fields, served: &Served) -> Result<Vec<u32>, ApiError> {
    let messages = fields.take("messages").unwrap_or(Value::Null);
    let Some(list) = messages.as_array().filter(|list| !list.is_empty()) else {
        return Err(ApiError::invalid(Some("messages"), "messages is no list with at least one message"));
    };
    let messages =
        list.iter().enumerate().map(|(number, m)| message(number, m)).collect::<Result<Vec<_>, _>>()?;
    let mut options = ChatOptions::default();
    if let Some(variables) = fields.take("chat_template_kwargs") {
        match variables {
            Value::Object(variables) => options.variables = variables,
            other => return Err(wrong("chat_template_kwargs", &other, "an object")),
        }
    }
    served.conversation(&messages, &options)
}

/// A message: a role, and a text or a list of texts.
fn message(number: usize, value: &Value) -> Result<Message, ApiError> {
    let wrong = |what: &str| ApiError::invalid(Some("messages"), format!("message {number} {what}"));
    let fields = value.as_object().ok_or_else(|| wrong("is no object"))?;
    let role = fields.get("role").and_then(Value::as_str).ok_or_else(|| wrong("has no role"))?;
    let role = if role == "developer" { "system" } else { role };
    if !["system", "user", "assistant"].contains(&role) {
        return Err(wrong(&format!("has the role {role:?}; system, user and assistant are served")));
    }
    let text =
        |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(str::to_owned)).flatten();
    let content = match fields.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => parts.iter().map(text).collect::<Option<String>>(),
        _ => None,
    };
    let content =
        content.ok_or_else(|| wrong("has no text: content is a string, or a list of parts of type text"))?;
    let other = fields.iter().find(|(name, value)| {
        !["role", "content", "name", "refusal"].contains(&name.as_str())
            && !value.is_null()
            && **value != Value::Array(Vec::new())
    });
    match other {
        Some((name, _)) => Err(wrong(&format!("has {name}, which is not served"))),
        None => Ok(Message::new(role, content)),
    }
}

/// The prompts of a plain completion: a text, tokens, or a list of either.
fn prompts(fields: &mut Fields, served: &Served) -> Result<Vec<Vec<u32>>, ApiError> {
    const WANTED: &str = "a text, a list of tokens of the model, or a list of up to 128 of either";
    let value = fields.take("prompt").unwrap_or(Value::Null);
    let tokens = |list: &[Value]| {
        let known = |id: &Value| id.as_u64().filter(|&id| id < served.vocabulary as u64).map(|id| id as u32);
        list.iter().map(known).collect::<Option<Vec<u32>>>()
    };
    let one = |value: &Value| match value {
        Value::String(text) => served.tokenizer.encode(text).ok(),
        Value::Array(list) => tokens(list),
        _ => None,
    };
    let found = match &value {
        Value::Array(list) if list.first().is_some_and(|first| !first.is_number()) => {
            list.iter().map(one).collect::<Option<Vec<_>>>()
        }
        value => one(value).map(|prompt| vec![prompt]),
    };
    let fits = |prompts: &Vec<Vec<u32>>| prompts.len() <= PROMPTS;
    let found = found
        .filter(fits)
        .ok_or_else(|| ApiError::invalid(Some("prompt"), format!("prompt is not {WANTED}")))?;
    if found.iter().any(Vec::is_empty) {
        return Err(ApiError::invalid(Some("prompt"), "a prompt is empty; give at least one token"));
    }
    Ok(found)
}
