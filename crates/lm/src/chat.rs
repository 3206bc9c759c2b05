//! Conversations as text: chat templates of Hugging Face checkpoints, rendered as transformers does.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{caught, json};

/// The template of our own small policies, also a good start for other tiny models.
pub const COMPACT_TEMPLATE: &str = include_str!("../assets/compact_chat.jinja");

/// A chat template that cannot be read, or a conversation that it cannot render.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A file cannot be read or is malformed.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds no template.
    #[error(
        "{path} has no chat template: neither chat_template.jinja nor a chat_template in tokenizer_config.json"
    )]
    NoTemplate {
        /// The folder.
        path: PathBuf,
    },
    /// The template is not valid Jinja, or uses something that is not supported.
    #[error("the chat template cannot be parsed: {reason}")]
    Syntax {
        /// What is wrong, with the line.
        reason: String,
    },
    /// The template refused the conversation.
    #[error("the chat template cannot render this conversation: {reason}")]
    Render {
        /// What is wrong, with the line.
        reason: String,
    },
    /// The template changes what the assistant said, so later turns cannot be appended to its tokens.
    #[error(
        "the chat template shows the text of an earlier assistant turn {times} times instead of once; \
         use single-turn prompts or another template with this model"
    )]
    Continuation {
        /// How often the text was found.
        times: usize,
    },
    /// The token that ends a turn cannot be told from the template.
    #[error(
        "after an assistant turn the chat template writes {found:?}, which begins with no token that could end \
         the turn; set eos_token in tokenizer_config.json to the token that does"
    )]
    EndOfTurn {
        /// The text after the turn.
        found: String,
    },
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// Whatever else a template may look at, such as `tool_calls`.
    #[serde(flatten)]
    pub extra: Map<String, Json>,
}

impl Message {
    /// A message with nothing but a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into(), extra: Map::new() }
    }
}

/// What a template is told besides the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatOptions {
    /// Tool descriptions (JSON schema), if any.
    pub tools: Option<Vec<Json>>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Map<String, Json>,
}

impl ChatOptions {
    /// Options that set `enable_thinking`, which Qwen3's template reads.
    pub fn thinking(enable: bool) -> ChatOptions {
        let variables = Map::from_iter([("enable_thinking".to_owned(), Json::Bool(enable))]);
        ChatOptions { tools: None, variables }
    }
}

/// A compiled chat template with the special tokens it may name.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special_tokens: Map<String, Json>,
}

const NAME: &str = "chat_template.jinja";

/// Instructions of a template that are carried out at most: a hundred times what long conversations need. Templates come
/// with models, and their loops need not end soon.
const FUEL: u64 = 50_000_000;

impl ChatTemplate {
    /// Reads `chat_template.jinja` of a checkpoint folder, else the template in `tokenizer_config.json`.
    pub fn from_folder(folder: &Path) -> Result<ChatTemplate, ChatError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| ChatError::Read { path: path.to_owned(), reason: error.to_string() })
        };
        let config_path = folder.join("tokenizer_config.json");
        let config: Json = match config_path.exists() {
            true => serde_json::from_str(&read(&config_path)?)
                .map_err(|error| ChatError::Read { path: config_path, reason: error.to_string() })?,
            false => Json::Null,
        };
        let template_path = folder.join(NAME);
        let source = match template_path.exists() {
            true => read(&template_path)?,
            false => inline_template(&config["chat_template"])
                .ok_or_else(|| ChatError::NoTemplate { path: folder.to_owned() })?,
        };
        ChatTemplate::new(source, special_tokens(&config))
    }

    /// Compiles a template. `special_tokens` are its variables such as `bos_token` and `eos_token`.
    pub fn new(source: String, special_tokens: Map<String, Json>) -> Result<ChatTemplate, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| ChatError::Syntax { reason: error.to_string() })?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, _, value| {
            // Python spells None, True and False differently from minijinja.
            match python_literal(value) {
                Some(text) => out.write_str(text)?,
                None => write!(out, "{value}")?,
            }
            Ok(())
        });
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.set_fuel(Some(FUEL));
        // The library overflows over some texts that are no templates.
        let added = caught(|| environment.add_template_owned(NAME, source.clone()));
        let added = added.unwrap_or_else(|panic| {
            Err(minijinja::Error::new(ErrorKind::SyntaxError, format!("it cannot be read: {panic}")))
        });
        added.map_err(|error| ChatError::Syntax { reason: error.to_string() })?;
        Ok(ChatTemplate { environment, source, special_tokens })
    }

    /// Our own template: `<|role|>content<|end|>` for each message, then `<|assistant|>` as prompt.
    pub fn compact() -> ChatTemplate {
        let tokens = Map::from_iter([("eos_token".to_owned(), Json::String("<|end|>".to_owned()))]);
        ChatTemplate::new(COMPACT_TEMPLATE.to_owned(), tokens).expect("the built-in template is valid")
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation, with the prompt for the assistant's next turn on request.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        // As in transformers, a variable given by the caller replaces a special token of its name.
        let mut context = self.special_tokens.clone();
        context.extend(options.variables.clone());
        context.insert("add_generation_prompt".to_owned(), Json::Bool(add_generation_prompt));
        context.insert("tools".to_owned(), options.tools.clone().map_or(Json::Null, Json::Array));
        let failed = |error: &dyn std::fmt::Display| ChatError::Render { reason: error.to_string() };
        let messages = serde_json::to_value(messages).map_err(|error| failed(&error))?;
        context.insert("messages".to_owned(), messages);
        let render = || self.environment.get_template(NAME)?.render(Value::from(Serde(context)));
        caught(render).map_err(|panic| failed(&panic))?.map_err(|error: minijinja::Error| failed(&error))
    }

    /// The text before the assistant's next turn: the conversation and the generation prompt.
    pub fn opening(&self, messages: &[Message], options: &ChatOptions) -> Result<String, ChatError> {
        self.render(messages, true, options)
    }

    /// The text between an assistant's response and its next turn, when the user says
    /// `new_user_text` in between.
    ///
    /// Appending its tokens to those of the prompt and the response gives the next prompt without
    /// tokenising anything twice, even with templates that would rewrite the earlier turn (Qwen3 drops
    /// its reasoning). `ended` says that the response already ends with the end-of-turn token, which
    /// is then left out here; a response cut off at its length limit has `ended` false.
    pub fn continuation(
        &self,
        new_user_text: &str,
        ended: bool,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        let rest = self.after_assistant(Some(new_user_text), options)?;
        if !ended {
            return Ok(rest);
        }
        let end = self.find_end(&rest)?.len();
        Ok(rest[end..].to_owned())
    }

    /// The token that the template writes right after an assistant's text, such as `<|im_end|>`.
    pub fn end_of_turn(&self, options: &ChatOptions) -> Result<String, ChatError> {
        let rest = self.after_assistant(None, options)?;
        Ok(self.find_end(&rest)?.to_owned())
    }

    /// What the template writes after an assistant's text: the end of the turn and, if the user
    /// speaks again, the user's turn and the next generation prompt.
    fn after_assistant(
        &self,
        new_user_text: Option<&str>,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        // A text that no template or user writes, and that stripping leaves alone.
        let mut sentinel = "OPID-ASSISTANT-TURN".to_owned();
        while new_user_text.is_some_and(|text| text.contains(&sentinel)) || self.source.contains(&sentinel) {
            sentinel.push('-');
            sentinel.push_str(&sentinel.len().to_string());
        }
        let mut messages = vec![Message::new("user", "."), Message::new("assistant", sentinel.as_str())];
        messages.extend(new_user_text.map(|text| Message::new("user", text)));
        let rendered = self.render(&messages, new_user_text.is_some(), options)?;
        let mut parts = rendered.split(sentinel.as_str());
        match (parts.next(), parts.next(), parts.count()) {
            (Some(_), Some(rest), 0) => Ok(rest.to_owned()),
            (_, rest, more) => Err(ChatError::Continuation { times: more + usize::from(rest.is_some()) }),
        }
    }

    /// The end-of-turn token at the start of `rest`: `eos_token`, or a token written `<|name|>`.
    fn find_end<'a>(&self, rest: &'a str) -> Result<&'a str, ChatError> {
        let eos = self.special_tokens.get("eos_token").and_then(Json::as_str).unwrap_or_default();
        if !eos.is_empty() && rest.starts_with(eos) {
            return Ok(&rest[..eos.len()]);
        }
        let named = rest.starts_with("<|").then(|| rest.find("|>")).flatten();
        let named =
            named.map(|close| &rest[..close + 2]).filter(|token| !token.contains(char::is_whitespace));
        named.ok_or_else(|| ChatError::EndOfTurn { found: rest.to_owned() })
    }
}

/// How Python prints a value, where minijinja prints it otherwise.
fn python_literal(value: &Value) -> Option<&'static str> {
    if value.is_none() {
        return Some("None");
    }
    let literal = if value.is_true() { "True" } else { "False" };
    (value.kind() == ValueKind::Bool).then_some(literal)
}

/// The filter `tojson` of transformers: no HTML escapes, Python's spacing, keys in their order.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let failed = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::BadSerialization, format!("tojson: {error}"))
    };
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        let reason = "tojson with ensure_ascii=true is not supported";
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason));
    }
    options.assert_all_used()?;
    let mut value = serde_json::to_value(value).map_err(failed)?;
    if sort_keys == Some(true) {
        value.sort_all_objects();
    }
    json::dumps(&value, indent).map_err(failed)
}

/// `chat_template` of `tokenizer_config.json`: one template, or a list of which one is the default.
fn inline_template(value: &Json) -> Option<String> {
    match value {
        Json::String(source) => Some(source.clone()),
        Json::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// The special tokens of `tokenizer_config.json`, given as texts or as objects with a `content`.
fn special_tokens(config: &Json) -> Map<String, Json> {
    const NAMES: [&str; 7] =
        ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let text = |value: &Json| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    NAMES
        .into_iter()
        .filter_map(|name| text(&config[name]).map(|token| (name.to_owned(), Json::String(token))))
        .collect()
}
