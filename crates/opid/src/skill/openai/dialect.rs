//! How a request is put: endpoints differ in the settings they take.
//!
//! Every program begins with the most that is useful, and leaves out or renames what the endpoint refuses.

use serde_json::{Value, json};

use crate::recipe;

/// How the reply's form is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// By a JSON schema.
    Schema,
    /// As any JSON object.
    Object,
    /// In words alone.
    Words,
}

/// Settings in the form an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    form: Form,
    /// The limit goes by its newer name.
    completion_limit: bool,
    temperature: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { form: Form::Schema, completion_limit: false, temperature: true }
    }
}

impl Dialect {
    /// What to try after a refusal with this message; nothing if there is nothing left to leave out.
    pub fn without(self, message: &str) -> Option<Self> {
        let message = message.to_lowercase();
        if message.contains("max_tokens") && !self.completion_limit {
            return Some(Dialect { completion_limit: true, ..self });
        }
        if message.contains("temperature") && self.temperature {
            return Some(Dialect { temperature: false, ..self });
        }
        // Many endpoints do not say what they dislike; the form of the reply is the likeliest.
        match self.form {
            Form::Schema => Some(Dialect { form: Form::Object, ..self }),
            Form::Object => Some(Dialect { form: Form::Words, ..self }),
            Form::Words => None,
        }
    }

    /// The body of a request with one message.
    pub fn body(self, s: &recipe::OpenAi, message: &str) -> Value {
        let mut body = json!({
            "model": s.model,
            "messages": [{ "role": "user", "content": message }],
        });
        let limit = if self.completion_limit { "max_completion_tokens" } else { "max_tokens" };
        body[limit] = s.max_reply_tokens.into();
        if self.temperature {
            body["temperature"] = s.temperature.into();
        }
        match self.form {
            Form::Schema => body["response_format"] = schema(),
            Form::Object => body["response_format"] = json!({ "type": "json_object" }),
            Form::Words => {}
        }
        body
    }
}

/// The form of an answer. Strict schemas know no maps with free keys, so step skills are a list.
fn schema() -> Value {
    let text = json!({ "type": "string" });
    let step = json!({
        "type": "object",
        "properties": { "step": { "type": "integer" }, "skill": text },
        "required": ["step", "skill"],
        "additionalProperties": false,
    });
    let analysis = json!({
        "type": "object",
        "properties": {
            "episode_summary": text,
            "episode_skill": text,
            "step_skills": { "type": "array", "items": step },
        },
        "required": ["episode_summary", "episode_skill", "step_skills"],
        "additionalProperties": false,
    });
    json!({ "type": "json_schema", "json_schema": { "name": "analysis", "strict": true, "schema": analysis } })
}
